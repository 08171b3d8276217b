//! The command line itself: help, versions, logs, and the verbs that need no container.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use orlop_integration::{Sandbox, case};
use serde_json::{Value, json};

#[case]
fn version_names_itself_and_the_spec(t: &Sandbox) {
    let out = t.bare(&["--version"]).run().ok();
    let first = out.stdout.lines().next().unwrap();
    assert!(first.contains(" version "), "{first}");
    assert!(out.stdout.lines().any(|line| line.starts_with("spec: 1.")), "{}", out.stdout);
    if !t.is(orlop_integration::Flavor::Crun) {
        t.bare(&["-v"]).run().ok();
    }
}

#[case]
fn help_succeeds(t: &Sandbox) {
    for flag in ["--help", "-h"] {
        let out = t.bare(&[flag]).run();
        if out.code == 64 && t.is(orlop_integration::Flavor::Crun) {
            continue;
        }
        let out = out.ok();
        for verb in ["create", "start", "state", "kill", "delete", "run", "exec", "list"] {
            assert!(out.stdout.contains(verb), "{flag} does not mention {verb}");
        }
    }
}

#[case]
fn help_of_every_verb_succeeds(t: &Sandbox) {
    let verbs = [
        "create", "start", "state", "kill", "delete", "run", "exec", "list", "ps", "pause", "resume", "update", "spec",
    ];
    for verb in verbs {
        let out = t.bare(&[verb, "--help"]).run().ok();
        assert!(out.stdout.contains(verb), "{verb}");
    }
}

#[case(not_runc("prints its help and succeeds"))]
fn unknown_verb_is_refused(t: &Sandbox) {
    t.bare(&["frobnicate"]).run().fails();
}

#[case]
fn unknown_global_flag_is_refused(t: &Sandbox) {
    t.bare(&["--frobnicate", "list"]).run().fails();
}

#[case]
fn missing_id_is_refused(t: &Sandbox) {
    for verb in ["create", "start", "state", "kill", "delete", "run", "exec", "ps", "pause", "resume"] {
        t.logged(&[verb]).run().fails();
    }
}

#[case]
fn too_many_arguments_are_refused(t: &Sandbox) {
    let id = t.id("a");
    for verb in ["create", "start", "state", "run", "pause", "resume"] {
        if t.is(orlop_integration::Flavor::Crun) {
            continue;
        }
        t.logged(&[verb, &id, "surplus", "words"]).run().fails();
    }
}

#[case]
fn errors_are_one_line_on_stderr_and_in_the_log(t: &Sandbox) {
    let c = t.container("a");
    let out = c.args(&["/no/such/command"]).create().code(1);
    if t.is(orlop_integration::Flavor::Orlop) {
        assert_eq!(out.stderr.lines().count(), 1, "{}", out.stderr);
    }
    let last = out.log.last().expect("a log line");
    assert_eq!(last["level"], "error");
    assert!(last["msg"].as_str().unwrap().contains("/no/such/command"));
    let time = last["time"].as_str().unwrap();
    assert!(time.len() >= 20 && time.contains('T'), "{time}");
}

#[case]
fn text_log(t: &Sandbox) {
    let path = t.dir.join("log.txt");
    let log = path.display().to_string();
    let root = t.root.display().to_string();
    t.bare(&["--root", &root, "--log", &log, "--log-format", "text", "state", &t.id("none")]).run().code(1);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("error") || t.is(orlop_integration::Flavor::Crun), "{text}");
    assert!(serde_json::from_str::<Value>(text.lines().last().unwrap()).is_err(), "{text}");
    fs::remove_file(&path).unwrap();
    t.bare(&["--root", &root, "--log", &log, "state", &t.id("none")]).run().code(1);
    assert!(!fs::read_to_string(&path).unwrap().starts_with('{'), "text is the default");
}

#[case]
fn log_is_appended_to(t: &Sandbox) {
    let path = t.dir.join("log.json");
    let (log, root) = (path.display().to_string(), t.root.display().to_string());
    for _ in 0..2 {
        t.bare(&["--root", &root, "--log", &log, "--log-format=json", "state", &t.id("none")]).run().code(1);
    }
    assert_eq!(fs::read_to_string(&path).unwrap().matches("\"level\":\"error\"").count(), 2);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o022, 0, "others must not write it");
}

