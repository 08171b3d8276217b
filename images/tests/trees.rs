//! Root file systems are the same, entry by entry, as those that skopeo and umoci make of the same image: as a copy and as a
//! mounted overlay. Without those two programs, or root, the tests say that they are skipped.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use orlop_images::base::Dir;
use orlop_images::layer::tar::Kind;
use orlop_images::snapshot::{Happened, LayersOptions, Method, Snapshots};
use orlop_images::{Cancel, Image, Quiet, Step};
use support::layout::Layout;
use support::tree::{self, Node};
use support::{Archive, Place, Random};

/// Whether the peers are there; says so where a test is skipped.
fn peers(test: &str) -> bool {
    let there =
        |program: &str| Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    let all = support::is_root(test) && there("skopeo") && there("umoci");
    if !all {
        eprintln!("SKIP {test}: it needs root, skopeo and umoci");
    }
    all
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The tree that skopeo and umoci make.
fn of_umoci(place: &Place, layout: &Layout) -> BTreeMap<PathBuf, Node> {
    let copied = place.path().join("skopeo");
    let bundle = place.path().join("umoci");
    let name = |path: &Path| format!("{}:latest", path.display());
    run("skopeo", &["copy", "--quiet", &format!("oci:{}", name(layout.path())), &format!("oci:{}", name(&copied))]);
    run("umoci", &["unpack", "--image", &name(&copied), bundle.to_str().unwrap()]);
    tree::read(&bundle.join("rootfs"))
}

/// A state directory with the image unpacked.
struct Unpacked {
    snapshots: Snapshots,
    stack: orlop_images::snapshot::Stack,
}

fn unpack(place: &Place, image: &Image, layout: &Layout) -> Unpacked {
    let state = Dir::make(Step::OpenStore, &place.path().join("state")).unwrap();
    let snapshots = Snapshots::open(&state).unwrap();
    let blob = |digest: &orlop_images::Digest| Ok(layout.blob(digest));
    let stack = snapshots.layers().unpack(image, &blob, &LayersOptions::default(), &Quiet, &Cancel::new()).unwrap();
    assert_eq!(snapshots.layers().find(image).unwrap().as_ref(), Some(&stack));
    Unpacked { snapshots, stack }
}

impl Unpacked {
    fn copy(&self) -> BTreeMap<PathBuf, Node> {
        let snapshot = self.snapshots.prepare("copy", &self.stack, Method::Copy, &Cancel::new()).unwrap();
        assert!(snapshot.mount().is_none());
        assert_eq!(snapshot.changes(&[], &Cancel::new()).unwrap(), []);
        tree::read(&snapshot.root())
    }

    fn overlay(&self) -> BTreeMap<PathBuf, Node> {
        let snapshot = self.snapshots.prepare("overlay", &self.stack, Method::Overlay, &Cancel::new()).unwrap();
        let tree = in_own_mounts(|| {
            snapshot.mount_here().unwrap();
            tree::read(&snapshot.root())
        });
        assert_eq!(snapshot.changes(&[], &Cancel::new()).unwrap(), []);
        tree
    }
}

/// Runs `work` in a thread with a mount namespace of its own, which ends with it.
fn in_own_mounts<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let thread = || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        let flags = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
        nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).unwrap();
        work()
    };
    std::thread::scope(|scope| scope.spawn(thread).join().unwrap())
}

/// Compares, and prints all that differs. What happened to a directory's time while its contents were changed is nothing
/// that an image says.
fn same(ours: &BTreeMap<PathBuf, Node>, theirs: &BTreeMap<PathBuf, Node>, began: SystemTime, what: &str) {
    let began = i64::try_from(began.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()).unwrap();
    let mut differences = Vec::new();
    for path in ours.keys().chain(theirs.keys()).collect::<std::collections::BTreeSet<_>>() {
        match (ours.get(path), theirs.get(path)) {
            (Some(ours), Some(theirs)) => {
                let mut ours = ours.clone();
                if ours.is_directory() && (theirs.mtime.0 >= began - 1 || ours.mtime.0 >= began - 1) {
                    ours.mtime = theirs.mtime;
                }
                if ours != *theirs {
                    differences.push(format!("{}: {ours:?}\n    {theirs:?}", path.display()));
                }
            }
            (ours, theirs) => differences.push(format!("{}: {ours:?}\n    {theirs:?}", path.display())),
        }
    }
    assert!(
        differences.is_empty(),
        "{what}: {} of {} differ:\n{}",
        differences.len(),
        theirs.len(),
        differences.join("\n")
    );
    assert!(!ours.is_empty());
}

