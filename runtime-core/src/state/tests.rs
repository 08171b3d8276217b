#![allow(clippy::disallowed_methods, reason = "tests look at the file system as a user would")]

use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::unistd::geteuid;

use super::files::*;
use super::store::*;
use super::*;
use crate::base::{ContainerId, HostPid, Kind, Runtime};

/// A state root of its own, removed at the end of the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("orlop-state-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path).unwrap();
        Self(path)
    }

    fn runtime(&self) -> Runtime {
        Runtime::new(self.0.join("root"))
    }

    fn store(&self) -> Store {
        Store::create(&self.runtime()).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join("root").join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn id(name: &str) -> ContainerId {
    ContainerId::new(name).unwrap()
}

fn full_record(id: &ContainerId) -> Record {
    Record {
        phase: Phase::Created,
        oci_version: "1.3.0".into(),
        bundle: "/b".into(),
        rootfs: "/b/rootfs".into(),
        annotations: [("k".to_owned(), "v \" \u{1}".to_owned())].into(),
        init: HostPid::new(4711).map(|pid| InitProcess { pid, pidfd_inode: Some(99), start_time: None }),
        namespaces: vec![
            NamespaceRecord { kind: "pid".into(), path: None },
            NamespaceRecord { kind: "network".into(), path: Some("/var/run/netns/x".into()) },
        ],
        cgroup: Some(orlop_cgroups::Record {
            paths: orlop_cgroups::Paths { unified: Some("/sys/fs/cgroup/x".to_owned()), ..Default::default() },
            ..orlop_cgroups::Record::default()
        }),
        intel_rdt: Some(IntelRdtRecord { path: "/sys/fs/resctrl/x".into(), monitoring_path: None, owned: true }),
        rootless: true,
        no_new_keyring: true,
        at_once: true,
        inherited_filters: Some(2),
        poststop_hooks: true,
        resources: Some(Box::new(orlop_cgroups::Resources {
            pids: Some(orlop_cgroups::Pids { limit: Some(5) }),
            ..orlop_cgroups::Resources::default()
        })),
        ..Record::intent(id)
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_record_comes_back_as_it_was_saved() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let web = id("web");
    let claim = store.claim(&web, &Record::intent(&web)).unwrap();
    assert_eq!(store.load(&web).unwrap().record.phase, Phase::Creating);
    let record = full_record(&web);
    claim.locked().unwrap().keep_config(b"{\"a\": 1}").unwrap();
    claim.locked().unwrap().save(&record).unwrap();
    drop(claim.keep().unwrap());

    let entry = Store::find(&scratch.runtime(), &web).unwrap();
    assert_eq!(entry.record, record);
    assert_eq!(entry.config().unwrap(), b"{\"a\": 1}");
    let brief = store.brief(&web, &mut Vec::new()).unwrap();
    assert_eq!(brief.owner().unwrap(), geteuid().as_raw());
    assert_eq!((brief.phase, brief.created.as_str()), (entry.record.phase, entry.record.created.as_str()));
    assert!(entry.record.has_own_pid_namespace());
    assert!(!entry.has_exec_fifo().unwrap());
    let text = std::fs::read_to_string(scratch.path("web/state.json")).unwrap();
    assert!(text.contains(r#""init_process_pid":4711,"init_process_start":0"#), "{text}");
    assert!(text.contains(r#""NEWNET":"/proc/4711/ns/net""#), "{text}");
}

#[test]
fn a_brief_asks_for_the_fifo_only_of_those_who_wait() {
    let scratch = Scratch::new();
    let store = scratch.store();
    for (name, at_once) in [("run", true), ("created", false)] {
        let record = Record { at_once, ..full_record(&id(name)) };
        drop(store.claim(&id(name), &record).unwrap().keep().unwrap());
        assert!(!store.brief(&id(name), &mut Vec::new()).unwrap().has_exec_fifo().unwrap());
        nix::unistd::mkfifo(&scratch.path(name).join(EXEC_FIFO), PRIVATE_FILE).unwrap();
        assert_eq!(store.brief(&id(name), &mut Vec::new()).unwrap().has_exec_fifo().unwrap(), !at_once, "{name}");
    }
    // One that says nothing of it may wait.
    let path = scratch.path("run/state.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace(r#""at_once":true,"#, "")).unwrap();
    assert!(store.brief(&id("run"), &mut Vec::new()).unwrap().has_exec_fifo().unwrap());
}

#[test]
fn briefs_share_their_room_and_nothing_else() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let long: String = "x".repeat(20_000);
    let mut buffer = Vec::new();
    for (name, bundle) in [("long", long.as_str()), ("short", "/b"), ("again", long.as_str())] {
        let record = Record { bundle: bundle.to_owned(), ..full_record(&id(name)) };
        drop(store.claim(&id(name), &record).unwrap().keep().unwrap());
        assert_eq!(store.brief(&id(name), &mut buffer).unwrap().bundle, bundle, "{name}");
    }
    // An empty one does not find the last one's bytes.
    std::fs::write(scratch.path("short/state.json"), "").unwrap();
    assert_eq!(store.brief(&id("short"), &mut buffer).unwrap_err().kind(), Kind::NotFound);
    if geteuid().is_root() {
        std::os::unix::fs::chown(scratch.path("long/state.json"), Some(65_534), None).unwrap();
        assert_eq!(store.brief(&id("long"), &mut buffer).unwrap().owner().unwrap(), 65_534);
    }
}

#[test]
fn a_brief_follows_no_link() {
    let scratch = Scratch::new();
    let store = scratch.store();
    drop(store.claim(&id("web"), &full_record(&id("web"))).unwrap().keep().unwrap());
    std::os::unix::fs::symlink(scratch.path("web"), scratch.path("link")).unwrap();
    assert_eq!(store.brief(&id("link"), &mut Vec::new()).unwrap_err().kind(), Kind::NotFound);
    std::fs::rename(scratch.path("web/state.json"), scratch.path("web/elsewhere")).unwrap();
    std::os::unix::fs::symlink("elsewhere", scratch.path("web/state.json")).unwrap();
    assert_eq!(store.brief(&id("web"), &mut Vec::new()).unwrap_err().errno(), Some(libc::ELOOP));
}

#[test]
fn only_the_owner_can_read_what_is_stored() {
    let scratch = Scratch::new();
    let web = id("web");
    let locked = scratch.store().claim(&web, &Record::intent(&web)).unwrap().keep().unwrap();
    locked.keep_config(b"{}").unwrap();
    locked.save(&full_record(&web)).unwrap();
    assert_eq!(mode(&scratch.path("")), 0o700);
    assert_eq!(mode(&scratch.path("web")), 0o700);
    assert_eq!(mode(&scratch.path("web/state.json")), 0o600);
    assert_eq!(mode(&scratch.path("web/config.json")), 0o600);
}

#[test]
fn a_root_that_others_can_write_to_is_refused() {
    let scratch = Scratch::new();
    drop(scratch.store());
    for (bits, refused) in
        [(0o700, false), (0o711, false), (0o755, false), (0o770, true), (0o702, true), (0o1777, true)]
    {
        std::fs::set_permissions(scratch.path(""), std::fs::Permissions::from_mode(bits)).unwrap();
        let result = Store::open(&scratch.runtime());
        assert_eq!(result.is_err(), refused, "{bits:o}");
        if let Err(error) = result {
            assert_eq!(error.kind(), Kind::State);
            assert!(error.to_string().contains("is writable by others"), "{error}");
        }
    }
    if geteuid().is_root() {
        std::fs::set_permissions(scratch.path(""), std::fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(scratch.path(""), Some(65_534), None).unwrap();
        assert!(Store::open(&scratch.runtime()).unwrap_err().to_string().contains("belongs to uid 65534"));
    } else {
        eprintln!("skipped a case of a_root_that_others_can_write_to_is_refused: giving a directory away needs root");
    }
}

#[test]
fn an_id_is_given_once() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let web = id("web");
    let claim = store.claim(&web, &Record::intent(&web)).unwrap();
    let error = store.claim(&web, &Record::intent(&web)).unwrap_err();
    assert_eq!(error.kind(), Kind::AlreadyExists);
    assert_eq!(error.to_string(), "claim id web: container with given ID already exists");
    drop(claim);
    assert!(!scratch.path("web").exists(), "a claim that is dropped leaves nothing");
    store.claim(&web, &Record::intent(&web)).unwrap().give_up().unwrap();
    assert!(!scratch.path("web").exists());
}

#[test]
fn of_many_claims_at_once_one_wins() {
    let scratch = Scratch::new();
    drop(scratch.store());
    let runtime = scratch.runtime();
    for round in 0..20 {
        let won = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let store = Store::create(&runtime).unwrap();
                    let web = id(&format!("web{round}"));
                    match store.claim(&web, &Record::intent(&web)) {
                        Ok(claim) => {
                            won.fetch_add(1, Ordering::Relaxed);
                            drop(claim.keep().unwrap());
                        }
                        Err(error) => assert_eq!(error.kind(), Kind::AlreadyExists, "{error}"),
                    }
                });
            }
        });
        assert_eq!(won.load(Ordering::Relaxed), 1);
    }
}

/// A clean-up and a create that race for the same id: the create never ends up with a directory that has no name.
#[test]
fn a_claim_survives_a_clean_up_that_takes_its_directory_for_a_leftover() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let runtime = scratch.runtime();
    let web = id("web");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let cleaner = Store::create(&runtime).unwrap();
            let begin = Instant::now();
            while !done.load(Ordering::Relaxed) && begin.elapsed() < Duration::from_secs(20) {
                // What gc does: under the lock, a directory without an intent that is old enough is a leftover.
                let locked = cleaner.lock_until(&web, Instant::now());
                if let Ok(locked) = locked
                    && locked.record().unwrap().is_none()
                    && !locked.is_being_claimed().unwrap()
                {
                    locked.remove().unwrap();
                }
                // A create gets its chance between two clean-ups.
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        for _ in 0..500 {
            let claim = store.claim(&web, &Record::intent(&web)).unwrap();
            assert!(scratch.path("web/state.json").exists());
            claim.give_up().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_lock_is_exclusive_and_waits_no_longer_than_told() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let web = id("web");
    let claim = store.claim(&web, &Record::intent(&web)).unwrap();
    let begin = Instant::now();
    let error = store.lock_until(&web, begin + Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout);
    assert!(begin.elapsed() >= Duration::from_millis(50) && begin.elapsed() < Duration::from_secs(5));
    drop(claim.keep().unwrap());
    let locked = store.lock(&web).unwrap();
    locked.remove().unwrap();
    assert_eq!(store.lock(&web).unwrap_err().kind(), Kind::NotFound);
}

/// Whoever waited for the lock while the container was deleted finds no container.
#[test]
fn a_lock_on_a_container_that_was_deleted_meanwhile_finds_nothing() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let web = id("web");
    let held = store.claim(&web, &Record::intent(&web)).unwrap().keep().unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| store.lock(&web));
        std::thread::sleep(Duration::from_millis(30));
        held.remove().unwrap();
        assert_eq!(waiter.join().unwrap().unwrap_err().kind(), Kind::NotFound);
    });
}

