//! CRIU's messages: requests and their options, answers and notifications (images/rpc.proto of CRIU).

use super::codec::{Fields, Malformed, put_bytes, put_number};

/// What is asked for (`criu_req_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    Notify = 6,
    FeatureCheck = 9,
    Version = 10,
}

/// The options that are used (`criu_opts`), by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    ImagesDirFd = 1,
    Pid = 2,
    LeaveRunning = 3,
    ExtUnixSk = 4,
    TcpEstablished = 5,
    EvasiveDevices = 6,
    ShellJob = 7,
    FileLocks = 8,
    LogLevel = 9,
    LogFile = 10,
    PageServer = 11,
    NotifyScripts = 12,
    Root = 13,
    ParentImg = 14,
    TrackMem = 15,
    AutoDedup = 16,
    WorkDirFd = 17,
    LinkRemap = 18,
    ExtMnt = 23,
    ManageCgroups = 24,
    CgRoot = 25,
    RstSibling = 26,
    InheritFd = 27,
    ManageCgroupsMode = 34,
    External = 37,
    EmptyNs = 38,
    JoinNs = 39,
    FreezeCgroup = 44,
    TcpSkipInFlight = 46,
    LazyPages = 48,
    OrphanPtsMaster = 50,
    ConfigFile = 51,
    TcpClose = 52,
    LsmProfile = 53,
    LsmMountContext = 63,
    NetworkLock = 64,
}

/// An option's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Flag(bool),
    Number(i64),
    Text(String),
    /// Two fields of a message, numbers 1 and 2: all messages in options are such pairs.
    Pair(String, Box<Value>),
    /// A message with its second field alone.
    Second(String),
}

impl Value {
    /// A pair of strings.
    pub(crate) fn texts(first: impl Into<String>, second: impl Into<String>) -> Self {
        Self::Pair(first.into(), Box::new(Self::Text(second.into())))
    }

    /// A pair of a string and a number.
    pub(crate) fn numbered(first: impl Into<String>, second: impl Into<i64>) -> Self {
        Self::Pair(first.into(), Box::new(Self::Number(second.into())))
    }

    fn put(&self, to: &mut Vec<u8>, field: u32) {
        match self {
            Self::Flag(on) => put_number(to, field, i64::from(*on)),
            Self::Number(number) => put_number(to, field, *number),
            Self::Text(text) => put_bytes(to, field, text.as_bytes()),
            Self::Pair(first, second) => {
                let mut message = Vec::new();
                put_bytes(&mut message, 1, first.as_bytes());
                second.put(&mut message, 2);
                put_bytes(to, field, &message);
            }
            Self::Second(text) => {
                let mut message = Vec::new();
                put_bytes(&mut message, 2, text.as_bytes());
                put_bytes(to, field, &message);
            }
        }
    }
}

/// The options of a request, in the order in which they were set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options(Vec<(Field, Value)>);

impl Options {
    /// Adds an option; one that may be there several times stands beside the others.
    pub(crate) fn add(&mut self, field: Field, value: Value) {
        self.0.push((field, value));
    }

    /// Adds a boolean option.
    pub(crate) fn flag(&mut self, field: Field, on: bool) {
        self.add(field, Value::Flag(on));
    }

    /// Adds a number.
    pub(crate) fn number(&mut self, field: Field, number: impl Into<i64>) {
        self.add(field, Value::Number(number.into()));
    }

    /// Adds a string.
    pub(crate) fn text(&mut self, field: Field, text: impl Into<String>) {
        self.add(field, Value::Text(text.into()));
    }

    /// All values of an option.
    #[cfg(test)]
    pub(crate) fn all(&self, field: Field) -> Vec<&Value> {
        self.0.iter().filter(|(name, _)| *name == field).map(|(_, value)| value).collect()
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (field, value) in &self.0 {
            value.put(&mut bytes, *field as u32);
        }
        bytes
    }
}

/// A request (`criu_req`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    Version,
    /// Which of the features CRIU and the kernel have: memory tracking, lazy pages.
    FeatureCheck,
    Dump(Options),
    PreDump(Options),
    Restore(Options),
    /// The answer to a notification.
    Notified(bool),
}

