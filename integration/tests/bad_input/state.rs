//! Files of the state directory that are damaged, of another kind or of another version: an error that names the file, and
//! `delete --force` takes the container away in any case.

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Instant;

use orlop_integration::{Container, Sandbox, case, process};
use serde_json::json;

use crate::nothing_left;

/// How many places of a file are tried; `ORLOP_DAMAGE_POINTS` sets another number, `all` for every byte.
fn places(length: u64) -> Vec<u64> {
    let wish = std::env::var("ORLOP_DAMAGE_POINTS").unwrap_or_default();
    let count = if wish == "all" { length } else { wish.parse().unwrap_or(40) };
    let count = count.clamp(1, length.max(1));
    (0..count).map(|n| n * length / count).collect()
}

fn file(c: &Container<'_>, name: &str) -> PathBuf {
    c.sandbox.root.join(&c.id).join(name)
}

#[track_caller]
fn deleted(c: &Container<'_>, pid: i32, what: &str) {
    let begun = Instant::now();
    let out = c.delete_force();
    assert_eq!(out.code, 0, "{what}: {}", out.stderr);
    assert!(begun.elapsed().as_secs() < 5, "{what}: delete --force took {:?}", begun.elapsed());
    assert!(!process::is_alive(pid), "{what}: the container's process stays");
    assert!(!c.sandbox.root.join(&c.id).is_dir(), "{what}: state stays");
    nothing_left(c.sandbox, what);
    fs::remove_dir_all(&c.bundle).unwrap();
}

#[case(extension, seconds(120))]
fn state_files_of_another_kind(t: &Sandbox) {
    let outside = t.dir.join("outside.json");
    fs::write(&outside, "{}").unwrap();
    type Make<'f> = &'f dyn Fn(&Path);
    let kinds: [(&str, Make<'_>); 5] = [
        ("link", &|path| symlink(&outside, path).unwrap()),
        ("loop", &|path| symlink("state.json", path).unwrap()),
        ("dir", &|path| fs::create_dir(path).unwrap()),
        ("fifo", &|path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap()),
        ("gone", &|_| ()),
    ];
    for (name, make) in kinds {
        let c = t.container(name);
        let pid = c.run_paused();
        fs::remove_file(file(&c, "state.json")).unwrap();
        make(&file(&c, "state.json"));
        for verb in ["state", "start", "pause", "delete"] {
            let begun = Instant::now();
            let out = c.simple(verb, &[], &[]);
            assert!(out.code == 1 && !out.stderr.is_empty(), "{name}: {verb}: {out:?}");
            assert!(begun.elapsed().as_secs() < 5, "{name}: {verb} took {:?}", begun.elapsed());
        }
        let out = t.logged(&["list"]).run();
        assert!(out.code < 128, "{name}: {out:?}");
        deleted(&c, pid, name);
    }
    assert_eq!(fs::read_to_string(outside).unwrap(), "{}");
}

#[case(extension, seconds(120))]
fn a_huge_state_file_is_not_read(t: &Sandbox) {
    let c = t.container("a");
    let pid = c.run_paused();
    let sparse = fs::File::create(file(&c, "state.json")).unwrap();
    sparse.set_len(8 << 30).unwrap();
    let begun = Instant::now();
    let out = c.simple("state", &[], &[]);
    assert!(out.code == 1 && out.stderr.contains("state.json"), "{out:?}");
    assert!(begun.elapsed().as_secs() < 3, "{:?}", begun.elapsed());
    deleted(&c, pid, "a huge state file");
}

/// One byte is another one; whether that is noticed or means the same, nothing hangs and all goes away.
#[case(extension, seconds(600))]
fn state_bytes_that_are_damaged(t: &Sandbox) {
    let c = t.container("first");
    c.run_paused();
    let length = fs::metadata(file(&c, "state.json")).unwrap().size();
    c.delete_force().ok();
    for (n, place) in places(length).into_iter().enumerate() {
        let c = t.container(&format!("c{n}"));
        let pid = c.run_paused();
        let path = file(&c, "state.json");
        let mut bytes = fs::read(&path).unwrap();
        // The times in it may make it a little shorter.
        let place = usize::try_from(place).unwrap().min(bytes.len() - 1);
        bytes[place] ^= 0x15;
        fs::write(&path, bytes).unwrap();
        let what = format!("byte {place} of state.json");
        for verb in ["state", "ps"] {
            let out = c.simple(verb, &[], &[]);
            assert!(out.code < 128 && (out.code == 0 || !out.stderr.is_empty()), "{what}: {out:?}");
        }
        let out = c.delete_force();
        assert_eq!(out.code, 0, "{what}: {}", out.stderr);
        // A pid, a cgroup or a path that reads differently is another one: what it was before is not known any more.
        orlop_integration::leak::clean(&t.tag);
        process::kill_hard(pid);
        t.wait_gone(pid);
        let _ = fs::remove_dir_all(t.root.join(&c.id));
        fs::remove_dir_all(&c.bundle).unwrap();
    }
}

/// The block of a created container that `start` and the init share.
fn block(c: &Container<'_>) -> PathBuf {
    let dir = c.sandbox.root.join(&c.id);
    let name = fs::read_dir(&dir).unwrap().flatten().map(|entry| entry.path()).find(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("init.")
    });
    name.unwrap_or_else(|| panic!("no shared block in {}", dir.display()))
}

