//! Wrong configs, bundles, identifiers and options, end to end: exit code 1, one line on standard error, the same in the JSON log, and
//! nothing left behind.

mod caller;
mod mutations;
mod state;

use std::fs;
use std::os::unix::fs::symlink;

use orlop_integration::{Container, Flavor, Output, Sandbox, case, leak};
use serde_json::{Value, json};

fn main() -> std::process::ExitCode {
    orlop_integration::run()
}

/// What every failure must look like.
#[track_caller]
fn failed_well(t: &Sandbox, out: &Output, what: &str) {
    assert!(out.code != 0 && out.code < 1000, "{what}: exit code {}: {}", out.code, out.stderr);
    assert!(!out.stderr.trim().is_empty(), "{what}: nothing on standard error");
    assert!(!out.stderr.contains("panicked at"), "{what}: {}", out.stderr);
    if t.is(Flavor::Orlop) {
        assert_eq!(out.code, 1, "{what}: {}", out.stderr);
        assert_eq!(out.stderr.lines().count(), 1, "{what}: {}", out.stderr);
        let logged = out.logged_error().unwrap_or_else(|| panic!("{what}: nothing in the log"));
        assert!(out.stderr.trim_end().ends_with(logged), "{what}: stderr {:?} and log {logged:?} differ", out.stderr);
    }
}

#[track_caller]
fn nothing_left(t: &Sandbox, what: &str) {
    let left = leak::find(&t.tag, std::slice::from_ref(&t.root));
    assert!(left.is_empty(), "{what} left {left:#?}");
}

fn apply(config: &mut Value, operation: &Value) {
    let path = operation["path"].as_str().unwrap();
    match operation["op"].as_str().unwrap() {
        "add" => orlop_integration::spec::set(config, path, operation["value"].clone()),
        "remove" => orlop_integration::spec::remove(config, path),
        other => panic!("unknown operation {other}"),
    }
}

/// The table that the config model's own tests use, through the program.
#[case(extension, seconds(300))]
fn wrong_configs_with_their_exact_messages(t: &Sandbox) {
    // Carried in the program, which may run on another root than the one it was built on (a guest).
    let table = include_bytes!("../../../runtime-core/tests/data/bad-configs.json");
    let table: Vec<Value> = serde_json::from_slice(table).unwrap();
    let c = t.container("a");
    let default = t.dir.join("default");
    fs::create_dir(&default).unwrap();
    t.bare(&["spec"]).dir(&default).run().ok();
    let base: Value = serde_json::from_slice(&fs::read(default.join("config.json")).unwrap()).unwrap();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for entry in table.iter().filter(|entry| entry["rootless"] != true) {
        count += 1;
        let name = entry["name"].as_str().unwrap();
        let text = entry["text"].as_str().map_or_else(
            || {
                let mut config = base.clone();
                let patch = entry["patch"].as_array().unwrap();
                if !patch.iter().any(|operation| operation["path"].as_str().unwrap().starts_with("/process/terminal")) {
                    // So that the lack of a console socket is not what is complained about.
                    orlop_integration::spec::set(&mut config, "/process/terminal", json!(false));
                }
                entry["patch"].as_array().unwrap().iter().for_each(|operation| apply(&mut config, operation));
                config.to_string()
            },
            str::to_owned,
        );
        fs::write(c.bundle.join("config.json"), text).unwrap();
        let out = t.logged(&["create", "--bundle", &c.bundle.display().to_string(), &c.id]).run();
        failed_well(t, &out, name);
        let message = entry["message"].as_str().unwrap();
        // The core's own tests load from memory; here the file's name stands in the message too.
        let said = out.stderr.replace(&format!(" {}/config.json", c.bundle.display()), "");
        if !said.contains(message) {
            wrong.push(format!("{name}\n  expected {message}\n  found    {}", out.stderr.trim_end()));
        }
    }
    assert!(count >= 60, "only {count} entries");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    nothing_left(t, "wrong configs");
}

