//! Mount options: one table for the plan that mounts and for `features` that tells engines about it.

use super::model::IdMapping;
use super::names::Propagation;
use super::text::Text;

/// What an option does to a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Sets MS_* flags of mount(2); 0 for `defaults`.
    Set(u64),
    /// Clears MS_* flags of mount(2).
    Clear(u64),
    /// Sets and clears MOUNT_ATTR_* of the mount and all below it with mount_setattr(2).
    Recursive(AttrChange),
    /// Changes the propagation after mounting.
    Propagate(Propagation),
    /// Something that is done besides mounting.
    Special(Special),
}

/// MOUNT_ATTR_* flags as mount_setattr(2) takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AttrChange {
    /// `attr_set`.
    pub set: u64,
    /// `attr_clr`; holds all of MOUNT_ATTR__ATIME whenever the access time mode changes, as the kernel demands.
    pub clear: u64,
}

/// Options that the runtime itself carries out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// Copies what the image has at the destination into the new tmpfs.
    TmpCopyUp,
    /// Maps ids on this mount.
    IdMap,
    /// Maps ids on this mount and all below it.
    RecursiveIdMap,
    /// A source that is a symbolic link is made anew in the container, not followed.
    CopySymlink,
    /// A source that is a symbolic link is bound itself.
    SourceNoFollow,
    /// A destination that is a symbolic link is mounted over, not followed.
    DestinationNoFollow,
}

mod ms {
    pub(super) const RDONLY: u64 = 1;
    pub(super) const NOSUID: u64 = 1 << 1;
    pub(super) const NODEV: u64 = 1 << 2;
    pub(super) const NOEXEC: u64 = 1 << 3;
    pub(super) const SYNCHRONOUS: u64 = 1 << 4;
    pub(super) const REMOUNT: u64 = 1 << 5;
    pub(super) const MANDLOCK: u64 = 1 << 6;
    pub(super) const DIRSYNC: u64 = 1 << 7;
    pub(super) const NOSYMFOLLOW: u64 = 1 << 8;
    pub(super) const NOATIME: u64 = 1 << 10;
    pub(super) const NODIRATIME: u64 = 1 << 11;
    pub(super) const BIND: u64 = 1 << 12;
    pub(super) const REC: u64 = 1 << 14;
    pub(super) const SILENT: u64 = 1 << 15;
    pub(super) const RELATIME: u64 = 1 << 21;
    pub(super) const I_VERSION: u64 = 1 << 23;
    pub(super) const STRICTATIME: u64 = 1 << 24;
    pub(super) const LAZYTIME: u64 = 1 << 25;
}

mod attr {
    pub(super) const RDONLY: u64 = 0x1;
    pub(super) const NOSUID: u64 = 0x2;
    pub(super) const NODEV: u64 = 0x4;
    pub(super) const NOEXEC: u64 = 0x8;
    pub(super) const ATIME: u64 = 0x70;
    pub(super) const RELATIME: u64 = 0x00;
    pub(super) const NOATIME: u64 = 0x10;
    pub(super) const STRICTATIME: u64 = 0x20;
    pub(super) const NODIRATIME: u64 = 0x80;
    pub(super) const NOSYMFOLLOW: u64 = 0x20_0000;
}

const fn rset(flags: u64) -> Effect {
    Effect::Recursive(AttrChange { set: flags, clear: 0 })
}

const fn rclear(flags: u64) -> Effect {
    Effect::Recursive(AttrChange { set: 0, clear: flags })
}

/// An access time mode is a number in a field, not a flag: to set one clears the field.
const fn ratime(mode: u64) -> Effect {
    Effect::Recursive(AttrChange { set: mode, clear: attr::ATIME })
}