fn start_with(c: &Container<'_>, change: &dyn Fn(&fs::File), what: &str) -> orlop_integration::Output {
    c.args(&["/probe", "pause"]).create().ok();
    let pid = c.pid();
    let file = fs::OpenOptions::new().read(true).write(true).open(block(c)).unwrap();
    change(&file);
    let begun = Instant::now();
    let out = c.start();
    assert!(out.code < 128 && (out.code == 0 || !out.stderr.is_empty()), "{what}: {out:?}");
    assert!(begun.elapsed().as_secs() < 8, "{what}: start took {:?}", begun.elapsed());
    deleted(c, pid, what);
    out
}

#[case(extension, seconds(600))]
fn blocks_that_are_damaged(t: &Sandbox) {
    let c = t.container("first");
    c.create().ok();
    let length = fs::metadata(block(&c)).unwrap().size();
    c.delete_force().ok();
    // The header closely, the rest by samples.
    let all = (0..192.min(length)).step_by(4).chain(places(length));
    for (n, place) in all.enumerate() {
        let c = t.container(&format!("c{n}"));
        let what = format!("byte {place} of the shared block");
        start_with(&c, &|file| drop(file.write_all_at(&[0xff], place)), &what);
    }
    for (name, change) in [
        ("zeroed", &(|file: &fs::File| drop(file.write_all_at(&vec![0; 4096], 0))) as &dyn Fn(&fs::File)),
        ("ones", &|file| drop(file.write_all_at(&vec![0xff; 4096], 0))),
        ("empty", &|file| file.set_len(0).unwrap()),
        ("short", &|file| file.set_len(16).unwrap()),
    ] {
        let c = t.container(name);
        let out = start_with(&c, change, name);
        assert!(out.stderr.contains("init.") && !out.stderr.contains("non-socket"), "{name}: {}", out.stderr);
    }
}

/// The first words say what the file is: another runtime's is refused by that, whatever else is in it.
#[case(extension, seconds(120))]
fn a_block_of_another_version(t: &Sandbox) {
    let c = t.container("a");
    let out = start_with(
        &c,
        &|file| {
            let mut word = [0; 4];
            file.read_exact_at(&mut word, 4).unwrap();
            let next = u32::from_ne_bytes(word).wrapping_add(1);
            file.write_all_at(&next.to_ne_bytes(), 4).unwrap();
        },
        "another version",
    );
    assert!(out.code == 1 && out.stderr.contains("version"), "{out:?}");
}

/// `delete --force` ends its own container, not one that somebody else has put below its control group.
#[case(extension, seconds(120))]
fn a_nested_control_group_is_another_containers(t: &Sandbox) {
    let outer = t.container("outer");
    outer.run_paused();
    let inner = t.container("inner");
    let other = t.dir.join("other-root");
    inner.set("/linux/cgroupsPath", json!(format!("/{}/inside", outer.id))).args(&["/probe", "pause"]).write();
    let bundle = inner.bundle.display().to_string();
    let root = other.display().to_string();
    let call = |words: &[&str]| t.bare(&[&["--root", root.as_str()], words].concat()).run();
    let _ = call(&["run", "--detach", "--bundle", &bundle, &inner.id]).ok();
    let pid = call(&["state", &inner.id]).ok().json()["pid"].as_i64().unwrap();
    let out = outer.delete_force();
    assert!(process::is_alive(i32::try_from(pid).unwrap()), "the other container was killed");
    assert!(out.code == 0 || out.stderr.contains("inside"), "{out:?}");
    let _ = call(&["delete", "--force", &inner.id]).ok();
    outer.delete_force().ok();
}
