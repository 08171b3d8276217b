//! Each verb is disturbed at points spread over its system calls: the runtime is killed, its children, the container's first process;
//! its calls fail. It must neither hang nor leave anything that `delete --force` does not take away.
//!
//! `ORLOP_CRASH_POINTS` sets the number of points of each verb (default 12; `all` for every system call, with every errno).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod at_once;
mod disturbed;

use orlop_integration::everywhere::nothing_left;
use orlop_integration::tracer::{Act, Point, Whose};
use orlop_integration::{Case, Sandbox, cases, leak};

const CASES: &[Case] = cases![
    the_tracer_changes_nothing,
    few_descriptors_are_an_error_and_leave_nothing.not_runc("its Go runtime needs more").not_crun("leaves its cgroup"),
    killed_hook_or_init_is_reported.seconds(60),
];

fn main() -> std::process::ExitCode {
    let groups = [("crash", CASES), ("disturbed", disturbed::CASES), ("at_once", at_once::CASES)];
    orlop_integration::run("crash", &groups)
}

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
