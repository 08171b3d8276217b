//! Paths and unit names: what `linux.cgroupsPath` may be, and what it becomes; and where the caller is.

use std::os::fd::AsFd;

use crate::error::{Error, Kind, Result};
use crate::sys::{self, At, OFlags};

/// Checks a path below a hierarchy and puts it in plain form: no empty or `.` components, leading `/` kept. `..` is refused, since
/// a path that leaves its place is a mistake or an attack, and cutting it silently would hide either.
pub(crate) fn clean(path: &str, what: &'static str) -> Result<String> {
    let refuse =
        |detail: &str| Err(Error::new(Kind::InvalidPath, what).with_object(format!("{path:?}")).with_reason(detail));
    if path.contains('\0') || path.contains('\n') {
        return refuse("a cgroup path has no NUL and no line break");
    }
    let mut plain = String::with_capacity(path.len());
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => return refuse("a cgroup path has no \"..\""),
            _ if component.len() > 255 => return refuse("a component is longer than 255 bytes"),
            _ => {
                plain.push('/');
                plain.push_str(component);
            }
        }
    }
    if plain.is_empty() {
        return refuse("it names no cgroup");
    }
    Ok(if path.starts_with('/') { plain } else { plain.split_off(1) })
}

/// The cgroup path of a slice: systemd nests slices by the dashes of their names, so `a-b.slice` is `/a.slice/a-b.slice`.
pub(crate) fn expand_slice(slice: &str) -> Result<String> {
    let refuse = || {
        Err(Error::new(Kind::InvalidPath, "check the slice")
            .with_object(format!("{slice:?}"))
            .with_reason("a slice is named \"NAME.slice\", with single dashes inside NAME and no slash"))
    };
    let Some(name) = slice.strip_suffix(".slice").filter(|name| !name.is_empty() && !name.contains('/')) else {
        return refuse();
    };
    if name == "-" {
        return Ok(String::new());
    }
    let mut path = String::new();
    let mut prefix = String::new();
    for component in name.split('-') {
        if component.is_empty() {
            return refuse();
        }
        path.push_str(&format!("/{prefix}{component}.slice"));
        prefix.push_str(component);
        prefix.push('-');
    }
    Ok(path)
}

/// What `slice:prefix:name` names under systemd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnitPath {
    /// The slice, empty for the manager's default.
    pub(crate) slice: String,
    /// The unit: `prefix-name.scope`, or the name itself when that is a slice.
    pub(crate) unit: String,
}

/// Reads `slice:prefix:name`; no path at all means the default slice and `orlop-ID.scope`.
pub(crate) fn unit_path(cgroups_path: Option<&str>, id: &str) -> Result<UnitPath> {
    const WHAT: &str = "read the systemd cgroups path";
    let (slice, prefix, name) = match cgroups_path.filter(|path| !path.is_empty()) {
        None => ("", "orlop", id),
        Some(path) => {
            let mut parts = path.split(':');
            match (parts.next(), parts.next(), parts.next(), parts.next()) {
                (Some(slice), Some(prefix), Some(name), None) => (slice, prefix, name),
                _ => {
                    return Err(Error::new(Kind::InvalidPath, WHAT)
                        .with_object(format!("{path:?}"))
                        .with_reason("under systemd it has the form \"slice:prefix:name\""));
                }
            }
        }
    };
    let unit = if name.ends_with(".slice") {
        name.to_owned()
    } else if prefix.is_empty() {
        format!("{name}.scope")
    } else {
        format!("{prefix}-{name}.scope")
    };
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    if name.is_empty() || unit.len() > 255 || !unit.bytes().all(valid) {
        return Err(Error::new(Kind::InvalidPath, WHAT)
            .with_object(format!("{unit:?}"))
            .with_reason("a unit name has letters, digits and :-_.\\@ only, and at most 255 of them"));
    }
    if !slice.is_empty() {
        expand_slice(slice)?;
    }
    Ok(UnitPath { slice: slice.to_owned(), unit })
}

/// The lines of `/proc/PID/cgroup`: the controllers of a hierarchy (none for v2), separated by commas, and the path.
pub(crate) fn own_lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('\n').filter_map(|line| line.split_once(':')?.1.split_once(':'))
}

/// The path of `controller` (empty for v2) in the text of `/proc/PID/cgroup`.
pub(crate) fn own_cgroup<'a>(text: &'a str, controller: &str) -> Option<&'a str> {
    own_lines(text)
        .find(|(controllers, _)| *controllers == controller || controllers.split(',').any(|one| one == controller))
        .map(|(_, path)| path)
}

/// The text of `/proc/self/cgroup`.
pub(crate) fn read_own_cgroups() -> Result<String> {
    const FILE: &str = "/proc/self/cgroup";
    let fail = |errno| Error::os("read", errno).with_object(FILE);
    let fd = sys::open(At::Absolute, FILE, OFlags::RDONLY).map_err(fail)?;
    let bytes = sys::read_to_end(fd.as_fd()).map_err(fail)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_made_plain_and_escapes_refused() {
        let table = [
            ("/docker/abc", Some("/docker/abc")),
            ("docker//abc/./", Some("docker/abc")),
            ("/a/../b", None),
            ("../x", None),
            ("/", None),
            ("a\nb", None),
        ];
        for (path, expected) in table {
            assert_eq!(clean(path, "check").ok().as_deref(), expected, "{path:?}");
        }
        let error = clean("/../../etc", "check the cgroups path").unwrap_err();
        assert_eq!(error.to_string(), "check the cgroups path \"/../../etc\": a cgroup path has no \"..\"");
    }

    #[test]
    fn slices_nest_by_their_dashes() {
        let table = [
            ("system.slice", Some("/system.slice")),
            ("a-b-c.slice", Some("/a.slice/a-b.slice/a-b-c.slice")),
            ("-.slice", Some("")),
            (".slice", None),
            ("a--b.slice", None),
            ("-a.slice", None),
            ("a/b.slice", None),
            ("a", None),
        ];
        for (slice, expected) in table {
            assert_eq!(expand_slice(slice).ok().as_deref(), expected, "{slice}");
        }
    }

    #[test]
    fn unit_names_come_from_three_parts() {
        let unit = |slice: &str, unit: &str| Some(UnitPath { slice: slice.to_owned(), unit: unit.to_owned() });
        let table = [
            (None, unit("", "orlop-c1.scope")),
            (Some("system.slice:docker:abc"), unit("system.slice", "docker-abc.scope")),
            (Some(":crio:abc"), unit("", "crio-abc.scope")),
            (Some("machine.slice::pod"), unit("machine.slice", "pod.scope")),
            (Some("a.slice:x:a-b.slice"), unit("a.slice", "a-b.slice")),
            (Some("/docker/abc"), None),
            (Some("a:b"), None),
            (Some("bad:b:c"), None),
            (Some("::"), None),
            (Some(":p:a/b"), None),
        ];
        for (path, expected) in table {
            assert_eq!(unit_path(path, "c1").ok(), expected, "{path:?}");
        }
    }

    #[test]
    fn own_cgroup_is_found_by_controller() {
        let text = "5:cpu,cpuacct:/a\n1:name=systemd:/s\n0::/u/v\n";
        assert_eq!(own_cgroup(text, "cpuacct"), Some("/a"));
        assert_eq!(own_cgroup(text, "name=systemd"), Some("/s"));
        assert_eq!(own_cgroup(text, ""), Some("/u/v"));
        assert_eq!(own_cgroup(text, "memory"), None);
    }
}