/// All options that are not data for a file system, sorted by name.
///
/// `acl` and `noacl` are missing on purpose: the kernel takes MS_POSIXACL from file systems only, to them it is data.
pub const MOUNT_OPTIONS: &[(&str, Effect)] = &[
    ("async", Effect::Clear(ms::SYNCHRONOUS)),
    ("atime", Effect::Clear(ms::NOATIME)),
    ("bind", Effect::Set(ms::BIND)),
    ("copy-symlink", Effect::Special(Special::CopySymlink)),
    ("defaults", Effect::Set(0)),
    ("dest-nofollow", Effect::Special(Special::DestinationNoFollow)),
    ("dev", Effect::Clear(ms::NODEV)),
    ("diratime", Effect::Clear(ms::NODIRATIME)),
    ("dirsync", Effect::Set(ms::DIRSYNC)),
    ("exec", Effect::Clear(ms::NOEXEC)),
    ("idmap", Effect::Special(Special::IdMap)),
    ("iversion", Effect::Set(ms::I_VERSION)),
    ("lazytime", Effect::Set(ms::LAZYTIME)),
    ("loud", Effect::Clear(ms::SILENT)),
    ("mand", Effect::Set(ms::MANDLOCK)),
    ("noatime", Effect::Set(ms::NOATIME)),
    ("nodev", Effect::Set(ms::NODEV)),
    ("nodiratime", Effect::Set(ms::NODIRATIME)),
    ("noexec", Effect::Set(ms::NOEXEC)),
    ("noiversion", Effect::Clear(ms::I_VERSION)),
    ("nolazytime", Effect::Clear(ms::LAZYTIME)),
    ("nomand", Effect::Clear(ms::MANDLOCK)),
    ("norelatime", Effect::Clear(ms::RELATIME)),
    ("nostrictatime", Effect::Clear(ms::STRICTATIME)),
    ("nosuid", Effect::Set(ms::NOSUID)),
    ("nosymfollow", Effect::Set(ms::NOSYMFOLLOW)),
    ("private", Effect::Propagate(Propagation::Private)),
    ("ratime", ratime(attr::RELATIME)),
    ("rbind", Effect::Set(ms::BIND | ms::REC)),
    ("rdev", rclear(attr::NODEV)),
    ("rdiratime", rclear(attr::NODIRATIME)),
    ("relatime", Effect::Set(ms::RELATIME)),
    ("remount", Effect::Set(ms::REMOUNT)),
    ("rexec", rclear(attr::NOEXEC)),
    ("ridmap", Effect::Special(Special::RecursiveIdMap)),
    ("rnoatime", ratime(attr::NOATIME)),
    ("rnodev", rset(attr::NODEV)),
    ("rnodiratime", rset(attr::NODIRATIME)),
    ("rnoexec", rset(attr::NOEXEC)),
    // Without relatime and strictatime the kernel's default holds, which is relatime again.
    ("rnorelatime", ratime(attr::RELATIME)),
    ("rnostrictatime", ratime(attr::RELATIME)),
    ("rnosuid", rset(attr::NOSUID)),
    ("rnosymfollow", rset(attr::NOSYMFOLLOW)),
    ("ro", Effect::Set(ms::RDONLY)),
    ("rprivate", Effect::Propagate(Propagation::Rprivate)),
    ("rrelatime", ratime(attr::RELATIME)),
    ("rro", rset(attr::RDONLY)),
    ("rrw", rclear(attr::RDONLY)),
    ("rshared", Effect::Propagate(Propagation::Rshared)),
    ("rslave", Effect::Propagate(Propagation::Rslave)),
    ("rstrictatime", ratime(attr::STRICTATIME)),
    ("rsuid", rclear(attr::NOSUID)),
    ("rsymfollow", rclear(attr::NOSYMFOLLOW)),
    ("runbindable", Effect::Propagate(Propagation::Runbindable)),
    ("rw", Effect::Clear(ms::RDONLY)),
    ("shared", Effect::Propagate(Propagation::Shared)),
    ("silent", Effect::Set(ms::SILENT)),
    ("slave", Effect::Propagate(Propagation::Slave)),
    ("src-nofollow", Effect::Special(Special::SourceNoFollow)),
    ("strictatime", Effect::Set(ms::STRICTATIME)),
    ("suid", Effect::Clear(ms::NOSUID)),
    ("symfollow", Effect::Clear(ms::NOSYMFOLLOW)),
    ("sync", Effect::Set(ms::SYNCHRONOUS)),
    ("tmpcopyup", Effect::Special(Special::TmpCopyUp)),
    ("unbindable", Effect::Propagate(Propagation::Unbindable)),
];