fn compare(test: &str, layers: &[Vec<u8>]) {
    if !peers(test) {
        return;
    }
    let began = SystemTime::now();
    let place = Place::new();
    let layout = Layout::make(&place.path().join("image"), layers);
    let image = layout.image();
    let theirs = of_umoci(&place, &layout);
    let unpacked = unpack(&place, &image, &layout);
    same(&unpacked.copy(), &theirs, began, "copy");
    same(&unpacked.overlay(), &theirs, began, "overlay");
}

#[test]
fn a_debian_image() {
    const TEST: &str = "a_debian_image";
    if !peers(TEST) {
        return;
    }
    let place = Place::new();
    let archive = match std::env::var_os("ORLOP_TEST_ROOTFS") {
        Some(path) => PathBuf::from(path),
        None => {
            let path = place.path().join("debian.tar");
            let made =
                Command::new("mmdebstrap").args(["--variant=essential", "--quiet", "bookworm"]).arg(&path).output();
            if !made.is_ok_and(|output| output.status.success()) {
                eprintln!("SKIP {TEST}: it needs mmdebstrap and a mirror, or ORLOP_TEST_ROOTFS=DEBIAN.tar");
                return;
            }
            path
        }
    };
    compare(TEST, &[std::fs::read(archive).unwrap()]);
}

#[test]
fn thirty_layers_with_whiteouts() {
    let mut random = Random(20_261_128);
    let mut there: BTreeMap<String, bool> = BTreeMap::new();
    let layers: Vec<_> = (0..30).map(|number| layer(&mut random, &mut there, number)).collect();
    compare("thirty_layers_with_whiteouts", &layers);
}

/// A random layer on a tree of which `there` knows the names, and whether they are directories.
fn layer(random: &mut Random, there: &mut BTreeMap<String, bool>, number: usize) -> Vec<u8> {
    let mut archive = Archive::new();
    archive.directory("./");
    for step in 0..12 {
        let directories: Vec<String> = there.iter().filter(|(_, is)| **is).map(|(name, _)| name.clone()).collect();
        let files: Vec<String> = there.iter().filter(|(_, is)| !**is).map(|(name, _)| name.clone()).collect();
        let parent = if directories.is_empty() {
            String::new()
        } else {
            directories[random.below(directories.len())].clone() + "/"
        };
        let fresh = format!("{parent}n{number}-{step}");
        match random.below(10) {
            0..=2 => {
                archive.directory(&fresh).with(|entry| entry.mode = 0o750);
                there.insert(fresh, true);
            }
            3..=5 => {
                let content = vec![b'a' + u8::try_from(number % 26).unwrap(); random.below(5000)];
                archive.file(&fresh, &content).with(|entry| {
                    entry.uid = u32::try_from(step).unwrap();
                    entry.xattrs = vec![(b"user.layer".to_vec(), number.to_string().into_bytes())];
                });
                there.insert(fresh, false);
            }
            6 if !files.is_empty() => {
                let file = &files[random.below(files.len())];
                archive.file(file, b"changed").with(|entry| entry.mode = 0o4711);
            }
            7 if !files.is_empty() => {
                let file = files[random.below(files.len())].clone();
                archive.file(&whiteout(&file), b"");
                there.remove(&file);
            }
            8 if !directories.is_empty() => {
                let directory = directories[random.below(directories.len())].clone();
                archive.file(&whiteout(&directory), b"");
                there.retain(|name, _| *name != directory && !name.starts_with(&format!("{directory}/")));
                if random.below(2) == 0 {
                    archive.directory(&directory);
                    there.insert(directory, true);
                }
            }
            9 if !directories.is_empty() => {
                let directory = directories[random.below(directories.len())].clone();
                archive.directory(&directory).file(&format!("{directory}/.wh..wh..opq"), b"");
                there.retain(|name, _| !name.starts_with(&format!("{directory}/")));
            }
            _ => {
                archive.link(&fresh, Kind::Symlink(b"../n0-0".to_vec()));
                there.insert(fresh, false);
            }
        }
    }
    archive.bytes()
}

