//! What a client chooses for a container: the options of the call or of a section of containerd's configuration.

use crate::proto::options::{RuncOptions, RuntimeOptions};
use crate::proto::{Any, decode};
use crate::ttrpc::{Code, Failure};

/// The choices that act here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Use MS_MOVE instead of pivot_root.
    pub(crate) no_pivot_root: bool,
    /// Keep the session keyring.
    pub(crate) no_new_keyring: bool,
    /// The cgroup of the shim itself.
    pub(crate) shim_cgroup: String,
    /// Who owns the pipes of the standard streams.
    pub(crate) io_uid: u32,
    pub(crate) io_gid: u32,
    /// Where states are kept, above a directory per namespace.
    pub(crate) root: String,
    /// systemd makes the control groups.
    pub(crate) systemd_cgroup: bool,
    /// Where a checkpoint goes that names no place.
    pub(crate) criu_image_path: String,
    /// CRIU's working directory.
    pub(crate) criu_work_path: String,
}

/// Reads the options of a call.
///
/// # Errors
/// For a type or a key that is not known here, and for what this shim does not do.
pub(crate) fn read(any: Option<&Any>) -> Result<Options, Failure> {
    let Some(any) = any.filter(|any| !any.type_url.is_empty() || !any.value.is_empty()) else {
        return Ok(Options::default());
    };
    match any.type_name() {
        "containerd.runc.v1.Options" => from_runc(decode(&any.value).map_err(|_| malformed(any))?),
        "runtimeoptions.v1.Options" | "cri.runtimeoptions.v1.Options" => {
            from_section(&decode(&any.value).map_err(|_| malformed(any))?)
        }
        other => Err(invalid(format!(
            "options of the type {other:?} are not known; use containerd.runc.v1.Options or a section of containerd's configuration"
        ))),
    }
}

fn malformed(any: &Any) -> Failure {
    invalid(format!("the options are no {}", any.type_name()))
}

fn invalid(message: String) -> Failure {
    Failure::new(Code::InvalidArgument, message)
}

fn from_runc(given: RuncOptions) -> Result<Options, Failure> {
    if !given.binary_name.is_empty() {
        return Err(invalid(format!(
            "option BinaryName ({}): this shim has the runtime inside and starts none; take it out, or use io.containerd.runc.v2",
            given.binary_name
        )));
    }
    Ok(Options {
        no_pivot_root: given.no_pivot_root,
        no_new_keyring: given.no_new_keyring,
        shim_cgroup: given.shim_cgroup,
        io_uid: given.io_uid,
        io_gid: given.io_gid,
        root: given.root,
        systemd_cgroup: given.systemd_cgroup,
        criu_image_path: given.criu_image_path,
        criu_work_path: given.criu_work_path,
    })
}

/// CRI and ctr pass a section as text, or the name of a file that has it.
fn from_section(given: &RuntimeOptions) -> Result<Options, Failure> {
    if given.config_path.is_empty() {
        let text = std::str::from_utf8(&given.config_body).map_err(|_| invalid("ConfigBody is no text".to_owned()))?;
        return from_text(text);
    }
    let text = std::fs::read_to_string(&given.config_path)
        .map_err(|error| invalid(format!("read the options' ConfigPath {}: {error}", given.config_path)))?;
    from_text(&text)
}

/// Lines of TOML without tables: `Key = value`.
fn from_text(text: &str) -> Result<Options, Failure> {
    let mut given = RuncOptions::default();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line
            .split_once('=')
            .map(|(key, value)| (key.trim().trim_matches(['"', '\'']), value.trim()))
            .ok_or_else(|| invalid(format!("options, line {}: {line:?} is not `Key = value`", number + 1)))?;
        let wrong = || invalid(format!("option {key}: {value} is not of its type"));
        let flag = || value.parse::<bool>().map_err(|_| wrong());
        let id = || value.parse::<u32>().map_err(|_| wrong());
        let string = || string(value).ok_or_else(wrong);
        match key {
            "NoPivotRoot" => given.no_pivot_root = flag()?,
            "NoNewKeyring" => given.no_new_keyring = flag()?,
            "SystemdCgroup" => given.systemd_cgroup = flag()?,
            "IoUid" => given.io_uid = id()?,
            "IoGid" => given.io_gid = id()?,
            "ShimCgroup" => given.shim_cgroup = string()?,
            "BinaryName" => given.binary_name = string()?,
            "Root" => given.root = string()?,
            "CriuImagePath" => given.criu_image_path = string()?,
            "CriuWorkPath" => given.criu_work_path = string()?,
            // What kind of section it is; CRI's own keys, which it writes out with the others.
            "TypeUrl" | "ConfigPath" => drop(string()?),
            _ => return Err(invalid(format!("option {key} is not known"))),
        }
    }
    from_runc(given)
}

/// A string of TOML on one line, without escapes other than those of a quotation mark and a backslash.
fn string(value: &str) -> Option<String> {
    if let Some(inner) = value.strip_prefix('\'') {
        return inner.strip_suffix('\'').filter(|inner| !inner.contains('\'')).map(str::to_owned);
    }
    let inner = value.strip_prefix('"')?.strip_suffix('"')?;
    let mut text = String::new();
    let mut chars = inner.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => text.push(chars.next().filter(|char| matches!(char, '"' | '\\'))?),
            '"' => return None,
            char => text.push(char),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(text: &str) -> Result<Options, Failure> {
        let options = RuntimeOptions { config_body: text.as_bytes().to_vec(), ..RuntimeOptions::default() };
        read(Some(&Any::of("runtimeoptions.v1.Options", &options)))
    }

    #[test]
    fn options_come_as_a_message_or_as_a_section() {
        assert_eq!(read(None), Ok(Options::default()));
        assert_eq!(read(Some(&Any::default())), Ok(Options::default()));
        let runc = RuncOptions { systemd_cgroup: true, root: "/run/x".to_owned(), io_uid: 7, ..RuncOptions::default() };
        let expected = Options { systemd_cgroup: true, root: "/run/x".to_owned(), io_uid: 7, ..Options::default() };
        assert_eq!(read(Some(&Any::of("containerd.runc.v1.Options", &runc))), Ok(expected.clone()));
        assert_eq!(
            section("# from config.toml\nSystemdCgroup = true\n  Root = \"/run/x\"\nIoUid = 7\nBinaryName = ''\n"),
            Ok(expected)
        );
    }

    #[test]
    fn what_does_not_act_is_refused_by_name() {
        for (text, message) in [
            ("BinaryName = \"/usr/sbin/runc\"", "BinaryName"),
            ("Unheard = 1", "option Unheard is not known"),
            ("IoUid = -1", "option IoUid: -1 is not of its type"),
            ("Root = \"a\\n\"", "option Root"),
            ("[section]", "line 1"),
            ("SystemdCgroup = 1", "SystemdCgroup"),
        ] {
            let failure = section(text).unwrap_err();
            assert!(failure.message.contains(message), "{text}: {}", failure.message);
            assert_eq!(failure.code, Code::InvalidArgument);
        }
        let other = Any { type_url: "other.Options".to_owned(), value: vec![] };
        assert!(read(Some(&other)).unwrap_err().message.contains("other.Options"));
    }
}