/// (pointer, value) pairs that break the default config for every runtime.
fn wrong_values() -> Vec<(&'static str, Value)> {
    vec![
        ("/ociVersion", json!(5)),
        ("/process", json!("a text")),
        ("/process/args", json!("not a list")),
        ("/process/args", json!([1, 2])),
        ("/process/args", json!([])),
        ("/process/env", json!({"A": "1"})),
        ("/process/cwd", json!(5)),
        ("/process/cwd", json!("relative")),
        ("/process/user", json!("root")),
        ("/process/user/uid", json!("zero")),
        ("/process/user/uid", json!(-1)),
        ("/process/user/gid", json!(4_294_967_296_u64)),
        ("/process/user/additionalGids", json!(["x"])),
        ("/process/terminal", json!("yes")),
        ("/process/noNewPrivileges", json!("no")),
        ("/process/capabilities", json!(["CAP_KILL"])),
        ("/process/rlimits", json!([{"type": "RLIMIT_TEAPOT", "soft": 1, "hard": 1}])),
        ("/process/rlimits/0/soft", json!("many")),
        ("/process/oomScoreAdj", json!("high")),
        ("/root", json!("rootfs")),
        ("/root/path", json!(5)),
        ("/root/path", json!("/no/such/root")),
        ("/hostname", json!(7)),
        ("/mounts", json!({})),
        ("/mounts/0/destination", json!(5)),
        ("/mounts/0/options", json!("ro")),
        ("/mounts/0/type", json!("no-such-fs")),
        ("/hooks", json!([])),
        ("/hooks", json!({"createRuntime": [{"path": 5}]})),
        ("/linux", json!([])),
        ("/linux/namespaces", json!([{"type": "teapot"}])),
        ("/linux/namespaces", json!("all")),
        ("/linux/resources", json!([])),
        ("/linux/resources/memory", json!({"limit": "much"})),
        ("/linux/resources/pids", json!({"limit": "few"})),
        ("/linux/resources/cpu", json!({"cpus": "99999"})),
        ("/linux/resources/devices", json!("none")),
        ("/linux/devices", json!([{"path": "/dev/x", "type": "q", "major": 1, "minor": 1}])),
        ("/linux/sysctl", json!({"kernel.no_such_sysctl": "1"})),
        ("/linux/sysctl", json!(["net.ipv4.ip_forward"])),
        ("/linux/rootfsPropagation", json!("sideways")),
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_TEAPOT"})),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": "read", "action": "SCMP_ACT_ERRNO"}]}),
        ),
        ("/linux/maskedPaths", json!("all")),
        ("/linux/uidMappings", json!([{"containerID": "x"}])),
    ]
}

#[case(not_crun("accepts several"))]
fn wrong_configs_that_everybody_refuses(t: &Sandbox) {
    for (n, (pointer, value)) in wrong_values().into_iter().enumerate() {
        let c = t.container(&format!("c{n}"));
        let what = format!("{pointer} = {value}");
        let out = c.set(pointer, value).create();
        failed_well(t, &out, &what);
        if t.is(Flavor::Orlop) && pointer != "/root/path" && !out.stderr.contains(pointer) {
            // An error may be about a part or the whole of what was set.
            let whole = pointer.rsplit_once('/').unwrap().0;
            assert!(out.stderr.contains("config /") || whole.is_empty(), "{what}: names no field: {}", out.stderr);
        }
        c.simple("state", &[], &[]).fails();
        fs::remove_dir_all(&c.bundle).unwrap();
    }
    nothing_left(t, "wrong configs");
}