impl Request {
    /// What the answer to it is called.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Version => Kind::Version,
            Self::FeatureCheck => Kind::FeatureCheck,
            Self::Dump(_) => Kind::Dump,
            Self::PreDump(_) => Kind::PreDump,
            Self::Restore(_) => Kind::Restore,
            Self::Notified(_) => Kind::Notify,
        }
    }

    /// What it is in words.
    pub(super) fn words(&self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::FeatureCheck => "feature check",
            Self::Dump(_) => "dump",
            Self::PreDump(_) => "pre-dump",
            Self::Restore(_) => "restore",
            Self::Notified(_) => "notification",
        }
    }

    /// Its bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_number(&mut bytes, 1, self.kind() as i64);
        match self {
            Self::Version => {}
            Self::FeatureCheck => {
                let mut features = Vec::new();
                put_number(&mut features, 1, 1);
                put_number(&mut features, 2, 1);
                put_bytes(&mut bytes, 5, &features);
            }
            Self::Dump(options) | Self::PreDump(options) | Self::Restore(options) => {
                put_bytes(&mut bytes, 2, &options.encode());
            }
            Self::Notified(success) => put_number(&mut bytes, 3, i64::from(*success)),
        }
        bytes
    }
}

/// Where CRIU has come to (`criu_notify`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Notify {
    /// The name of the point.
    pub(crate) script: String,
    /// The process that it is about.
    pub(crate) pid: Option<i32>,
}

/// What CRIU and the kernel can do (`criu_features`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct FeatureSet {
    /// Telling which memory has changed since the last look.
    pub(crate) mem_track: bool,
    /// Restoring memory when it is used.
    pub(crate) lazy_pages: bool,
}

/// An answer (`criu_resp`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Response {
    /// The number of the kind of request it answers.
    pub(super) kind: i32,
    pub(crate) success: bool,
    /// Of a notification.
    pub(crate) notify: Option<Notify>,
    pub(crate) errno: i32,
    pub(crate) message: String,
    pub(crate) features: FeatureSet,
    /// As one number: 31701 for 3.17.1.
    pub(crate) version: Option<u32>,
}

impl Response {
    /// Reads an answer.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut response = Self::default();
        let (mut kind, mut success) = (None, None);
        for field in Fields(bytes) {
            let (number, value) = field?;
            match number {
                1 => kind = Some(value.int32()?),
                2 => success = Some(value.flag()?),
                5 => response.notify = Some(Notify::decode(value.bytes()?)?),
                7 => response.errno = value.int32()?,
                8 => response.features = FeatureSet::decode(value.bytes()?)?,
                9 => response.message = value.text()?,
                10 => response.version = Some(version(value.bytes()?)?),
                _ => {}
            }
        }
        response.kind = kind.ok_or(Malformed)?;
        response.success = success.ok_or(Malformed)?;
        Ok(response)
    }
}

impl Notify {
    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut notify = Self::default();
        for field in Fields(bytes) {
            match field? {
                (1, value) => notify.script = value.text()?,
                (2, value) => notify.pid = Some(value.int32()?),
                _ => {}
            }
        }
        Ok(notify)
    }
}

impl FeatureSet {
    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut features = Self::default();
        for field in Fields(bytes) {
            match field? {
                (1, value) => features.mem_track = value.flag()?,
                (2, value) => features.lazy_pages = value.flag()?,
                _ => {}
            }
        }
        Ok(features)
    }
}

/// `criu_version` as one number. A build from Git counts as the release that it leads to.
fn version(bytes: &[u8]) -> Result<u32, Malformed> {
    let (mut major, mut minor, mut sublevel, mut from_git) = (None, None, 0, false);
    for field in Fields(bytes) {
        let (number, value) = field?;
        let part = |value: i32| u32::try_from(value).ok().filter(|part| *part < 1000).ok_or(Malformed);
        match number {
            1 => major = Some(part(value.int32()?)?),
            2 => minor = Some(part(value.int32()?)?),
            3 => from_git = true,
            4 => sublevel = part(value.int32()?)?,
            _ => {}
        }
    }
    let (major, minor) = (major.ok_or(Malformed)?, minor.ok_or(Malformed)?);
    let (minor, sublevel) = if from_git { (minor + 1, 0) } else { (minor, sublevel) };
    Ok(major * 10_000 + minor * 100 + sublevel)
}

