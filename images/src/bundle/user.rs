//! Who a container runs as: numbers out of the image's own passwd and group files, which are read as hostile.

use crate::base::{Error, Kind, Result, Step};

/// Reads a file of the root file system, if it is there and a regular file, up to a limit.
pub type ReadFile<'a> = &'a dyn Fn(&str, u64) -> Result<Option<Vec<u8>>>;

/// No more of a file than this is read; what is larger is refused.
const LIMIT: u64 = 1 << 20;

/// How many groups a process may be in.
const GROUPS: usize = 65_536;

/// The numbers of a container's process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The other groups that the image's group file lists the user in.
    pub additional_gids: Vec<u32>,
    /// The home directory, if the image's passwd file knows the user.
    pub home: Option<String>,
}

struct Passwd<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// Looks up `text`, which is `USER`, `USER:GROUP`, each by name or by number, as Docker writes it; empty means root.
pub fn look_up(text: &str, read: ReadFile<'_>) -> Result<User> {
    let wrong = |reason: String| {
        let error = Error::new(Kind::InvalidArgument, Step::Bundle).object_is(format!("user {text:?}"));
        error.reason_is(reason)
    };
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    if group == Some("") {
        return Err(wrong("no group after the colon".to_owned()));
    }
    let passwd = read_text(read, "/etc/passwd")?;
    let groups = read_text(read, "/etc/group")?;
    let number = number(user).map_err(&wrong)?;
    // The first line that fits counts, as for getpwnam(3) and getpwuid(3).
    let known = passwd.lines().filter_map(passwd_line).find(|line| match number {
        Some(uid) => line.uid == uid,
        None => line.name == user,
    });
    let uid = match (&known, number) {
        (Some(line), _) => line.uid,
        (None, Some(uid)) => uid,
        (None, None) => return Err(wrong(format!("the image's /etc/passwd has no {user}"))),
    };
    let mut found = User { uid, gid: known.as_ref().map_or(0, |line| line.gid), ..User::default() };
    found.home =
        known.as_ref().map(|line| line.home.to_owned()).filter(|home| home.starts_with('/') && !home.contains('\0'));
    match group {
        Some(group) => found.gid = gid(group, &groups).map_err(&wrong)?,
        None => {
            let name = known.as_ref().map(|line| line.name);
            let listed = groups.lines().filter_map(group_line);
            let listed =
                listed.filter(|line| name.is_some_and(|name| line.members.split(',').any(|each| each == name)));
            found.additional_gids = listed.map(|line| line.gid).collect();
            found.additional_gids.sort_unstable();
            found.additional_gids.dedup();
            let count = found.additional_gids.len();
            if count > GROUPS {
                return Err(wrong(format!(
                    "the image's /etc/group lists it in {count} groups; the kernel takes {GROUPS}"
                )));
            }
        }
    }
    Ok(found)
}

fn gid(group: &str, groups: &str) -> std::result::Result<u32, String> {
    if let Some(gid) = number(group)? {
        return Ok(gid);
    }
    let found = groups.lines().filter_map(group_line).find(|line| line.name == group);
    found.map(|line| line.gid).ok_or_else(|| format!("the image's /etc/group has no {group}"))
}

/// What is written in digits is a number and never a name: one that is too large is an error.
fn number(text: &str) -> std::result::Result<Option<u32>, String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    // The last number means "none" to the kernel.
    let value = text.parse::<u32>().ok().filter(|&value| value != u32::MAX && !text.starts_with('+'));
    value.map(Some).ok_or_else(|| format!("{text} is not a number from 0 to 4294967294"))
}

fn passwd_line(line: &str) -> Option<Passwd<'_>> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let uid = id(fields.nth(1)?)?;
    let gid = id(fields.next()?)?;
    let home = fields.nth(1).unwrap_or_default();
    Some(Passwd { name, uid, gid, home })
}

/// The number of a user or a group. The last one means "leave it as it is" to the kernel, so it is nobody's.
fn id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id != u32::MAX)
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn group_line(line: &str) -> Option<Group<'_>> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let gid = id(fields.nth(1)?)?;
    Some(Group { name, gid, members: fields.next().unwrap_or_default() })
}

fn read_text(read: ReadFile<'_>, path: &str) -> Result<String> {
    Ok(read(path, LIMIT)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str) -> Result<User> {
        look_up(text, &|path, _| {
            Ok(Some(match path {
                "/etc/passwd" => b"root:x:0:0::/root:/bin/sh\nbad line\nweb:x:33:34:w:/srv/web:/bin/sh\n1000:x:7:7::/seven:\n:x:-1:0:::\n".to_vec(),
                _ => b"root:x:0:\nweb:x:34:\nlog:x:4:web,root\nmail:x:8:web\nbroken:x:y:web\n".to_vec(),
            }))
        })
    }

    #[test]
    fn users_by_name_and_number() {
        for (text, uid, gid, more, home) in [
            ("", 0, 0, &[4][..], Some("/root")),
            ("root", 0, 0, &[4], Some("/root")),
            ("web", 33, 34, &[4, 8], Some("/srv/web")),
            ("33", 33, 34, &[4, 8], Some("/srv/web")),
            ("web:mail", 33, 8, &[], Some("/srv/web")),
            ("web:99", 33, 99, &[], Some("/srv/web")),
            (":web", 0, 34, &[], Some("/root")),
            ("1000", 1000, 0, &[], None),
            ("4294967294:4294967294", 4_294_967_294, 4_294_967_294, &[], None),
        ] {
            let user = find(text).unwrap();
            assert_eq!(
                (user.uid, user.gid, &user.additional_gids[..], user.home.as_deref()),
                (uid, gid, more, home),
                "{text}"
            );
        }
    }

    #[test]
    fn numbers_that_the_kernel_takes_for_none_are_nobodys() {
        let text = b"web:x:4294967295:0::/:\nlog:x:7:4294967295::/:\nmail:x:8:8::/a\0b:\n";
        let find = |user: &str| look_up(user, &|path, _| Ok((path == "/etc/passwd").then(|| text.to_vec())));
        assert!(find("web").is_err() && find("log").is_err());
        assert_eq!(find("mail").unwrap().home, None);
        let groups: String = (0..70_000).map(|gid| format!("g{gid}:x:{gid}:root\n")).collect();
        let error = look_up("root", &|path, _| {
            Ok(Some(if path == "/etc/group" { groups.clone().into_bytes() } else { b"root:x:0:0::/:\n".to_vec() }))
        });
        assert!(error.unwrap_err().to_string().contains("70000 groups"));
    }

    #[test]
    fn what_is_no_user_never_becomes_root() {
        for text in [
            "nobody",
            "4294967295",
            "4294967296",
            "99999999999999999999",
            "-1",
            "+1",
            "0x0",
            "1 ",
            " ",
            "web:",
            "web:none",
            "web:-1",
            "1:4294967296",
        ] {
            assert!(find(text).is_err(), "{text:?}");
        }
        assert_eq!(look_up("0", &|_, _| Ok(None)).unwrap(), User::default());
        assert!(look_up("root", &|_, _| Ok(None)).is_err());
    }
}