#[case]
fn host_facts_that_do_not_fit(t: &Sandbox) {
    type Change = fn(&Container<'_>);
    let table: &[(&str, Change)] = &[
        ("a missing bind source", |c| drop(c.mount("bind", "/no/such/thing", "/data", &["bind"]).bundle.clone())),
        ("a bad tmpfs option", |c| drop(c.mount("tmpfs", "tmpfs", "/data", &["no-such-option=1"]).bundle.clone())),
        ("a missing namespace", |c| drop(c.join("network", "/no/such/ns").bundle.clone())),
        ("a namespace of another kind", |c| drop(c.join("ipc", "/proc/self/ns/net").bundle.clone())),
        ("a missing command", |c| drop(c.args(&["/no/such/command"]).bundle.clone())),
        ("a command that is no program", |c| drop(c.args(&["/etc/passwd"]).bundle.clone())),
        ("a working directory that is a file", |c| drop(c.set("/process/cwd", json!("/etc/passwd")).bundle.clone())),
        ("a missing hook", |c| drop(c.set("/hooks", json!({"createRuntime": [{"path": "/no/hook"}]})).bundle.clone())),
        ("an id outside of the mapping", |c| {
            c.map_users(100_000, 10).set("/process/user", json!({"uid": 1000, "gid": 0}));
        }),
        ("a cgroup value that the kernel refuses", |c| {
            c.set("/linux/resources/cpu", json!({"quota": 1, "period": 1}));
        }),
        ("a memory node that is not there", |c| {
            c.set("/linux/resources/cpu", json!({"mems": "77"}));
        }),
    ];
    for (n, (what, change)) in table.iter().enumerate() {
        for verb in ["create", "run", "detached"] {
            let c = t.container(&format!("c{n}-{verb}"));
            change(&c);
            let out = match verb {
                "create" => c.create(),
                "run" => c.run(),
                _ => c.run_detached(),
            };
            failed_well(t, &out, what);
            nothing_left(t, what);
            fs::remove_dir_all(&c.bundle).unwrap();
        }
    }
}

#[case]
fn bundles(t: &Sandbox) {
    let c = t.container("a");
    c.write();
    let id = t.id("x");
    let empty = t.dir.join("empty");
    fs::create_dir(&empty).unwrap();
    let file = t.dir.join("file");
    fs::write(&file, "").unwrap();
    let loops = t.dir.join("loop");
    symlink("loop", &loops).unwrap();
    for bundle in
        [empty.display().to_string(), file.display().to_string(), loops.display().to_string(), "/no/such".into()]
    {
        let out = t.logged(&["create", "--bundle", &bundle, &id]).run();
        failed_well(t, &out, &bundle);
    }
    let config = c.bundle.join("config.json");
    for text in ["", "{", "null", "[]", "\"text\"", "{}", "\u{feff}{}", "{\"ociVersion\":\"1.0.2\"}"] {
        fs::write(&config, text).unwrap();
        let out = t.logged(&["create", "--bundle", &c.bundle.display().to_string(), &id]).run();
        // runc and crun report a config without process only when there is nothing to run.
        failed_well(t, &out, text);
    }
    fs::write(&config, [0xff_u8, 0xfe, 0x00]).unwrap();
    failed_well(
        t,
        &t.logged(&["create", "--bundle", &c.bundle.display().to_string(), &id]).run(),
        "bytes that are no text",
    );
    fs::remove_file(&config).unwrap();
    fs::create_dir(&config).unwrap();
    failed_well(
        t,
        &t.logged(&["create", "--bundle", &c.bundle.display().to_string(), &id]).run(),
        "a directory as config",
    );
    nothing_left(t, "bad bundles");
}

#[case]
fn identifiers(t: &Sandbox) {
    let c = t.container("a");
    c.write();
    let bundle = c.bundle.display().to_string();
    let long = "x".repeat(1100);
    for id in [
        "",
        ".",
        "..",
        "a/b",
        "../x",
        "/abs",
        "with space",
        "new\nline",
        "ünicode",
        "semi;colon",
        "null?",
        long.as_str(),
    ] {
        let out = t.logged(&["create", "--bundle", &bundle, id]).run();
        if id == "." && t.is(Flavor::Runc) {
            continue;
        }
        if t.is(Flavor::Crun) && out.code == 0 {
            // Accepts what it can name a directory after.
            let _ = t.logged(&["delete", "--force", id]).run();
            leak::clean(&t.tag);
            continue;
        }
        failed_well(t, &out, &format!("id {id:?}"));
        for verb in ["state", "start", "kill", "delete", "exec"] {
            let words: &[&str] = if verb == "exec" { &[verb, id, "true"] } else { &[verb, id] };
            let out = t.logged(words).run();
            assert!(out.code != 0 && out.code < 1000, "{verb} {id:?}: {}", out.code);
        }
    }
    nothing_left(t, "bad ids");
    assert!(!t.dir.join("x").is_dir());
}

#[case]
fn an_id_that_exists(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    let out = c.create();
    failed_well(t, &out, "an id that exists");
    assert_eq!(c.status(), "running");
    c.end();
}

#[case]
fn options_of_every_verb(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    let table: &[&[&str]] = &[
        &["run", "--no-such-flag", "x"],
        &["create", "--bundle"],
        &["create", "--preserve-fds", "many", "x"],
        &["create", "--preserve-fds", "-1", "x"],
        &["kill", &c.id, "NOSIGNAL"],
        &["kill", &c.id, "1000"],
        &["exec", "--user", "nobody:nogroup", &c.id, "true"],
        &["exec", "--cwd", "relative", &c.id, "true"],
        &["exec", "--cap", "CAP_TEAPOT", &c.id, "true"],
        &["exec", "--process", "/no/such/file", &c.id],
        &["exec", "--process", "/etc/passwd", &c.id],
        &["list", "--format", "yaml"],
        &["ps", "--format", "yaml", &c.id],
        &["update", "--memory", "much", &c.id],
        &["update", "--resources", "/no/such/file", &c.id],
        &["update", "--cpu-period", "1", &c.id],
        &["state", "one", "two"],
        &["state"],
        &["spec", "--bundle", "/no/such/directory"],
    ];
    for words in table {
        let out = t.logged(words).run();
        let peers_accept = ["CAP_TEAPOT", "relative", "yaml", "two", "NOSIGNAL", "-1", "much"];
        if !t.is(Flavor::Orlop) && words.iter().any(|word| peers_accept.contains(word)) {
            continue;
        }
        if t.is(Flavor::Crun) && out.code == 0 {
            continue;
        }
        assert!(out.code != 0 && out.code < 1000, "{words:?} gave {}: {}", out.code, out.stdout);
        assert!(!out.stderr.trim().is_empty(), "{words:?} says nothing");
        assert!(!out.stderr.contains("panicked at"), "{words:?}: {}", out.stderr);
    }
    assert_eq!(c.status(), "running");
    c.end();
}

#[case]
fn process_files(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    let path = t.dir.join("process.json");
    for text in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"args": "x"}"#,
        r#"{"args": ["/bin/true"], "cwd": 5}"#,
        r#"{"args": ["/bin/true"], "cwd": "/", "user": {"uid": "zero"}}"#,
        r#"{"args": [], "cwd": "/"}"#,
    ] {
        fs::write(&path, text).unwrap();
        let out = t.logged(&["exec", "--process", &path.display().to_string(), &c.id]).run();
        if t.is(Flavor::Crun) && out.code == 0 {
            continue;
        }
        assert!(out.code != 0 && out.code < 1000, "{text}: {}", out.code);
        assert!(!out.stderr.is_empty(), "{text}");
    }
    c.end();
}