#[case(needs(Containers), not_runc("Debian's knows no seccomp flags"))]
fn debug_log(t: &Sandbox) {
    let c = t.container("a");
    c.set(
        "/linux/seccomp",
        json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "syscalls": [{"names": ["swapon"], "action": "SCMP_ACT_ERRNO"}]}),
    );
    c.write();
    let path = t.dir.join("log.json");
    let (log, root, bundle) =
        (path.display().to_string(), t.root.display().to_string(), c.bundle.display().to_string());
    let words = ["--debug", "--root", &root, "--log", &log, "--log-format", "json", "run", "--bundle", &bundle, &c.id];
    t.bare(&words).run().ok();
    let text = fs::read_to_string(&path).unwrap_or_default();
    if !t.is(orlop_integration::Flavor::Crun) {
        assert!(text.contains("\"level\":\"debug\""), "{text}");
    }
    if t.is(orlop_integration::Flavor::Orlop) {
        assert!(text.contains("\"seccomp filter flags: 2\""), "{text}");
    }
}

#[case]
fn wrong_log_format_is_refused(t: &Sandbox) {
    t.cmd(&["--log-format", "xml", "list"]).run().fails();
}

/// runc refuses a root that is given and missing (since 1.4), and Orlop one that others may write to: a umask of 0002 would make it so.
fn make_state_root(t: &Sandbox) {
    fs::create_dir_all(&t.root).unwrap();
    fs::set_permissions(&t.root, fs::Permissions::from_mode(0o700)).unwrap();
}

#[case(not_crun("prints an open bracket"))]
fn equals_sign_and_space_both_work(t: &Sandbox) {
    make_state_root(t);
    let root = format!("--root={}", t.root.display());
    let out = t.bare(&[&root, "--log-format=json", "list", "--format=json"]).run().ok();
    assert!(["null", "[]", ""].contains(&out.stdout.trim()), "{}", out.stdout);
}

#[case]
fn list_of_nothing(t: &Sandbox) {
    make_state_root(t);
    let out = t.cmd(&["list"]).run().ok();
    assert!(out.stdout.lines().count() <= 1, "{}", out.stdout);
    let out = t.cmd(&["list", "-q"]).run().ok();
    assert_eq!(out.stdout.trim(), "");
}

#[case(not_crun("its columns are others"))]
fn list_table_json_and_quiet(t: &Sandbox) {
    let (a, b) = (t.container("a"), t.container("b"));
    a.set("/annotations", json!({"key": "value"})).run_paused();
    b.create().ok();
    let table = t.cmd(&["list"]).run().ok().stdout;
    let head: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head[..5], ["ID", "PID", "STATUS", "BUNDLE", "CREATED"][..]);
    assert_eq!(table.lines().count(), 3);
    let line = table.lines().find(|line| line.starts_with(&b.id)).unwrap();
    assert!(line.contains("created") && line.contains(&b.bundle.display().to_string()), "{line}");
    let list = t.cmd(&["list", "--format", "json"]).run().ok().json();
    let entry = list.as_array().unwrap().iter().find(|entry| entry["id"] == a.id.as_str()).unwrap();
    assert_eq!((&entry["status"], &entry["pid"]), (&json!("running"), &json!(a.pid())));
    assert_eq!(entry["bundle"], a.bundle.display().to_string());
    if !t.is(orlop_integration::Flavor::Crun) {
        assert_eq!(entry["annotations"]["key"], "value");
        let rootfs = entry["rootfs"].as_str().unwrap();
        assert!(rootfs.ends_with("/rootfs"), "{rootfs}");
    }
    let quiet = t.cmd(&["list", "--quiet"]).run().ok().stdout;
    let mut ids: Vec<&str> = quiet.lines().collect();
    ids.sort_unstable();
    assert_eq!(ids, [a.id.as_str(), b.id.as_str()]);
    t.cmd(&["list", "--format", "xml"]).run().fails();
    a.end();
    b.delete_force().ok();
}

