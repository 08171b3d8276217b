//! Extended headers of pax (POSIX.1-2001): records of a length, a key and a value.

use crate::base::Result;
use crate::layer::name::shown;
use crate::layer::tar::entry::Time;
use crate::layer::tar::header::bad;

/// What an extended header says of the entry that follows.
#[derive(Debug, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<Time>,
    pub(super) atime: Option<Time>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: Sparse,
}

/// The records of GNU tar about a sparse file, in its three versions.
#[derive(Debug, Default)]
pub(super) struct Sparse {
    pub(super) version: Option<(u64, u64)>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    /// Offsets and lengths in turn, of versions 0.0 and 0.1.
    pub(super) numbers: Vec<u64>,
    pub(super) is: bool,
}

const XATTR: &[u8] = b"SCHILY.xattr.";
/// How many extended attributes a file may have. Linux itself lists 64 KiB of names.
const XATTRS: usize = 1024;

impl Pax {
    /// Reads the contents of an extended header.
    pub(super) fn parse(bytes: &[u8], pieces: usize) -> Result<Self> {
        let mut pax = Self::default();
        for record in Records(bytes) {
            let (key, value) = record?;
            pax.take(key, value)?;
            if pax.sparse.numbers.len() / 2 > pieces {
                return Err(bad(format!("a sparse file of more than {pieces} pieces")));
            }
        }
        Ok(pax)
    }

    /// Reads a header that is for all entries that follow. Image tools skip those, tar programs do not: what would make a
    /// difference is refused.
    pub(super) fn check_global(bytes: &[u8]) -> Result<()> {
        for record in Records(bytes) {
            let (key, _) = record?;
            if key != b"comment" && key != b"hdrcharset" {
                let key = shown(key);
                return Err(bad(format!("a global header that sets {key}: tools differ in what that means")));
            }
        }
        Ok(())
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        // An empty value takes a record back.
        let some = |value: &[u8]| (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => self.path = some(value),
            b"linkpath" => self.link = some(value),
            b"size" => self.size = optional(value, "size")?,
            b"uid" => self.uid = id(value, "uid")?,
            b"gid" => self.gid = id(value, "gid")?,
            b"mtime" => self.mtime = time(value)?,
            b"atime" => self.atime = time(value)?,
            _ if key.starts_with(XATTR) => self.xattr(key.get(XATTR.len()..).unwrap_or_default(), value)?,
            _ if key.starts_with(b"GNU.sparse.") => {
                self.sparse.take(key.get("GNU.sparse.".len()..).unwrap_or_default(), value)?;
            }
            // Names of users, change times, comments and vendors' records: nothing of them is in a file system.
            _ => {}
        }
        Ok(())
    }

    fn xattr(&mut self, name: &[u8], value: &[u8]) -> Result<()> {
        if name.is_empty() || name.len() > 255 || name.contains(&0) {
            return Err(bad(format!("an extended attribute named {:?}", shown(name))));
        }
        if value.len() > 65_536 {
            return Err(bad(format!("extended attribute {} of {} bytes; Linux takes 65536", shown(name), value.len())));
        }
        self.xattrs.retain(|(there, _)| there != name);
        if self.xattrs.len() >= XATTRS {
            return Err(bad(format!("more than {XATTRS} extended attributes of one file")));
        }
        self.xattrs.push((name.to_vec(), value.to_vec()));
        Ok(())
    }
}

impl Sparse {
    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.is = true;
        let (major, minor) = self.version.unwrap_or_default();
        match key {
            b"major" => self.version = Some((decimal(value, "GNU.sparse.major")?, minor)),
            b"minor" => self.version = Some((major, decimal(value, "GNU.sparse.minor")?)),
            b"name" => self.name = Some(value.to_vec()),
            b"size" | b"realsize" => self.size = Some(decimal(value, "GNU.sparse.size")?),
            b"offset" | b"numbytes" => {
                // Offset and length alternate; two of a kind would shift all that follow.
                if (key == b"offset") != self.numbers.len().is_multiple_of(2) {
                    return Err(bad("a sparse map whose offsets and lengths do not alternate"));
                }
                self.numbers.push(decimal(value, "sparse map")?);
            }
            b"map" if !value.is_empty() => {
                let numbers = value.split(|&byte| byte == b',').map(|each| decimal(each, "sparse map"));
                self.numbers = numbers.collect::<Result<_>>()?;
            }
            b"map" | b"numblocks" => {}
            _ => return Err(bad(format!("an unknown record GNU.sparse.{}", shown(key)))),
        }
        Ok(())
    }
}

/// The records of an extended header.
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = Result<(&'a [u8], &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let record = split_record(self.0);
        self.0 = record.map_or(&[], |(_, rest)| rest);
        Some(record.map(|(record, _)| record).ok_or_else(|| bad("an extended header that is damaged")))
    }
}

