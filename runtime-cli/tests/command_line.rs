//! The binary from outside: exit statuses, what goes to standard output, to standard error and to the log.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test may panic, and tells why it is skipped"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A directory of this test's own, gone when it ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("orlop-cli-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn orlop() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orlop"));
    command.stdin(Stdio::null()).env_remove("XDG_RUNTIME_DIR").env_remove("NOTIFY_SOCKET").env_remove("LISTEN_FDS");
    command
}

/// By another process: a descriptor that is open for writing here would be in the children of the other tests for a moment, and
/// the copy busy for that long.
fn copy_of_orlop(to: &Path) {
    assert!(Command::new("/bin/cp").arg(env!("CARGO_BIN_EXE_orlop")).arg(to).status().unwrap().success());
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Exit status, standard output, standard error.
fn run(words: &[&str]) -> (i32, String, String) {
    seen(orlop().args(words).output().unwrap())
}

fn seen(output: Output) -> (i32, String, String) {
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

const COMMANDS: &str = "create start run exec kill delete state list ps pause resume update events spec features try plan validate \
                        doctor gc checkpoint restore image completion man version";

#[test]
fn every_command_has_help_on_standard_output_and_exits_0() {
    for name in COMMANDS.split_whitespace() {
        for words in [vec![name, "--help"], vec![name, "-h"], vec!["help", name], vec!["--help", name]] {
            let (status, out, err) = run(&words);
            assert_eq!((status, err.as_str()), (0, ""), "{words:?}");
            assert!(out.starts_with(&format!("NAME:\n   orlop {name} - ")), "{words:?}: {out}");
            assert!(out.contains("\nEXAMPLES:\n"), "{words:?}");
        }
    }
    for words in [&["seccomp", "dump", "--help"], &["help", "seccomp", "explain"]] {
        assert_eq!(run(words).0, 0);
    }
    for words in [&[][..], &["help"], &["--help"], &["-h"]] {
        let (status, out, _) = run(words);
        assert!(status == 0 && out.contains("\nCOMMANDS:\n"), "{words:?}");
    }
}

#[test]
fn the_version_has_the_lines_that_engines_read() {
    for words in [["--version"], ["-v"], ["version"]] {
        let (status, out, _) = run(&words);
        assert_eq!(status, 0);
        assert!(out.starts_with("orlop version 0.") && out.contains("\nspec: 1.3.0\n"), "{out}");
    }
}

#[test]
fn failures_are_one_line_on_standard_error_with_the_right_status() {
    let scratch = Scratch::new("failures");
    let root = scratch.path("root");
    for (line, status, message) in [
        ("state x", 1, "orlop: error: state x: find container x: container does not exist\n"),
        ("start x", 1, "does not exist"),
        ("exec x ls", 255, "does not exist"),
        ("delete x", 1, "does not exist"),
        ("kill x 9", 1, "does not exist"),
        ("pause x", 1, "does not exist"),
        ("resume x", 1, "does not exist"),
        ("ps x", 1, "does not exist"),
        ("delete --force x", 0, ""),
        ("create --bundle /nonexistent x", 1, "no such file or directory"),
        ("run --bundle /nonexistent x", 1, "no such file or directory"),
        (
            "create",
            1,
            "orlop: error: create: \"create\" requires exactly 1 argument(s), got 0 (see orlop create --help)\n",
        ),
        ("exec x", 1, "what shall be executed?"),
        ("run --bundel /b x", 1, "did you mean --bundle?"),
        ("stat x", 1, "there is no such command, did you mean start?"),
        ("checkpoint x", 1, "container does not exist"),
        ("restore --no-pivot x", 1, "not supported"),
        ("list --format xml", 1, "not one of table, json"),
        ("run --console-socket /s x", 1, "--detach"),
    ] {
        let words: Vec<&str> = ["--root", root.to_str().unwrap()].into_iter().chain(line.split(' ')).collect();
        let (code, out, err) = run(&words);
        assert_eq!((code, out.as_str()), (status, ""), "{line}: {err}");
        assert!(err.contains(message), "{line}: {err}");
        assert_eq!(err.lines().count(), usize::from(status != 0), "{line}: {err}");
    }
}

#[test]
fn failures_reach_the_log_in_its_format() {
    let scratch = Scratch::new("log");
    let (root, log) = (scratch.path("root"), scratch.path("log"));
    let words = |format: &'static str| {
        let globals = ["--root", root.to_str().unwrap(), "--log", log.to_str().unwrap(), format];
        let (status, _, err) = run(&[&globals[..], &["state", "x"]].concat());
        assert_eq!((status, err.as_str()), (1, "orlop: error: state x: find container x: container does not exist\n"));
        let written = fs::read_to_string(&log).unwrap();
        fs::remove_file(&log).unwrap();
        written
    };
    let json: serde_json::Value = serde_json::from_str(&words("--log-format=json")).unwrap();
    assert_eq!(json["level"], "error");
    assert_eq!(json["msg"], "state x: find container x: container does not exist");
    let plain = words("--log-format=text");
    assert!(plain.ends_with("level=error msg=\"state x: find container x: container does not exist\"\n"), "{plain}");
}

#[test]
fn wrong_usage_is_logged_too() {
    let scratch = Scratch::new("usage");
    let log = scratch.path("log");
    let (status, _, _) = run(&["--log", log.to_str().unwrap(), "--log-format", "json", "create", "--nonsense", "x"]);
    assert_eq!(status, 1);
    assert!(fs::read_to_string(&log).unwrap().contains("unknown flag --nonsense"));
}

#[test]
fn a_log_that_cannot_be_opened_is_a_failure() {
    let (status, _, err) = run(&["--log", "/nonexistent/log", "list"]);
    assert!(status == 1 && err.contains("open log file /nonexistent/log: no such file or directory"), "{err}");
    let (status, _, err) = run(&["--log-format", "xml", "list"]);
    assert!(status == 1 && err.contains("invalid log-format: xml"), "{err}");
}

#[test]
fn closed_standard_streams_are_no_harm() {
    let script = format!("{} version <&- >&- 2>&-; echo $?", env!("CARGO_BIN_EXE_orlop"));
    let (_, out, _) = seen(Command::new("sh").args(["-c", &script]).output().unwrap());
    assert_eq!(out, "0\n");
}

#[test]
fn a_reader_that_goes_away_ends_the_program_with_a_failure_and_no_signal() {
    let script = format!("{{ {} help; echo $? >&2; }} | true", env!("CARGO_BIN_EXE_orlop"));
    let (_, _, err) = seen(Command::new("sh").args(["-c", &script]).output().unwrap());
    // The pipe may still take the text before `true` ends.
    assert!(err == "0\n" || err.ends_with("broken pipe\n1\n"), "{err}");
}

#[test]
fn manual_pages_are_written_for_every_command() {
    let scratch = Scratch::new("man");
    let (status, _, err) = run(&["man", scratch.0.to_str().unwrap()]);
    assert_eq!((status, err.as_str()), (0, ""));
    for name in COMMANDS.split_whitespace() {
        let page = fs::read_to_string(scratch.path(&format!("orlop-{name}.8"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS\n.B orlop ") && page.contains(".SH EXAMPLES\n"), "{name}");
    }
}

/// What bash offers when `line` is completed at its end.
fn completed(script: &Path, root: &Path, line: &str) -> String {
    let words: Vec<String> = line.split(' ').map(|word| format!("'{word}'")).collect();
    let dir = Path::new(env!("CARGO_BIN_EXE_orlop")).parent().unwrap();
    let program = format!(
        "cd {}; PATH={}:$PATH; source {}; COMP_WORDS=({}); COMP_CWORD={}; _orlop; printf '%s ' \"${{COMPREPLY[@]}}\"",
        root.display(),
        dir.display(),
        script.display(),
        words.join(" "),
        words.len() - 1
    );
    let (_, out, err) = seen(Command::new("bash").args(["--norc", "-c", &program]).output().unwrap());
    assert_eq!(err, "", "{line}");
    out.trim().to_owned()
}

#[test]
fn bash_completes_commands_flags_values_and_files() {
    let scratch = Scratch::new("bash");
    let script = scratch.path("orlop.bash");
    fs::write(&script, run(&["completion", "bash"]).1).unwrap();
    fs::create_dir(scratch.path("bundle")).unwrap();
    for (line, offered) in [
        ("orlop sta", "start state"),
        ("orlop --root /r del", "delete"),
        ("orlop delete --", "--force --regex --help"),
        ("orlop list --format ", "table json"),
        ("orlop list -f j", "json"),
        ("orlop --log-format ", "text json"),
        ("orlop seccomp ", "dump explain"),
        ("orlop seccomp dump --f", "--format"),
        ("orlop completion z", "zsh"),
        ("orlop run -b bun", "bundle"),
    ] {
        assert_eq!(completed(&script, &scratch.0, line), offered, "{line}");
    }
}

#[test]
fn what_may_be_a_secret_is_not_repeated() {
    let scratch = Scratch::new("secret");
    let (root, bundle) = (scratch.path("root"), scratch.path("bundle"));
    let log = scratch.path("log");
    let spoken = |words: &[&str]| {
        let globals = ["--root", root.to_str().unwrap(), "--log", log.to_str().unwrap(), "--debug"];
        let (status, out, err) = run(&[&globals[..], words].concat());
        assert_ne!(status, 0, "{words:?}");
        format!("{out}{err}{}", fs::read_to_string(&log).unwrap())
    };
    for (place, value) in [
        ("/process/env", serde_json::json!(["PATH=/bin", "hunter2"])),
        ("/process/env", serde_json::json!(["=hunter2"])),
        ("/process/env", serde_json::json!("KEY=hunter2")),
        ("/process/args", serde_json::json!("sh -c hunter2")),
        ("/process/args", serde_json::json!(["sh", "hunter2\0"])),
        ("/annotations", serde_json::json!({ "org.criu.config": "hunter2" })),
        ("/annotations", serde_json::json!({ "any": ["hunter2"] })),
        ("/hooks", serde_json::json!({ "poststop": [{ "path": "/bin/true", "env": ["hunter2"] }] })),
        ("/linux/sysctl", serde_json::json!({ "kernel.none.such": "hunter2" })),
        ("/linux/sysctl", serde_json::json!({ "net.ipv4.ip_forward": ["hunter2"] })),
    ] {
        fs::create_dir_all(bundle.join("rootfs")).unwrap();
        assert!(orlop().arg("spec").arg("-b").arg(&bundle).status().unwrap().success());
        let path = bundle.join("config.json");
        let mut config: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        config["process"]["terminal"] = false.into();
        let (parent, name) = place.rsplit_once('/').unwrap();
        config.pointer_mut(parent).unwrap()[name] = value;
        fs::write(&path, config.to_string()).unwrap();
        for verb in ["create", "validate"] {
            let words: &[&str] = if verb == "create" {
                &[verb, "x", "-b", bundle.to_str().unwrap()]
            } else {
                &[verb, bundle.to_str().unwrap()]
            };
            let text = spoken(words);
            assert!(!text.contains("hunter2") && text.contains(place), "{verb}: {text}");
        }
        fs::remove_dir_all(&bundle).unwrap();
    }
    for words in [&["exec", "--enw=hunter2", "x", "sh"][..], &["exec", "--env", "hunter2", "x", "sh"]] {
        assert!(!spoken(words).contains("hunter2"), "{words:?}");
    }
}

#[test]
fn validate_judges_the_config_and_only_strictly_the_caller() {
    let scratch = Scratch::new("judged");
    let (bundle, binary) = (scratch.path("bundle"), scratch.path("orlop"));
    fs::create_dir_all(bundle.join("rootfs")).unwrap();
    assert!(orlop().arg("spec").arg("-b").arg(&bundle).status().unwrap().success());
    // Where an ordinary user may read and execute.
    copy_of_orlop(&binary);
    for path in [scratch.path(""), bundle.clone(), bundle.join("rootfs")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(bundle.join("config.json"), fs::Permissions::from_mode(0o644)).unwrap();
    let as_user = |flags: &[&str]| {
        let mut command = Command::new(&binary);
        command.stdin(Stdio::null()).env_remove("XDG_RUNTIME_DIR").arg("validate").args(flags).arg(&bundle);
        if nix::unistd::geteuid().is_root() {
            command.uid(61777).gid(61777);
        }
        seen(command.output().unwrap())
    };
    let (status, out, err) = as_user(&[]);
    assert_eq!((status, out.as_str()), (0, ""), "{err}");
    let (status, out, err) = as_user(&["--strict"]);
    assert!(status != 0 && out.contains("/linux/namespaces") && out.contains("call as root"), "{out}{err}");
}

#[test]
fn warnings_come_before_the_error_when_the_command_fails() {
    let scratch = Scratch::new("warned");
    let (root, bundle) = (scratch.path("root"), scratch.path("bundle"));
    fs::create_dir_all(bundle.join("rootfs")).unwrap();
    assert!(orlop().arg("spec").arg("-b").arg(&bundle).status().unwrap().success());
    let path = bundle.join("config.json");
    let mut config: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    config["nonsense"] = 1.into();
    config["process"]["terminal"] = false.into();
    config["process"]["capabilities"]["bounding"] = serde_json::json!(["CAP_NONE_SUCH"]);
    for (place, value) in
        [("args", serde_json::json!([])), ("args", serde_json::json!(["/nonexistent"])), ("cwd", "x".into())]
    {
        let mut config = config.clone();
        config["process"][place] = value;
        fs::write(&path, config.to_string()).unwrap();
        let (status, _, err) = run(&["--root", root.to_str().unwrap(), "create", "-b", bundle.to_str().unwrap(), "x"]);
        let lines: Vec<&str> = err.lines().collect();
        assert!(status == 1 && lines.len() == 3, "{err}");
        assert!(lines[0].starts_with("orlop: warning: ") && lines[0].contains("/nonsense"), "{err}");
        assert!(lines[1].starts_with("orlop: warning: ") && lines[1].contains("CAP_NONE_SUCH"), "{err}");
        assert!(lines[2].starts_with("orlop: error: create x: "), "{err}");
    }
}

#[test]
#[cfg(not(feature = "criu"))]
fn without_the_feature_checkpoint_and_restore_are_refused_by_name() {
    for line in [["checkpoint", "--leave-running", "x"], ["restore", "--detach", "x"], ["help", "restore", ""]] {
        let (code, _, errors) = run(&line);
        assert_eq!(code, 1, "{line:?}");
        assert!(errors.contains("built without the feature criu"), "{line:?}: {errors}");
    }
    let (_, help, _) = run(&["--help"]);
    assert!(help.contains("  exec ") && !help.contains("checkpoint"), "{help}");
}

/// A shell script in the place of `orlop-image`.
fn stand_in(dir: &Path, name: &str) {
    fs::create_dir_all(dir).unwrap();
    let path = dir.join("orlop-image");
    fs::write(&path, format!("#!/bin/sh\necho {name} \"$@\"\nexit 7\n")).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

#[test]
fn images_are_the_matter_of_a_program_beside_this_one_or_in_path() {
    let scratch = Scratch::new("image");
    let (program, elsewhere) = (scratch.path("bin/orlop"), scratch.path("path"));
    stand_in(&scratch.path("bin"), "beside");
    stand_in(&elsewhere, "in-path");
    copy_of_orlop(&program);
    let call = |words: &[&str]| {
        let mut command = Command::new(&program);
        seen(
            command
                .args(words)
                .stdin(Stdio::null())
                .env("PATH", format!("{}:/bin", elsewhere.display()))
                .output()
                .unwrap(),
        )
    };
    // Every word after the command belongs to the other program, flags too.
    let line = ["image", "run", "--rm", "-p", "80:80", "--", "web", "--help"];
    assert_eq!(call(&line), (7, "beside run --rm -p 80:80 -- web --help\n".to_owned(), String::new()));
    for flag in
        [&["--root", "/x"][..], &["--systemd-cgroup"], &["--cgroup-manager", "cgroupfs"], &["--rootless", "auto"]]
    {
        let (status, _, err) = call(&[flag, &["image", "list"]].concat());
        assert!(status == 1 && err.contains(&format!("{} before image has no effect", flag[0])), "{err}");
    }
    fs::remove_file(scratch.path("bin/orlop-image")).unwrap();
    assert_eq!(call(&["image", "list"]), (7, "in-path list\n".to_owned(), String::new()));
    fs::remove_file(elsewhere.join("orlop-image")).unwrap();
    let (status, out, err) = call(&["image", "list"]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(
        err.contains("no orlop-image beside orlop or in PATH") && err.contains("cargo build -p orlop-images"),
        "{err}"
    );
}