fn whiteout(name: &str) -> String {
    match name.rsplit_once('/') {
        Some((parent, last)) => format!("{parent}/.wh.{last}"),
        None => format!(".wh.{name}"),
    }
}

#[test]
fn layers_that_depend_on_lower_ones() {
    let mut base = Archive::new();
    base.directory("./").directory("usr").directory("usr/lib").with(|entry| entry.mode = 0o2755);
    base.link("lib", Kind::Symlink(b"usr/lib".to_vec())).directory("etc").with(|entry| {
        entry.mode = 0o700;
        entry.uid = 33;
        entry.xattrs = vec![(b"user.kept".to_vec(), b"yes".to_vec())];
    });
    base.file("etc/a", b"a").file("etc/b", b"b").file("usr/lib/old", b"old").directory("var").file("var/x", b"x");
    base.link("abs", Kind::Symlink(b"/usr".to_vec()));
    let mut upper = Archive::new();
    // Directories that only a lower layer describes, links on the way, hard links to lower files.
    upper.file("etc/new", b"new").file("lib/through", b"1").file("abs/lib/deep", b"2");
    upper.link("etc/hard", Kind::HardLink(b"etc/a".to_vec())).link("etc/hard2", Kind::HardLink(b"etc/a".to_vec()));
    upper.link("top", Kind::HardLink(b"lib/old".to_vec()));
    upper.file("var/.wh.x", b"").file("none/deep/.wh.y", b"").directory("real").file("real/.wh.nothing", b"");
    let mut last = Archive::new();
    last.file("usr/lib/last", b"3")
        .file(".wh.var", b"")
        .file("var", b"a file now")
        .link("usr/share", Kind::Symlink(b"lib".to_vec()));
    compare("layers_that_depend_on_lower_ones", &[base.bytes(), upper.bytes(), last.bytes()]);
}

#[test]
fn a_container_and_the_layer_of_its_changes() {
    if !support::is_root("a_container_and_the_layer_of_its_changes") {
        return;
    }
    let mut base = Archive::new();
    base.directory("./")
        .directory("d")
        .file("d/kept", b"kept")
        .file("d/gone", b"gone")
        .directory("e")
        .file("e/x", b"x");
    base.directory("f").file("f/y", b"y").link("l", Kind::Symlink(b"d/kept".to_vec()));
    let base = base.bytes();
    let began = SystemTime::now();
    for method in [Method::Overlay, Method::Copy] {
        let place = Place::new();
        let layout = Layout::make(&place.path().join("image"), std::slice::from_ref(&base));
        let unpacked = unpack(&place, &layout.image(), &layout);
        let snapshot = unpacked.snapshots.prepare("c", &unpacked.stack, method, &Cancel::new()).unwrap();
        let root = snapshot.root();
        let after = in_own_mounts(|| {
            snapshot.mount_here().unwrap();
            std::fs::write(root.join("d/new"), b"new").unwrap();
            std::fs::hard_link(root.join("d/new"), root.join("d/new2")).unwrap();
            std::fs::write(root.join("d/kept"), b"more than before").unwrap();
            std::fs::remove_file(root.join("d/gone")).unwrap();
            std::fs::remove_dir_all(root.join("e")).unwrap();
            std::fs::remove_dir_all(root.join("f")).unwrap();
            std::fs::create_dir(root.join("f")).unwrap();
            std::fs::write(root.join("f/z"), b"z").unwrap();
            tree::read(&root)
        });
        let changes = snapshot.changes(&[], &Cancel::new()).unwrap();
        let list: Vec<_> =
            changes.iter().map(|change| format!("{} {}", change.happened.letter(), change.name)).collect();
        let wanted = ["C d", "D d/gone", "C d/kept", "A d/new", "A d/new2", "D e", "C f", "D f/y", "A f/z"];
        assert_eq!(list, wanted, "{method:?}");
        assert!(changes.iter().any(|change| change.happened == Happened::Added));
        // The layer on top of the image gives the same tree, but for the time of the root, which is in no layer.
        let mut layer = Vec::new();
        let diff_id = snapshot.write_layer(&[], &mut layer, &Cancel::new()).unwrap();
        assert_eq!(diff_id, orlop_images::Digest::of(&layer));
        let again = Place::new();
        let layout = Layout::make(&again.path().join("image"), &[base.clone(), layer]);
        let ours = unpack(&again, &layout.image(), &layout).copy();
        same(&ours, &after, began, "committed");
        assert_eq!(snapshot.read("l", 100).unwrap().unwrap(), b"more than before");
        assert_eq!(snapshot.read("d/gone", 100).unwrap(), None);
        unpacked.snapshots.remove("c").unwrap();
        assert_eq!(unpacked.snapshots.names().unwrap(), Vec::<String>::new());
    }
}