#[test]
fn what_is_not_a_state_file_is_called_so() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let web = id("web");
    store.claim(&web, &Record::intent(&web)).unwrap().keep().unwrap().keep_config(b"{}").unwrap();
    let good = std::fs::read_to_string(scratch.path("web/state.json")).unwrap();
    for (content, message) in [
        ("{", "is damaged: EOF while parsing"),
        ("[]", "is damaged: invalid"),
        ("{\"id\": 5}", "is damaged: invalid type"),
        (&good.replace("\"orlop_state\":1", "\"orlop_state\":2"), "has format 2, this build reads 1"),
        (&good.replace("\"web\"", "\"db\""), "belongs to container \"db\""),
        (&good.replace("creating", "dreaming"), "unknown variant `dreaming`"),
        ("\u{0}\u{0}", "is damaged"),
    ] {
        std::fs::write(scratch.path("web/state.json"), content).unwrap();
        let error = store.load(&web).unwrap_err();
        assert_eq!(error.kind(), Kind::State, "{content}");
        assert!(error.to_string().contains(message), "{error}");
        assert!(error.to_string().contains("delete --force"), "{error}");
    }
    // Empty with a config beside it: not of a create that died, but of a disk that was full or a host that crashed.
    std::fs::write(scratch.path("web/state.json"), "").unwrap();
    assert_eq!(store.load(&web).unwrap_err().kind(), Kind::State);
    std::fs::remove_file(scratch.path("web/state.json")).unwrap();
    assert_eq!(store.load(&web).unwrap_err().kind(), Kind::State);
    std::fs::write(scratch.path("web/state.json"), "").unwrap();
    // A create that died before it wrote its intent has made no container yet.
    std::fs::remove_file(scratch.path("web/config.json")).unwrap();
    assert_eq!(store.load(&web).unwrap_err().kind(), Kind::NotFound);
    assert!(store.lock(&web).unwrap().record().unwrap().is_none());
    std::fs::remove_file(scratch.path("web/state.json")).unwrap();
    assert_eq!(store.load(&web).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn remove_takes_everything_and_follows_no_link() {
    let scratch = Scratch::new();
    let store = scratch.store();
    let web = id("web");
    let locked = store.claim(&web, &Record::intent(&web)).unwrap().keep().unwrap();
    let canary = scratch.0.join("canary");
    std::fs::create_dir(&canary).unwrap();
    std::fs::write(canary.join("file"), "stays").unwrap();
    std::fs::create_dir_all(scratch.path("web/notify/deep")).unwrap();
    std::fs::write(scratch.path("web/notify/deep/file"), "goes").unwrap();
    std::os::unix::fs::symlink(&canary, scratch.path("web/link")).unwrap();
    nix::unistd::mkfifo(&scratch.path("web/exec.fifo"), PRIVATE_FILE).unwrap();
    std::fs::write(scratch.path("web/state.json.new"), "{").unwrap();
    assert!(locked.has_exec_fifo().unwrap());
    locked.remove().unwrap();
    assert!(!scratch.path("web").exists());
    assert_eq!(std::fs::read_to_string(canary.join("file")).unwrap(), "stays");
}

#[test]
fn only_directories_with_the_name_of_an_id_are_containers() {
    let scratch = Scratch::new();
    let store = scratch.store();
    for name in ["b", "a", "not an id"] {
        std::fs::create_dir(scratch.path(name)).unwrap();
    }
    std::fs::write(scratch.path("file"), "").unwrap();
    std::os::unix::fs::symlink(&scratch.0, scratch.path("link")).unwrap();
    assert_eq!(store.ids().unwrap(), [id("a"), id("b")]);
    for name in ["file", "link", "c"] {
        let error = store.load(&id(name)).unwrap_err();
        assert_eq!(error.to_string(), format!("find container {name}: container does not exist"));
        assert_eq!(store.lock(&id(name)).unwrap_err().kind(), Kind::NotFound);
    }
}

#[test]
fn without_a_root_there_is_no_container() {
    let scratch = Scratch::new();
    assert!(Store::open(&scratch.runtime()).unwrap().is_none());
    assert_eq!(Store::find(&scratch.runtime(), &id("web")).unwrap_err().kind(), Kind::NotFound);
    let deep = Runtime::new(scratch.0.join("a/b/c"));
    assert!(Store::create(&deep).unwrap().ids().unwrap().is_empty());
    assert_eq!(mode(&scratch.0.join("a/b")), 0o700);
}