/// Very many are looked at by several threads.
#[case(extension, needs(ControlGroups))]
fn list_of_many_tells_of_each_what_state_tells(t: &Sandbox) {
    let kinds = ["run", "paused", "created", "started", "stopped"];
    let containers = kinds.map(|kind| t.container(kind));
    let [run, paused, created, started, stopped] = &containers;
    run.run_paused();
    paused.run_paused();
    paused.simple("pause", &[], &[]).ok();
    created.create().ok();
    started.args(&["/probe", "pause"]).create().ok();
    started.start().ok();
    let pid = stopped.run_paused();
    stopped.kill("KILL").ok();
    t.wait_gone(pid);
    let state_of = |id: &str| t.root.join(id).join("state.json");
    // Of those who never waited for `start` their state says so; of the others the FIFO does.
    let at_once =
        containers.each_ref().map(|c| fs::read_to_string(state_of(&c.id)).unwrap().contains("\"at_once\":true"));
    assert_eq!(at_once, [true, true, false, false, true]);
    // More of the same: other ids for the same processes.
    let mut copies = Vec::new();
    for n in 0..200 {
        let kind = &containers[n % kinds.len()].id;
        let copy = t.id(&format!("copy-{}-{n}", kinds[n % kinds.len()]));
        let text = fs::read_to_string(state_of(kind)).unwrap();
        fs::create_dir(t.root.join(&copy)).unwrap();
        fs::write(state_of(&copy), text.replace(&format!("\"id\":\"{kind}\""), &format!("\"id\":\"{copy}\""))).unwrap();
        if fs::exists(t.root.join(kind).join("exec.fifo")).unwrap() {
            fs::hard_link(t.root.join(kind).join("exec.fifo"), t.root.join(&copy).join("exec.fifo")).unwrap();
        }
        copies.push(copy);
    }
    fs::write(state_of(&copies[100]), "{").unwrap();
    let out = t.cmd(&["list", "--format", "json"]).run().ok();
    assert!(out.stderr.contains(&format!("state.json of {}", copies[100])), "{}", out.stderr);
    let list = out.json();
    let list = list.as_array().unwrap();
    assert_eq!(list.len(), kinds.len() + copies.len() - 1);
    assert!(list.is_sorted_by_key(|entry| entry["id"].as_str().unwrap().to_owned()));
    let mut counts = std::collections::BTreeMap::new();
    for entry in list {
        let mut state = t.cmd(&["state", entry["id"].as_str().unwrap()]).run().ok().json();
        state["owner"] = entry["owner"].clone();
        assert_eq!(*entry, state);
        *counts.entry(entry["status"].as_str().unwrap()).or_insert(0) += 1;
    }
    let expected = [("created", 41), ("paused", 41), ("running", 81), ("stopped", 41)];
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), expected);
    for copy in &copies {
        fs::remove_dir_all(t.root.join(copy)).unwrap();
    }
    paused.simple("resume", &[], &[]).ok();
    for container in &containers {
        container.delete_force().ok();
    }
}

#[case(not_crun("since crun 1.9"))]
fn features_names_what_engines_read(t: &Sandbox) {
    let features = t.bare(&["features"]).run().ok().json();
    assert!(features["ociVersionMin"].as_str().unwrap().starts_with("1.0"));
    let list = |pointer: &str| -> Vec<String> {
        let value = features.pointer(pointer).unwrap_or_else(|| panic!("features lacks {pointer}"));
        value.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
    };
    for hook in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        assert!(list("/hooks").contains(&hook.to_owned()), "{hook}");
    }
    for option in ["bind", "rbind", "ro", "rro", "tmpcopyup", "rshared"] {
        assert!(list("/mountOptions").contains(&option.to_owned()), "{option}");
    }
    for kind in ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"] {
        assert!(list("/linux/namespaces").contains(&kind.to_owned()), "{kind}");
    }
    assert!(list("/linux/capabilities").len() >= 41);
    assert!(list("/linux/seccomp/actions").contains(&"SCMP_ACT_NOTIFY".to_owned()));
    assert_eq!(features["linux"]["cgroup"]["v1"], true);
}