/// The effect of the option called `name`; `None` for data of a file system.
#[must_use]
pub fn mount_option(name: &str) -> Option<Effect> {
    let index = MOUNT_OPTIONS.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
    MOUNT_OPTIONS.get(index).map(|(_, effect)| *effect)
}

/// A request to map ids on a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMap<'o> {
    /// Whether mounts below it are mapped too.
    pub recursive: bool,
    /// Where in the list of options it was asked for.
    pub index: usize,
    /// The mapping in crun's syntax, `uids=0-1-10#10-11-10;gids=0-100-10`; see [`parse_id_map`].
    pub ranges: Option<&'o str>,
}

/// The options of one mount, put together. Where options contradict each other the later one counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountOptions<'o> {
    /// MS_* flags to mount with.
    pub flags: u64,
    /// MS_* flags that were cleared by name: a bind mount drops them where its source has them.
    pub cleared: u64,
    /// MOUNT_ATTR_* to change on the mount and all below it.
    pub recursive: Option<AttrChange>,
    /// Propagation changes, in order.
    pub propagation: Vec<Propagation>,
    /// Whether ids are mapped.
    pub idmap: Option<IdMap<'o>>,
    /// `tmpcopyup` was given.
    pub tmpcopyup: bool,
    /// `copy-symlink` was given.
    pub copy_symlink: bool,
    /// `src-nofollow` was given.
    pub src_nofollow: bool,
    /// `dest-nofollow` was given.
    pub dest_nofollow: bool,
    /// What is left, for the file system, with the index in the list of options.
    pub data: Vec<(usize, &'o str)>,
}

impl<'o> MountOptions<'o> {
    /// Sorts `options` by what they do.
    #[must_use]
    pub fn parse(options: &'o [Text<'_>]) -> Self {
        let mut all = Self::default();
        for (index, option) in options.iter().enumerate() {
            for option in pieces(option) {
                match mount_option(option) {
                    Some(effect) => all.apply(index, effect),
                    None => all.apply_value(index, option),
                }
            }
        }
        all
    }

    /// Whether it is a bind mount: `bind` or `rbind` was given.
    #[must_use]
    pub fn is_bind(&self) -> bool {
        self.flags & ms::BIND != 0
    }

    /// Whether nothing can be written through the mount: `ro` or `rro` was given.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.flags & ms::RDONLY != 0 || self.recursive.is_some_and(|change| change.set & attr::RDONLY != 0)
    }

    /// The data for the file system, as mount(2) takes it.
    #[must_use]
    pub fn data_string(&self) -> String {
        let mut joined = String::new();
        for (_, option) in &self.data {
            if !joined.is_empty() {
                joined.push(',');
            }
            joined.push_str(option);
        }
        joined
    }

    fn apply(&mut self, index: usize, effect: Effect) {
        match effect {
            Effect::Set(flags) => {
                const ATIME: u64 = ms::NOATIME | ms::RELATIME | ms::STRICTATIME;
                if flags & ATIME != 0 {
                    self.flags &= !ATIME;
                }
                self.flags |= flags;
                self.cleared &= !flags;
            }
            Effect::Clear(flags) => {
                self.flags &= !flags;
                self.cleared |= flags;
            }
            Effect::Recursive(change) => {
                let all = self.recursive.get_or_insert_default();
                all.set = (all.set & !change.clear) | change.set;
                all.clear = (all.clear & !change.set) | change.clear;
                if change.clear & attr::ATIME != 0 {
                    all.clear |= attr::ATIME;
                }
            }
            Effect::Propagate(propagation) => self.propagation.push(propagation),
            Effect::Special(special) => self.apply_special(index, special),
        }
    }

    fn apply_special(&mut self, index: usize, special: Special) {
        match special {
            Special::TmpCopyUp => self.tmpcopyup = true,
            Special::IdMap => self.idmap = Some(IdMap { recursive: false, index, ranges: None }),
            Special::RecursiveIdMap => self.idmap = Some(IdMap { recursive: true, index, ranges: None }),
            Special::CopySymlink => self.copy_symlink = true,
            Special::SourceNoFollow => self.src_nofollow = true,
            Special::DestinationNoFollow => self.dest_nofollow = true,
        }
    }

    fn apply_value(&mut self, index: usize, option: &'o str) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        match name {
            "idmap" | "ridmap" if !value.is_empty() => {
                self.idmap = Some(IdMap { recursive: name == "ridmap", index, ranges: Some(value) });
            }
            _ => self.data.push((index, option)),
        }
    }
}

