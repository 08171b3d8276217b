//! The hosts files of containers, in which each finds the others.

use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::network::Lease;

/// Where our lines begin.
const MARK: &str = "# containers of the same network\n";
/// What a container may have made of the rest.
const LIMIT: u64 = 256 << 10;

/// Writes the names of all containers into the files of all.
pub(super) fn update(leases: &[Lease]) {
    for lease in leases {
        // A container that has no such file, or is just being removed, keeps nobody else from learning of the change.
        rewrite(&lease.hosts_file, &section(lease, leases)).ok();
    }
}

/// The lines for `mine`: the others, and the address of its own that is not above them.
fn section(mine: &Lease, leases: &[Lease]) -> String {
    let mut text = MARK.to_owned();
    for lease in leases.iter().filter(|lease| lease.ready || lease.name == mine.name) {
        let mut names = vec![lease.name.as_str()];
        names.extend(lease.aliases.iter().map(String::as_str).filter(|alias| *alias != lease.name));
        let names = names.join(" ");
        if lease.name != mine.name {
            text += &format!("{}\t{names}\n", lease.ipv4);
        }
        if let Some(address) = lease.ipv6 {
            text += &format!("{address}\t{names}\n");
        }
    }
    text
}

/// Puts `section` at the end, in the same file: it is mounted in the container, which would not see a new one.
fn rewrite(path: &Path, section: &str) -> std::io::Result<()> {
    let mut file =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let mut bytes = Vec::new();
    (&file).take(LIMIT).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut text = text.split(MARK).next().unwrap_or_default().to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(section);
    file.seek(SeekFrom::Start(0))?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(name: &str, number: u8) -> Lease {
        Lease {
            name: name.to_owned(),
            aliases: vec![format!("{name}.lan")],
            number: number.into(),
            ipv4: std::net::Ipv4Addr::new(10, 88, 0, number),
            ipv6: Some(std::net::Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into())),
            ports: Vec::new(),
            hosts_file: std::env::temp_dir().join(format!("orlop-hosts-{}-{name}", std::process::id())),
            ready: true,
        }
    }

    #[test]
    fn each_has_the_others_and_its_own_lines_stay() {
        let (web, db) = (lease("web", 2), lease("db", 3));
        std::fs::write(&web.hosts_file, "127.0.0.1\tlocalhost").unwrap();
        update(&[web.clone(), db.clone()]);
        let both = std::fs::read_to_string(&web.hosts_file).unwrap();
        let own = "127.0.0.1\tlocalhost\n# containers of the same network\nfd00::2\tweb web.lan\n";
        assert_eq!(both, format!("{own}10.88.0.3\tdb db.lan\nfd00::3\tdb db.lan\n"));
        update(std::slice::from_ref(&web));
        assert_eq!(std::fs::read_to_string(&web.hosts_file).unwrap(), own);
        std::fs::remove_file(&web.hosts_file).unwrap();
        assert!(!db.hosts_file.is_file());
    }
}