#[case(needs(Ids, Containers))]
fn spec_writes_a_config_that_runs(t: &Sandbox) {
    let c = t.container("a");
    let bundle = c.bundle.display().to_string();
    t.bare(&["spec", "--bundle", &bundle]).run().ok();
    let path = c.bundle.join("config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(spec["process"]["args"], json!(["sh"]));
    assert_eq!(spec["root"]["path"], "rootfs");
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(["echo", "from the default config"]);
    fs::write(&path, spec.to_string()).unwrap();
    let out = t.cmd(&["run", "--bundle", &bundle, &c.id]).run().ok();
    assert_eq!(out.stdout, "from the default config\n");
}

#[case]
fn spec_does_not_overwrite(t: &Sandbox) {
    let c = t.container("a");
    fs::write(c.bundle.join("config.json"), "mine").unwrap();
    t.bare(&["spec"]).dir(&c.bundle).run().fails();
    assert_eq!(fs::read_to_string(c.bundle.join("config.json")).unwrap(), "mine");
}

#[case(not_crun("writes another"))]
fn spec_rootless(t: &Sandbox) {
    let c = t.container("a");
    t.bare(&["spec", "--rootless"]).dir(&c.bundle).run().ok();
    let spec: Value = serde_json::from_slice(&fs::read(c.bundle.join("config.json")).unwrap()).unwrap();
    let types: Vec<&str> =
        spec["linux"]["namespaces"].as_array().unwrap().iter().map(|entry| entry["type"].as_str().unwrap()).collect();
    assert!(types.contains(&"user") && !types.contains(&"network"), "{types:?}");
    assert_eq!(spec["linux"]["uidMappings"][0]["size"], 1);
}

#[case(not_crun("built without"))]
fn checkpoint_help_succeeds(t: &Sandbox) {
    t.bare(&["checkpoint", "--help"]).run().ok();
}

#[case]
fn state_root_is_private(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    if t.is(orlop_integration::Flavor::Orlop) {
        assert_eq!(mode(&t.root), 0o700);
        assert_eq!(mode(&t.root.join(&c.id)), 0o700);
        for entry in fs::read_dir(t.root.join(&c.id)).unwrap().flatten() {
            let mode = mode(&entry.path());
            assert_eq!(mode & 0o177, 0, "{} has mode {mode:o}", entry.path().display());
        }
    }
    assert_eq!(mode(&t.root.join(&c.id)) & 0o022, 0);
    c.end();
}

#[case(needs(Containers))]
fn bundle_flag_short_form(t: &Sandbox) {
    let c = t.container("a");
    c.write();
    t.cmd(&["run", "-b", &c.bundle.display().to_string(), &c.id]).run().ok();
}

#[case(extension, needs(Containers))]
fn plan_prints_the_operations(t: &Sandbox) {
    let c = t.container("a");
    c.mount("tmpfs", "scratch", "/scratch-place", &["size=1m"]).write();
    let bundle = c.bundle.display().to_string();
    let text = t.cmd(&["plan", "-b", &bundle]).run().ok().stdout;
    assert!(text.contains("/scratch-place"), "{text}");
    let json = t.cmd(&["plan", "-b", &bundle, "--format", "json"]).run().ok().json();
    assert!(json.to_string().contains("/scratch-place"), "{json}");
}

#[case(extension, needs(Containers))]
fn plan_touches_nothing(t: &Sandbox) {
    let c = t.container("a");
    c.write();
    t.cmd(&["plan", "-b", &c.bundle.display().to_string()]).run().ok();
    assert!(!t.root.join(&c.id).is_dir());
    assert!(orlop_integration::leak::cgroups(&c.id).is_empty());
}

#[case(extension, needs(Containers))]
fn validate_finds_faults(t: &Sandbox) {
    let c = t.container("a");
    // What cannot be granted is a fault to the strict eye.
    c.remove("/process/capabilities/ambient").write();
    let bundle = c.bundle.display().to_string();
    t.cmd(&["validate", &bundle]).run().ok();
    t.cmd(&["validate", "--strict", &bundle]).run().ok();
    let faults = |strict: bool| {
        let flags: &[&str] = if strict { &["validate", "--strict", &bundle] } else { &["validate", &bundle] };
        let out = t.cmd(flags).run().fails();
        out.stdout + &out.stderr
    };
    c.set("/process/unknownField", json!(1)).write();
    t.cmd(&["validate", &bundle]).run().ok();
    let text = faults(true);
    assert!(text.contains("unknownField"), "{text}");
    c.remove("/process/unknownField").set("/process/cwd", json!(5)).write();
    let text = faults(false);
    assert!(text.contains("/process/cwd"), "{text}");
}

#[case(extension)]
fn completion_for_shells(t: &Sandbox) {
    for shell in ["bash", "zsh", "fish"] {
        let text = t.bare(&["completion", shell]).run().ok().stdout;
        assert!(text.contains("orlop") && text.contains("--bundle") | text.contains("bundle"), "{shell}");
    }
    t.bare(&["completion", "no-such-shell"]).run().fails();
}

#[case(extension, needs(Host, Admin))]
fn try_runs_a_command_on_the_hosts_root(t: &Sandbox) {
    let marker = format!("/root/{}-marker", t.tag);
    let out = t.cmd(&["try", "sh", "-c", &format!("echo inside; echo x > {marker}; ls {marker}")]).run().ok();
    assert!(out.stdout.starts_with("inside\n"), "{}", out.stdout);
    assert!(!std::path::Path::new(&marker).is_file(), "written on the host");
}

#[case(extension)]
fn a_fifo_as_config_is_refused(t: &Sandbox) {
    let c = t.container("a");
    let bundle = c.bundle.display().to_string();
    t.program("/bin/mkfifo", &[&format!("{bundle}/config.json")]).run().ok();
    let text = t.logged(&["run", "--bundle", &bundle, &c.id]).run().fails().stderr;
    assert!(text.contains("config.json: is not a regular file"), "{text}");
}

#[case(extension)]
fn unknown_config_fields_are_warned_of(t: &Sandbox) {
    let c = t.container("a");
    let out = c.set("/process/noSuchField", json!(1)).run().ok();
    let warned = out.log.iter().filter(|line| line["level"] == "warning");
    let texts: Vec<&str> = warned.map(|line| line["msg"].as_str().unwrap()).collect();
    assert_eq!(texts.iter().filter(|text| text.contains("noSuchField")).count(), 1, "{texts:?}");
}