/// The options in one string of the list, which mount(2) would take apart at its commas: not at those between double quotes (security
/// contexts) or after a backslash (paths of overlay layers). The categories of a context without quotes (`context=u:r:t:s0:c0,c1`) stay
/// with it, although mount(2) would not see that: no file system has an option that is called so.
fn pieces(option: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(option);
    let several = option.contains(',');
    let next = move || {
        let text = rest?;
        let mut end = end_of_first(text);
        while is_context(&text[..end]) && text.get(end + 1..).is_some_and(starts_with_category) {
            end += 1 + end_of_first(&text[end + 1..]);
        }
        rest = text.get(end + 1..);
        Some(&text[..end])
    };
    std::iter::from_fn(next).filter(move |piece| !several || !piece.is_empty())
}

/// Where the first option of a string ends: at a comma or at its own end.
fn end_of_first(text: &str) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    let ends = move |character: char| {
        let here = !quoted && !escaped && character == ',';
        quoted ^= character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        here
    };
    text.find(ends).unwrap_or(text.len())
}

fn is_context(option: &str) -> bool {
    ["context=", "fscontext=", "defcontext=", "rootcontext="].iter().any(|name| option.starts_with(name))
}

/// A category of SELinux or a range of them: `c1`, `c1.c5`.
fn starts_with_category(text: &str) -> bool {
    let first = &text[..end_of_first(text)];
    let category = |name: &str| {
        name.strip_prefix('c')
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    first.split('.').all(category)
}

/// The ranges of `idmap=RANGES` in crun's syntax, user and group ids.
///
/// `uids=A-B-N#…;gids=A-B-N#…`: N ids from A of the file system appear as B and up. With a `@` before it, a range is relative to
/// the container's own user namespace, whose mappings are `container_uids` and `container_gids`: B is an id in the container.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse_id_map(
    ranges: &str,
    container_uids: &[IdMapping],
    container_gids: &[IdMapping],
) -> Result<(Vec<IdMapping>, Vec<IdMapping>), String> {
    let (mut uids, mut gids) = (Vec::new(), Vec::new());
    for part in ranges.split(';').filter(|part| !part.is_empty()) {
        let (list, text, container) = match part.split_once('=') {
            Some(("uids", text)) => (&mut uids, text, container_uids),
            Some(("gids", text)) => (&mut gids, text, container_gids),
            _ => return Err(format!("{part:?} is neither uids=RANGES nor gids=RANGES")),
        };
        for range in text.split('#') {
            list.push(id_range(range, container)?);
        }
    }
    if uids.is_empty() || gids.is_empty() {
        return Err(format!("{ranges:?} must give both uids=RANGES and gids=RANGES"));
    }
    Ok((uids, gids))
}

