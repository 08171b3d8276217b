use std::path::Path;

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::run::*;
use super::*;
use crate::base::sys::pidfd;
use crate::base::{HostPid, Kind, Result, Status};
use crate::config::Hook;

struct Case<'a> {
    script: &'a str,
    timeout: Option<i64>,
    /// What the message contains; `None` for success.
    message: Option<&'a str>,
}

fn shell<'a>(script: &'a str, timeout: Option<i64>) -> Hook<'a> {
    Hook {
        path: "/bin/sh".into(),
        args: vec!["hook-name".into(), "-c".into(), script.into()],
        env: vec!["GIVEN=a=b".into()],
        timeout,
    }
}

fn run_in(hooks: &[Hook<'_>], annotations: &BTreeMap<String, String>) -> Result<()> {
    let state = HookState {
        oci_version: "1.3.0",
        id: "web",
        status: Status::Creating,
        pid: Some(77),
        bundle: "/b",
        annotations,
    };
    run(HookKind::CreateRuntime, hooks, &state, &InRuntime { cwd: Path::new("/usr"), open_files: None }, None)
}

#[test]
fn a_hook_gets_what_the_specification_promises_and_its_failure_is_told() {
    let cases = [
        Case { script: "exit 0", timeout: None, message: None },
        Case { script: "exit 3", timeout: None, message: Some("exit status 3, stdout: , stderr: ") },
        Case { script: "echo out; echo err >&2; exit 1", timeout: None, message: Some("stdout: out, stderr: err") },
        Case { script: "kill -9 $$", timeout: None, message: Some("killed by signal 9") },
        Case { script: "test \"$(pwd)\" = /usr", timeout: None, message: None },
        Case { script: "test \"$0\" = hook-name", timeout: None, message: None },
        Case { script: "test \"$GIVEN\" = a=b && test -z \"$HOME$CARGO\"", timeout: None, message: None },
        Case {
            script: r#"test "$(cat)" = '{"ociVersion":"1.3.0","id":"web","status":"creating","pid":77,"bundle":"/b","annotations":{"k":"v"}}'"#,
            timeout: Some(10),
            message: None,
        },
        Case {
            script: "echo early; sleep 100",
            timeout: Some(1),
            message: Some("ran past its timeout of 1 s and was killed, stdout: early"),
        },
        // A child that stays and holds the pipes does not hold up the runtime.
        Case { script: "sleep 100 & exit 0", timeout: Some(60), message: None },
        Case {
            script: "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done; echo last; exit 1",
            timeout: Some(60),
            message: Some("| last, stderr"),
        },
        Case { script: "exec 0<&-; exit 0", timeout: None, message: None },
        // Nothing blocked, and no signal but the C library's own two ignored, whatever the runtime does.
        Case { script: "grep -q 'SigBlk:.0000000000000000' /proc/self/status", timeout: None, message: None },
        Case { script: "grep -q 'SigIgn:.0000000[01][08]0000000' /proc/self/status", timeout: None, message: None },
    ];
    let annotations = [("k".to_owned(), "v".to_owned())].into();
    nix::sys::signal::SigSet::all().thread_block().unwrap();
    for case in &cases {
        let begin = Instant::now();
        let result = run_in(&[shell(case.script, case.timeout)], &annotations);
        assert!(begin.elapsed() < Duration::from_secs(20), "{}", case.script);
        match (case.message, result) {
            (None, result) => result.unwrap(),
            (Some(message), result) => {
                let error = result.unwrap_err();
                assert_eq!(error.kind(), Kind::Hook);
                assert!(error.to_string().contains(message), "{error}");
                assert!(error.to_string().starts_with(
                    "run hook /bin/sh (config /hooks/createRuntime/0): error running createRuntime hook #0: "
                ));
            }
        }
    }
}

#[test]
fn a_timeout_kills_what_the_hook_has_started() {
    let file = std::env::temp_dir().join(format!("orlop-hook-{}", std::process::id()));
    let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
    run_in(&[shell(&script, Some(1))], &BTreeMap::new()).unwrap_err();
    let pid: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    std::fs::remove_file(&file).unwrap();
    let gone = match pidfd::open(HostPid::new(pid).unwrap()) {
        Ok(process) => pidfd::wait_until(process.as_fd(), Instant::now() + Duration::from_secs(5)).unwrap(),
        Err(errno) => errno == Errno::ESRCH,
    };
    assert!(gone, "the hook's child {pid} still runs");
}

#[test]
fn the_first_failure_ends_run_but_not_run_all() {
    let file = std::env::temp_dir().join(format!("orlop-hooks-{}", std::process::id()));
    let path = file.display();
    let (first, second) = (format!("echo 1 >> {path}; exit 1"), format!("echo 2 >> {path}"));
    let hooks = [shell(&first, None), shell(&second, None)];
    run_in(&hooks, &BTreeMap::new()).unwrap_err();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "1\n");
    let annotations = BTreeMap::new();
    let state = HookState {
        oci_version: "1.3.0",
        id: "w",
        status: Status::Stopped,
        pid: None,
        bundle: "/",
        annotations: &annotations,
    };
    let failures = run_all(HookKind::Poststop, &hooks, &state, &InRuntime { cwd: Path::new("/"), open_files: None });
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "1\n1\n2\n");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(failures.len(), 1);
    assert_eq!(failures[0].field(), Some("/hooks/poststop/0"));
}

#[test]
fn a_hook_that_cannot_be_executed_says_why() {
    for (path, cause) in [("/no/such/hook", "no such file or directory"), ("/etc/passwd", "permission denied")] {
        let hook = Hook { path: path.into(), args: vec![], env: vec![], timeout: None };
        let error = run_in(&[hook], &BTreeMap::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("run hook {path} (config /hooks/createRuntime/0): error running createRuntime hook #0: {cause}")
        );
        assert_eq!(error.kind(), Kind::Hook);
    }
}

#[test]
fn annotations_send_output_to_files() {
    let file = std::env::temp_dir().join(format!("orlop-hook-out-{}", std::process::id()));
    let annotations = [("run.oci.hooks.stdout".to_owned(), file.display().to_string())].into();
    for _ in 0..2 {
        run_in(&[shell("echo said", None)], &annotations).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "said\nsaid\n");
    std::fs::remove_file(&file).unwrap();
    let annotations = [("run.oci.hooks.stderr".to_owned(), "/no/such/dir/file".to_owned())].into();
    let error = run_in(&[shell("exit 0", None)], &annotations).unwrap_err();
    assert!(
        error.to_string().contains("open /no/such/dir/file (annotation run.oci.hooks.stderr): no such file"),
        "{error}"
    );
}

#[test]
fn a_hook_that_its_caller_wants_no_more_is_killed_at_once() {
    let state = HookState {
        oci_version: "1.3.0",
        id: "web",
        status: Status::Creating,
        pid: None,
        bundle: "/b",
        annotations: &BTreeMap::new(),
    };
    let (cancel, wanted) = std::io::pipe().unwrap();
    drop(wanted);
    let (begun, place) = (Instant::now(), InRuntime { cwd: Path::new("/usr"), open_files: None });
    let hooks = [shell("sleep 100", None)];
    let error = run(HookKind::Prestart, &hooks, &state, &place, Some(cancel.as_fd())).unwrap_err();
    assert_eq!(error.kind(), Kind::Cancelled);
    assert!(error.to_string().ends_with("cancelled by the caller"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(20));
}