#[test]
fn what_broke_off_is_swept_and_what_nobody_needs_is_pruned() {
    if !support::is_root("what_broke_off_is_swept_and_what_nobody_needs_is_pruned") {
        return;
    }
    let place = Place::new();
    let layers = [Archive::new().file("a", b"a").bytes(), Archive::new().file("b", b"b").bytes()];
    let layout = Layout::make(&place.path().join("image"), &layers);
    let left = place.path().join("state/layers/unpacking/1-0");
    std::fs::create_dir_all(left.join("diff/x")).unwrap();
    let unpacked = unpack(&place, &layout.image(), &layout);
    assert!(!left.try_exists().unwrap());
    let snapshot = unpacked.snapshots.prepare("kept", &unpacked.stack, Method::Overlay, &Cancel::new()).unwrap();
    assert_eq!(unpacked.snapshots.prune(&[], &Cancel::new()).unwrap().layers, 0);
    drop(snapshot);
    unpacked.snapshots.remove("kept").unwrap();
    let pruned = unpacked.snapshots.prune(&[], &Cancel::new()).unwrap();
    assert_eq!((pruned.layers, pruned.bytes), (2, 2));
    assert_eq!(std::fs::read_dir(place.path().join("state/layers/l")).unwrap().count(), 0);
    assert!(unpacked.snapshots.layers().find(&layout.image()).unwrap().is_none());
}

/// Makes directories below `path`, each in the one before.
fn deep(path: &Path, depth: usize) {
    use rustix::fs::{Mode, OFlags, mkdirat, openat};
    std::fs::create_dir_all(path).unwrap();
    let mut here = std::os::fd::OwnedFd::from(std::fs::File::open(path).unwrap());
    for _ in 0..depth {
        mkdirat(&here, "d", Mode::RWXU).unwrap();
        here = openat(&here, "d", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
}

#[test]
fn trees_of_any_depth_are_removed() {
    if !support::is_root("trees_of_any_depth_are_removed") {
        return;
    }
    let place = Place::new();
    let layout = Layout::make(&place.path().join("image"), &[Archive::new().file("a", b"a").bytes()]);
    // More than there are open files, or room on the stack: a container may go as deep as it likes.
    let left = place.path().join("state/layers/unpacking/1-0");
    deep(&left.join("diff"), 30_000);
    std::fs::create_dir_all(left.join("diff/beside/e")).unwrap();
    let unpacked = unpack(&place, &layout.image(), &layout);
    assert!(!left.try_exists().unwrap());
    unpacked.snapshots.prepare("deep", &unpacked.stack, Method::Copy, &Cancel::new()).unwrap();
    let root = place.path().join("state/snapshots/deep");
    deep(&root.join("rootfs"), 30_000);
    let error = unpacked.snapshots.get("deep").unwrap().changes(&[], &Cancel::new()).unwrap_err();
    assert!(error.to_string().contains("directories more than 256 deep"), "{error}");
    unpacked.snapshots.remove("deep").unwrap();
    assert!(!root.try_exists().unwrap());
}

#[test]
fn what_a_killed_process_has_left_keeps_nobody_from_pruning() {
    if !support::is_root("what_a_killed_process_has_left_keeps_nobody_from_pruning") {
        return;
    }
    let place = Place::new();
    let layout = Layout::make(&place.path().join("image"), &[Archive::new().file("a", b"a").bytes()]);
    let unpacked = unpack(&place, &layout.image(), &layout);
    // One was killed before the record was written, of the other the machine's crash has left an empty one.
    let half = place.path().join("state/snapshots");
    std::fs::create_dir_all(half.join("half/upper")).unwrap();
    std::fs::create_dir_all(half.join("crashed")).unwrap();
    std::fs::write(half.join("crashed/snapshot.json"), b"").unwrap();
    assert_eq!(unpacked.snapshots.prune(&[], &Cancel::new()).unwrap().layers, 1);
}

#[test]
fn a_layer_may_link_to_more_lower_files_than_may_be_open() {
    if !support::is_root("a_layer_may_link_to_more_lower_files_than_may_be_open") {
        return;
    }
    let place = Place::new();
    let (mut lower, mut upper) = (Archive::new(), Archive::new());
    for number in 0..1200 {
        lower.file(&format!("a{number}"), b"");
        upper.link(&format!("b{number}"), Kind::HardLink(format!("a{number}").into_bytes()));
        upper.link(&format!("c{number}"), Kind::HardLink(format!("a{number}").into_bytes()));
    }
    Layout::make(&place.path().join("state/images"), &[lower.bytes(), upper.bytes()]);
    let script = "ulimit -n 1000; exec \"$0\" --root \"$1\" bundle -q latest \"$2\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_orlop-image")]).arg(place.path().join("state"));
    let output = command.arg(place.path().join("bundle")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let inode = |name: &str| {
        let layers = std::fs::read_dir(place.path().join("state/layers/sha256")).unwrap();
        let mut found = layers.map(|layer| layer.unwrap().path().join("diff").join(name));
        let found = found.find(|path| path.with_file_name("b7").try_exists().unwrap()).unwrap();
        std::os::unix::fs::MetadataExt::ino(&found.symlink_metadata().unwrap())
    };
    assert!(inode("a7") == inode("b7") && inode("b7") == inode("c7") && inode("a7") != inode("a8"));
}