#[case]
fn resources_files(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    let path = t.dir.join("resources.json");
    for text in ["", "{", "[]", r#"{"memory": {"limit": "x"}}"#, r#"{"pids": 5}"#, r#"{"cpu": {"cpus": "9999"}}"#] {
        fs::write(&path, text).unwrap();
        let out = c.simple("update", &["--resources", &path.display().to_string()], &[]);
        if t.is(Flavor::Crun) && out.code == 0 {
            continue;
        }
        failed_well(t, &out, text);
    }
    c.end();
}

/// Damage to the state on disk must lead to errors, and `delete --force` must still take the container away.
#[case(not_crun("not compared"))]
fn state_files_that_are_damaged(t: &Sandbox) {
    for (n, text) in ["", "{", "null", "[]", "{\"id\": 5}"].iter().enumerate() {
        let c = t.container(&format!("c{n}"));
        let pid = c.run_paused();
        let dir = t.root.join(&c.id);
        for entry in fs::read_dir(&dir).unwrap().flatten() {
            if entry.file_name() == "state.json" {
                fs::write(entry.path(), text).unwrap();
            }
        }
        let out = c.simple("state", &[], &[]);
        assert!(out.code < 1000 && !out.stderr.contains("panicked"), "{out:?}");
        let out = t.logged(&["list"]).run();
        assert!(out.code < 1000 && !out.stderr.contains("panicked"), "{out:?}");
        let out = c.delete_force();
        if t.is(Flavor::Orlop) {
            assert_eq!(out.code, 0, "{}", out.stderr);
            assert!(!dir.is_dir(), "state stays");
            assert!(!orlop_integration::process::is_alive(pid), "the container's process stays");
            nothing_left(t, "damaged state");
        } else {
            leak::clean(&t.tag);
            let _ = fs::remove_dir_all(&dir);
        }
    }
}