/// Reads an answer, if it is one.
#[cfg(fuzzing)]
pub(super) fn decode(bytes: &[u8]) {
    if let Ok(response) = Response::decode(bytes) {
        assert!(!format!("{response:?}").is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_bytes_that_criu_expects() {
        let mut options = Options::default();
        options.number(Field::ImagesDirFd, 5);
        options.flag(Field::LeaveRunning, true);
        options.add(Field::ExtMnt, Value::texts("/data", "/srv"));
        options.add(Field::CgRoot, Value::Second("/c".into()));
        options.add(Field::InheritFd, Value::numbered("pipe:[7]", 1));
        let expected = [
            &[0x08, 1, 0x12, 0x2a][..],
            &[0x08, 5],
            &[0x18, 1],
            b"\xba\x01\x0d\x0a\x05/data\x12\x04/srv",
            b"\xca\x01\x04\x12\x02/c",
            b"\xda\x01\x0c\x0a\x08pipe:[7]\x10\x01",
        ]
        .concat();
        assert_eq!(Request::Dump(options).encode(), expected);
        assert_eq!(Request::Version.encode(), [0x08, 10]);
        assert_eq!(Request::FeatureCheck.encode(), [0x08, 9, 0x2a, 4, 0x08, 1, 0x10, 1]);
        assert_eq!(Request::Notified(false).encode(), [0x08, 6, 0x18, 0]);
        assert_eq!(Request::Notified(true).encode(), [0x08, 6, 0x18, 1]);
    }

    #[test]
    fn answers_are_read() {
        for (bytes, expected) in [
            (&[0x08, 1, 0x10, 1][..], Ok(Response { kind: 1, success: true, ..Response::default() })),
            (
                b"\x08\x06\x10\x01\x2a\x0d\x0a\x09post-dump\x10\x2a",
                Ok(Response {
                    kind: 6,
                    success: true,
                    notify: Some(Notify { script: "post-dump".into(), pid: Some(42) }),
                    ..Response::default()
                }),
            ),
            (
                b"\x08\x02\x10\x00\x38\x02\x4a\x02no",
                Ok(Response { kind: 2, errno: 2, message: "no".into(), ..Response::default() }),
            ),
            (
                &[0x08, 9, 0x10, 1, 0x42, 4, 0x08, 1, 0x10, 0],
                Ok(Response {
                    kind: 9,
                    success: true,
                    features: FeatureSet { mem_track: true, lazy_pages: false },
                    ..Response::default()
                }),
            ),
            // A field of a later CRIU is passed over.
            (&[0x08, 1, 0x10, 1, 0xf8, 0x07, 1], Ok(Response { kind: 1, success: true, ..Response::default() })),
            (&[0x10, 1], Err(Malformed)),
            (&[0x08, 1], Err(Malformed)),
            (&[0x08, 1, 0x10, 1, 0x28, 1], Err(Malformed)),
            (b"", Err(Malformed)),
            (b"nonsense", Err(Malformed)),
        ] {
            assert_eq!(Response::decode(bytes), expected, "{bytes:?}");
        }
    }

    #[test]
    fn versions_are_one_number() {
        for (bytes, expected) in [
            (&[0x08, 3, 0x10, 17, 0x20, 1][..], Ok(31_701)),
            (&[0x08, 4, 0x10, 2], Ok(40_200)),
            (&[0x08, 3, 0x10, 17, 0x1a, 1, b'g', 0x20, 1], Ok(31_800)),
            (&[0x10, 2], Err(Malformed)),
            (&[0x08, 0x80, 0x80, 0x80, 0x80, 0x01, 0x10], Err(Malformed)),
        ] {
            assert_eq!(version(bytes), expected, "{bytes:?}");
        }
    }
}