/// The lines of a mountinfo file.
fn mounts(path: &str) -> usize {
    std::fs::read_to_string(path).unwrap().lines().count()
}

#[test]
fn fifty_layers_cost_the_host_no_mount() {
    if !support::is_root("fifty_layers_cost_the_host_no_mount") {
        return;
    }
    let place = Place::new();
    let layers: Vec<_> =
        (0..50).map(|n| Archive::new().directory("d").file(&format!("d/f{n}"), b"x").bytes()).collect();
    let layout = Layout::make(&place.path().join("image"), &layers);
    let unpacked = unpack(&place, &layout.image(), &layout);
    let prepare = |n: usize| {
        unpacked.snapshots.prepare(&format!("c{n}"), &unpacked.stack, Method::Overlay, &Cancel::new()).unwrap()
    };
    // Where nobody else mounts meanwhile.
    let snapshots: Vec<_> = in_own_mounts(|| {
        let before = mounts("/proc/thread-self/mountinfo");
        let snapshots = (0..100).map(prepare).collect();
        assert_eq!(mounts("/proc/thread-self/mountinfo"), before);
        snapshots
    });
    let config = snapshots[99].mount().unwrap();
    let options = config["options"].as_array().unwrap();
    assert_eq!(options.iter().filter(|option| option.as_str().unwrap().starts_with("lowerdir+=")).count(), 50);
    // Each option is one that fsconfig(2) takes.
    assert!(options.iter().all(|option| option.as_str().unwrap().len() < 256), "{options:?}");
    in_own_mounts(|| {
        let before = mounts("/proc/thread-self/mountinfo");
        snapshots[7].mount_here().unwrap();
        assert_eq!(mounts("/proc/thread-self/mountinfo"), before + 1);
        assert_eq!(std::fs::read_dir(snapshots[7].root().join("d")).unwrap().count(), 50);
    });
}

#[test]
fn four_processes_worth_of_threads_unpack_one_image() {
    if !support::is_root("four_processes_worth_of_threads_unpack_one_image") {
        return;
    }
    let place = Place::new();
    let layers: Vec<_> = (0..6).map(|n| Archive::new().file(&format!("f{n}"), &vec![n; 200_000]).bytes()).collect();
    let layout = Layout::make(&place.path().join("image"), &layers);
    let image = layout.image();
    let stacks: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| unpack(&place, &image, &layout).stack)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(stacks.iter().all(|stack| *stack == stacks[0]));
    assert_eq!(std::fs::read_dir(place.path().join("state/layers/unpacking")).unwrap().count(), 0);
}
