//! Owners: which numbers of an archive can be owners here.

use std::io::Read;

use rustix::fs::{Gid, Uid};

use crate::base::{Error, Kind, Result, Step};

/// What becomes of an owner that this process cannot set, and of device nodes that it cannot make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Squash {
    /// An error, which names the file and the number.
    #[default]
    Refuse,
    /// The file belongs to the user who unpacks (root, within a user namespace); device nodes are left out.
    ToSelf,
}

/// The owners that this process can set: those of its user namespace.
#[derive(Debug, Clone)]
pub struct Ids {
    uids: Vec<(u32, u32)>,
    gids: Vec<(u32, u32)>,
    own: (u32, u32),
    squash: Squash,
}

impl Ids {
    /// Reads the maps of this process's user namespace.
    pub fn of_this_process(squash: Squash) -> Result<Self> {
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        // Without root there is no chown(2) at all: what can be set is what files have anyway.
        let map = |file, own| if own_is_root() { ranges(file) } else { Ok(vec![(own, 1)]) };
        Ok(Self { uids: map("/proc/self/uid_map", own.0)?, gids: map("/proc/self/gid_map", own.1)?, own, squash })
    }

    /// The owner for a file of the archive.
    pub fn owner(&self, uid: u32, gid: u32) -> Result<(Uid, Gid)> {
        let uid = self.id("uid", uid, &self.uids, self.own.0)?;
        let gid = self.id("gid", gid, &self.gids, self.own.1)?;
        Ok((Uid::from_raw(uid), Gid::from_raw(gid)))
    }

    /// Whether what cannot be made is left out.
    #[must_use]
    pub fn squash(&self) -> Squash {
        self.squash
    }

    fn id(&self, what: &str, id: u32, ranges: &[(u32, u32)], own: u32) -> Result<u32> {
        // The last number stands for "none" in chown(2).
        let mapped = id != u32::MAX && ranges.iter().any(|&(first, count)| id.wrapping_sub(first) < count);
        if mapped {
            return Ok(id);
        }
        if self.squash == Squash::ToSelf && id != u32::MAX {
            return Ok(own);
        }
        let list: Vec<_> = ranges.iter().map(|&(first, count)| span(first, count)).collect();
        let error = Error::new(Kind::Denied, Step::Unpack);
        Err(error
            .reason_is(format!(
                "it belongs to {what} {id}, which this user namespace has not (it has {})",
                list.join(", ")
            ))
            .hint_is(format!("give the user a larger range in /etc/sub{what}, or squash owners to one")))
    }
}

fn own_is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn span(first: u32, count: u32) -> String {
    if count == 1 { first.to_string() } else { format!("{first}–{}", first.saturating_add(count - 1)) }
}

fn ranges(file: &str) -> Result<Vec<(u32, u32)>> {
    let mut text = String::new();
    let read = std::fs::File::open(file).and_then(|map| map.take(1 << 16).read_to_string(&mut text));
    read.map_err(|error| Error::io(Step::Unpack, &error).object_is(file))?;
    parse(&text).ok_or_else(|| Error::new(Kind::System, Step::Unpack).object_is(file).reason_is("not an id map"))
}

/// `INSIDE OUTSIDE COUNT` per line (user_namespaces(7)); those inside count here.
fn parse(text: &str) -> Option<Vec<(u32, u32)>> {
    let line = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(|number| number.parse::<u32>().ok());
        let (first, _, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        Some((first, count)).filter(|_| numbers.next().is_none() && count > 0)
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(squash: Squash) -> Ids {
        let map = parse("         0       1000          1\n         1     100000      65535\n").unwrap();
        Ids { uids: map.clone(), gids: map, own: (0, 0), squash }
    }

    #[test]
    fn owners_within_the_map_are_kept() {
        for (uid, gid) in [(0, 0), (1, 65535), (1000, 100)] {
            let (mapped_uid, mapped_gid) = ids(Squash::Refuse).owner(uid, gid).unwrap();
            assert_eq!((mapped_uid.as_raw(), mapped_gid.as_raw()), (uid, gid));
        }
    }

    #[test]
    fn owners_outside_are_refused_by_number_or_squashed() {
        let error = ids(Squash::Refuse).owner(0, 65536).unwrap_err().to_string();
        assert_eq!(
            error,
            "unpack: it belongs to gid 65536, which this user namespace has not (it has 0, 1–65535) (give the user a larger \
             range in /etc/subgid, or squash owners to one)"
        );
        assert_eq!(ids(Squash::ToSelf).owner(5, 65536).unwrap().1.as_raw(), 0);
        assert!(ids(Squash::ToSelf).owner(u32::MAX, 0).is_err());
    }

    #[test]
    fn maps_are_read_strictly() {
        assert_eq!(parse("0 0 4294967295\n").unwrap(), [(0, u32::MAX)]);
        for text in ["0 0", "0 0 0", "0 0 1 1", "a 0 1", "-1 0 1"] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