/// `LENGTH KEY=VALUE\n`, where the length is that of all of it.
#[allow(clippy::type_complexity, reason = "key and value of one record, and what follows it")]
fn split_record(bytes: &[u8]) -> Option<((&[u8], &[u8]), &[u8])> {
    let space = bytes.iter().take(20).position(|&byte| byte == b' ')?;
    let digits = bytes.get(..space)?;
    let length = usize::try_from(decimal(digits, "").ok()?).ok()?;
    let body = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|&byte| byte == b'=')?;
    let (key, value) = (body.get(..equals)?, body.get(equals + 1..)?);
    if key.is_empty() || key.contains(&0) {
        return None;
    }
    Some(((key, value), bytes.get(length..)?))
}

/// A number in decimal digits and nothing else.
pub(super) fn decimal(bytes: &[u8], what: &str) -> Result<u64> {
    let digits = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_digit);
    let value = std::str::from_utf8(bytes).ok().filter(|_| digits).and_then(|text| text.parse().ok());
    value.ok_or_else(|| bad(format!("a {what} of {:?}", shown(bytes))))
}

fn optional(value: &[u8], what: &str) -> Result<Option<u64>> {
    if value.is_empty() { Ok(None) } else { decimal(value, what).map(Some) }
}

fn id(value: &[u8], what: &str) -> Result<Option<u32>> {
    let Some(number) = optional(value, what)? else { return Ok(None) };
    u32::try_from(number).map(Some).map_err(|_| bad(format!("a {what} of {number}")))
}

/// Seconds with a fraction, both before and after 1970.
fn time(value: &[u8]) -> Result<Option<Time>> {
    if value.is_empty() {
        return Ok(None);
    }
    let wrong = || bad(format!("a time of {:?}", shown(value)));
    let (negative, digits) = value.strip_prefix(b"-").map_or((false, value), |rest| (true, rest));
    let mut halves = digits.splitn(2, |&byte| byte == b'.');
    let whole = decimal(halves.next().unwrap_or_default(), "time")?;
    let fraction = halves.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(wrong());
    }
    let mut padded = fraction.to_vec();
    padded.resize(9, b'0');
    let nanos = u32::try_from(decimal(&padded, "time")?).map_err(|_| wrong())?;
    let seconds = i64::try_from(whole).map_err(|_| wrong())?;
    Ok(Some(match (negative, nanos) {
        (false, _) => Time { seconds, nanos },
        (true, 0) => Time { seconds: -seconds, nanos },
        // The fraction counts upwards from a whole second.
        (true, _) => Time { seconds: -seconds - 1, nanos: 1_000_000_000 - nanos },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &str) -> Vec<u8> {
        let body = format!(" {key}={value}\n");
        let mut length = body.len() + 1;
        while format!("{length}{body}").len() != length {
            length += 1;
        }
        format!("{length}{body}").into_bytes()
    }

    #[test]
    fn records_are_read() {
        let bytes = [
            record("path", "a=b\nc"),
            record("uid", "1000"),
            record("mtime", "-1.5"),
            record("SCHILY.xattr.user.x", "a\0b"),
            record("SCHILY.xattr.user.x", "c"),
            record("size", "12"),
            record("size", ""),
            record("LIBARCHIVE.creationtime", "1"),
        ]
        .concat();
        let pax = Pax::parse(&bytes, 10).unwrap();
        assert_eq!(pax.path.unwrap(), b"a=b\nc");
        assert_eq!((pax.uid, pax.gid, pax.size), (Some(1000), None, None));
        assert_eq!(pax.mtime, Some(Time { seconds: -2, nanos: 500_000_000 }));
        assert_eq!(pax.xattrs, [(b"user.x".to_vec(), b"c".to_vec())]);
    }

    #[test]
    fn damaged_records_are_refused() {
        for bytes in [
            &b"5 a=b"[..],
            b"9 path=x\n\n",
            b"99 path=x\n",
            b"7 path\n",
            b"x path=x\n",
            b"+9 path=x\n",
            b"0 a=b\n",
            b"99999999999999999999 a=b\n",
            &record("uid", "4294967296"),
            &record("uid", "-1"),
            &record("mtime", "1.2.3"),
            &record("mtime", "1e5"),
            &record("GNU.sparse.map", "1,"),
            &record("GNU.sparse.other", "1"),
            &record("GNU.sparse.numbytes", "1"),
            &record("SCHILY.xattr.", "1"),
        ] {
            assert!(Pax::parse(bytes, 10).is_err(), "{:?}", String::from_utf8_lossy(bytes));
        }
        assert!(Pax::parse(&record("GNU.sparse.map", "1,2,3,4,5,6"), 2).is_err());
    }

    #[test]
    fn a_global_header_may_only_comment() {
        assert!(Pax::check_global(&record("comment", "a commit")).is_ok());
        let error = Pax::check_global(&record("path", "x")).unwrap_err();
        assert!(error.to_string().contains("a global header that sets path"), "{error}");
    }
}
