//! Each verb is disturbed at points spread over its system calls: the runtime is killed, its children, the container's first process;
//! its calls fail. It must neither hang nor leave anything that `delete --force` does not take away.
//!
//! `ORLOP_CRASH_POINTS` sets the number of points of each verb (default 12; `all` for every system call, with every errno).

mod at_once;
mod disturbed;

use orlop_integration::everywhere::nothing_left;
use orlop_integration::tracer::{Act, Point, Whose};
use orlop_integration::{Sandbox, case, leak};

fn main() -> std::process::ExitCode {
    orlop_integration::run()
}

#[case]
fn the_tracer_changes_nothing(t: &Sandbox) {
    let c = t.container("a");
    c.sh("echo out; exit 5");
    let (out, trace) = c.run_cmd(&[]).trace(Point::watch(Whose::Own));
    assert_eq!((out.code, out.stdout.as_str()), (5, "out\n"));
    assert!(trace.calls > 20, "{trace:?}");
    let (out, all) = c.run_cmd(&[]).trace(Point::watch(Whose::All));
    assert_eq!((out.code, out.stdout.as_str()), (5, "out\n"));
    assert!(all.calls > trace.calls, "{all:?}");
    let (out, children) = c.run_cmd(&[]).trace(Point::watch(Whose::Children));
    assert_eq!((out.code, out.stdout.as_str()), (5, "out\n"));
    assert!(children.calls > 0 && children.calls < all.calls, "{children:?}");
    let (out, _) = c.create_cmd(&[]).trace(Point::watch(Whose::All));
    assert_eq!(out.code, 0, "{}", out.stderr);
    c.start().ok();
    c.delete_force().ok();
    let (out, trace) = c.run_cmd(&[]).trace(Point { at: 30, act: Act::Kill, whose: Whose::Own });
    assert_eq!(out.code, 1009, "{trace:?}");
    leak::clean(&t.tag);
    let _ = c.delete_force();
    let _ = std::fs::remove_dir_all(t.root.join(&c.id));
}

#[case(not_runc("its Go runtime needs more"), not_crun("leaves its cgroup"))]
fn few_descriptors_are_an_error_and_leave_nothing(t: &Sandbox) {
    let mut codes = Vec::new();
    for count in 8..64 {
        let c = t.container(&format!("c{count}"));
        c.args(&["/probe", "pause"]);
        let out = c.create_cmd(&[]).descriptors(u64::try_from(count).unwrap()).run();
        let what = format!("a create with {count} descriptors");
        codes.push(out.code);
        if out.code == 0 {
            orlop_integration::everywhere::deleted(&c, &what);
        } else {
            assert!(out.stderr.contains("too many open files"), "{what}: {}", out.stderr);
            nothing_left(t, &what);
            std::fs::remove_dir_all(&c.bundle).expect("the bundle goes");
        }
    }
    assert!(codes.first() != Some(&0) && codes.last() == Some(&0), "{codes:?}");
}

/// From no room at all to 64 KiB, in pages: an error that names the cause, or success; never a SIGBUS from memory that has no room.
#[case(not_runc("dies of a signal"), not_crun("leaves its cgroup"), seconds(300))]
fn a_state_directory_of_any_size_is_enough_or_too_small(t: &Sandbox) {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    const PAGE: u64 = 4096;
    std::fs::create_dir_all(&t.root).unwrap();
    let mut outcomes = Vec::new();
    for pages in 0..=16u64 {
        let data = "size=1m,mode=711";
        mount(Some("state"), &t.root, Some("tmpfs"), MsFlags::empty(), Some(data)).unwrap();
        let filler = std::fs::File::create(t.root.join("filler")).unwrap();
        nix::fcntl::posix_fallocate(&filler, 0, i64::try_from((1 << 20) - pages * PAGE).unwrap()).unwrap();
        for (n, detached) in [false, true].into_iter().enumerate() {
            let c = t.container(&format!("c{pages}-{n}"));
            c.args(&["/probe", "pause"]);
            let out = if detached { c.run_detached() } else { c.create() };
            let what = format!("{} with {pages} free pages: {}", out.text, out.stderr);
            assert!(out.code < 1000, "a signal: {what}");
            assert!(out.code == 0 || out.stderr.contains("no space left on device"), "{what}");
            if out.code == 0 && !detached {
                let start = c.start();
                assert!(start.code < 1000, "a signal: start with {pages} free pages: {}", start.stderr);
            }
            outcomes.push(out.code == 0);
            orlop_integration::everywhere::deleted(&c, &what);
        }
        drop(filler);
        umount2(&t.root, MntFlags::MNT_DETACH).unwrap();
    }
    assert!(outcomes.first() == Some(&false) && outcomes.last() == Some(&true), "{outcomes:?}");
}

#[case(seconds(60))]
fn killed_hook_or_init_is_reported(t: &Sandbox) {
    let c = t.container("hook");
    let path = t.dir.join("hook.sh");
    std::fs::write(&path, "#!/bin/sh\nkill -KILL $$\n").unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    c.set("/hooks", serde_json::json!({"createRuntime": [{"path": path.display().to_string()}]}));
    c.create().fails();
    nothing_left(t, "a killed hook");
    // A prestart hook that kills the container's first process.
    let c = t.container("init");
    let script = "#!/bin/sh\npid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); kill -KILL $pid\n";
    std::fs::write(&path, script).unwrap();
    c.set("/hooks", serde_json::json!({"createRuntime": [{"path": path.display().to_string()}]}));
    c.create().fails();
    let _ = c.delete_force();
    nothing_left(t, "a killed init");
}