fn id_range(text: &str, container: &[IdMapping]) -> Result<IdMapping, String> {
    let wrong = || format!("{text:?} is not a range of the form FIRST-HOST-COUNT");
    let (relative, numbers) = match text.strip_prefix('@') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut fields = numbers.split('-');
    let mut next = || fields.next().and_then(strict_u32).ok_or_else(wrong);
    let mut range = IdMapping { container_id: next()?, host_id: next()?, size: next()? };
    if fields.next().is_some() {
        return Err(wrong());
    }
    if relative {
        range.host_id = host_id(container, range.host_id, range.size)
            .ok_or_else(|| format!("{text:?}: the container's user namespace has no single mapping for these ids"))?;
    }
    Ok(range)
}

/// A decimal number of digits alone: no sign, no blank, no prefix.
pub(super) fn strict_u32(text: &str) -> Option<u32> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// The host's id behind `id` of the container, when one mapping holds `count` ids from there on.
fn host_id(mappings: &[IdMapping], id: u32, count: u32) -> Option<u32> {
    mappings.iter().find_map(|mapping| {
        let offset = id.checked_sub(mapping.container_id)?;
        let fits = u64::from(offset) + u64::from(count) <= u64::from(mapping.size);
        if fits { mapping.host_id.checked_add(offset) } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_string_may_hold_several_options() {
        let data = |texts: &[&'static str]| {
            let texts: Vec<Text<'_>> = texts.iter().map(|text| (*text).into()).collect();
            let all = MountOptions::parse(&texts);
            (all.flags, all.data.iter().map(|(index, text)| (*index, (*text).to_owned())).collect::<Vec<_>>())
        };
        let of = |list: &[(usize, &str)]| list.iter().map(|(index, text)| (*index, (*text).to_owned())).collect();
        assert_eq!(data(&["nosuid", "size=1m,mode=711"]), (ms::NOSUID, of(&[(1, "size=1m"), (1, "mode=711")])));
        assert_eq!(data(&["size=1m,ro,,nodev,"]), (ms::RDONLY | ms::NODEV, of(&[(0, "size=1m")])));
        let context = r#"context="a:b:c,d",size=1m"#;
        assert_eq!(data(&[context]), (0, of(&[(0, r#"context="a:b:c,d""#), (0, "size=1m")])));
        let plain = "size=1m,context=u:r:t:s0:c0,c2.c5,c9,mode=1777,c1";
        let whole = "context=u:r:t:s0:c0,c2.c5,c9";
        assert_eq!(data(&[plain]), (0, of(&[(0, "size=1m"), (0, whole), (0, "mode=1777"), (0, "c1")])));
        assert_eq!(data(&["context=u:r:t:s0,"]), (0, of(&[(0, "context=u:r:t:s0")])));
        assert_eq!(
            data(&[r"lowerdir=/a\,b:/c,upperdir=/u"]),
            (0, of(&[(0, r"lowerdir=/a\,b:/c"), (0, "upperdir=/u")]))
        );
        assert_eq!(data(&[""]), (0, of(&[(0, "")])));
    }
    use crate::config::Named;

    fn texts(options: &'static [&'static str]) -> Vec<Text<'static>> {
        options.iter().map(|option| Text::from(*option)).collect()
    }

    #[test]
    fn the_table_is_sorted_and_has_every_propagation() {
        assert!(MOUNT_OPTIONS.is_sorted_by(|a, b| a.0 < b.0));
        for (name, propagation) in Propagation::ALL {
            assert_eq!(mount_option(name), Some(Effect::Propagate(*propagation)));
        }
    }

    #[test]
    fn flags_are_those_of_the_c_library() {
        let cases = [
            ("ro", libc::MS_RDONLY),
            ("nosuid", libc::MS_NOSUID),
            ("nodev", libc::MS_NODEV),
            ("noexec", libc::MS_NOEXEC),
            ("sync", libc::MS_SYNCHRONOUS),
            ("remount", libc::MS_REMOUNT),
            ("mand", libc::MS_MANDLOCK),
            ("dirsync", libc::MS_DIRSYNC),
            ("nosymfollow", libc::MS_NOSYMFOLLOW),
            ("noatime", libc::MS_NOATIME),
            ("nodiratime", libc::MS_NODIRATIME),
            ("bind", libc::MS_BIND),
            ("rbind", libc::MS_BIND | libc::MS_REC),
            ("silent", libc::MS_SILENT),
            ("relatime", libc::MS_RELATIME),
            ("iversion", libc::MS_I_VERSION),
            ("strictatime", libc::MS_STRICTATIME),
            ("lazytime", libc::MS_LAZYTIME),
        ];
        for (name, flag) in cases {
            assert_eq!(mount_option(name), Some(Effect::Set(flag)), "{name}");
        }
    }

    #[test]
    fn a_later_option_wins() {
        let options =
            texts(&["ro", "nosuid", "rw", "noatime", "strictatime", "rprivate", "size=64k", "rslave", "mode=1777"]);
        let parsed = MountOptions::parse(&options);
        assert_eq!(parsed.flags, libc::MS_NOSUID | libc::MS_STRICTATIME);
        assert_eq!(parsed.cleared, libc::MS_RDONLY);
        assert_eq!(parsed.propagation, [Propagation::Rprivate, Propagation::Rslave]);
        assert_eq!(parsed.data_string(), "size=64k,mode=1777");
        assert_eq!(parsed.data[0].0, 6);
    }

    #[test]
    fn recursive_attributes_add_up() {
        let cases: [(&[&str], u64, u64); 5] = [
            (&["rro"], 0x1, 0),
            (&["rro", "rrw"], 0, 0x1),
            (&["rnoatime"], 0x10, 0x70),
            (&["rnoatime", "rrelatime"], 0, 0x70),
            (&["rstrictatime", "rnoexec", "rnosymfollow"], 0x20_0028, 0x70),
        ];
        for (options, set, clear) in cases {
            let options: Vec<Text<'_>> = options.iter().map(|o| Text::from(*o)).collect();
            assert_eq!(MountOptions::parse(&options).recursive, Some(AttrChange { set, clear }), "{options:?}");
        }
    }

    #[test]
    fn an_id_map_is_absolute_or_relative_to_the_container() {
        let container =
            [IdMapping { container_id: 0, host_id: 0, size: 1 }, IdMapping { container_id: 1, host_id: 2, size: 1000 }];
        let parse = |text| parse_id_map(text, &container, &container);
        let range = |container_id, host_id, size| IdMapping { container_id, host_id, size };
        assert_eq!(
            parse("uids=0-1-10#10-11-10;gids=0-100-10"),
            Ok((vec![range(0, 1, 10), range(10, 11, 10)], vec![range(0, 100, 10)]))
        );
        assert_eq!(parse("uids=@1-3-10;gids=0-0-1").map(|(uids, _)| uids), Ok(vec![range(1, 4, 10)]));
        for wrong in [
            "",
            "uids=0-1-10",
            "uids=0-1;gids=0-0-1",
            "uids=0-1-4294967296;gids=0-0-1",
            "uids=+0-1-1;gids=0-0-1",
            "users=0-0-1",
            "uids=0-0-1-1;gids=0-0-1",
            "uids=@0-0-2;gids=0-0-1",
            "uids=0 -0-1;gids=0-0-1",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn idmap_with_and_without_ranges() {
        let options = texts(&["rbind", "ridmap=uids=0-1-1;gids=0-1-1"]);
        let idmap = MountOptions::parse(&options).idmap.unwrap();
        assert!(idmap.recursive);
        assert_eq!(idmap.ranges, Some("uids=0-1-1;gids=0-1-1"));
        let options = texts(&["bind", "idmap", "idmap="]);
        let parsed = MountOptions::parse(&options);
        assert_eq!(parsed.idmap, Some(IdMap { recursive: false, index: 1, ranges: None }));
        assert_eq!(parsed.data, [(2, "idmap=")]);
    }
}