/// What `create` leaves for `start` to read is refused by name when it is damaged or of another version, and read as nothing else.
#[case(extension)]
fn the_file_for_start_that_is_damaged(t: &Sandbox) {
    type Damage = fn(&mut Vec<u8>);
    let damage: [(&str, Damage); 7] = [
        ("it has 0 bytes", Vec::clear),
        ("it has 100 bytes", |bytes| bytes.truncate(100)),
        ("it does not begin as such a file does", |bytes| bytes.fill(0)),
        ("another version of orlop wrote it: its format is 77", |bytes| bytes[4] = 77),
        ("sizes do not fit", |bytes| bytes[8] ^= 8),
        ("sizes do not fit", |bytes| bytes.truncate(4096)),
        // Half of it, after the header, is noise.
        ("it holds an operation that there is not", |bytes| {
            let half = bytes.len() / 2;
            bytes[half..].fill(0xff);
        }),
    ];
    for (n, (says, change)) in damage.into_iter().enumerate() {
        let c = t.container(&format!("c{n}"));
        c.args(&["/bin/true"]).create().ok();
        let path = t.root.join(&c.id).join("init.block");
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        // A new file: the init has mapped the old one.
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        let out = c.start();
        assert_eq!(out.code, 1, "{}", out.stderr);
        assert!(out.stderr.contains("init.block") && out.stderr.contains(says), "{says}: {}", out.stderr);
        assert_eq!(c.status(), "created");
        c.delete_force().ok();
        nothing_left(t, says);
    }
}

#[case]
fn a_config_that_changes_after_create(t: &Sandbox) {
    let c = t.container("a");
    c.sh("touch /tmp/old; exec /probe pause").create().ok();
    fs::write(c.bundle.join("config.json"), "not JSON any more").unwrap();
    c.start().ok();
    t.wait_until("it runs what was created", || c.rootfs().join("tmp/old").is_file());
    assert_eq!(c.state()["status"], "running");
    let pid = c.pid();
    c.kill("KILL").ok();
    t.wait_gone(pid);
    c.delete().ok();
}

#[case]
fn deep_and_huge_configs(t: &Sandbox) {
    let c = t.container("a");
    let bundle = c.bundle.display().to_string();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    fs::write(c.bundle.join("config.json"), &deep).unwrap();
    failed_well(t, &t.logged(&["create", "--bundle", &bundle, &c.id]).run(), "a deep config");
    let env: Vec<String> = (0..5_000).map(|n| format!("VARIABLE_{n}={n}")).collect();
    c.set("/process/env", json!(env)).set("/annotations", json!({"big": "x".repeat(1 << 20)}));
    let out = c.run();
    assert!(out.code == 0 || !out.stderr.is_empty(), "{out:?}");
    nothing_left(t, "huge configs");
}
