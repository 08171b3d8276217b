//! Configs, process and resources files that real engines wrote: each loads and is planned, and each runs when the paths of the machine
//! it was written on are replaced.

use std::fs;
use std::path::{Path, PathBuf};

use orlop_integration::{Container, Flavor, Sandbox, case};
use serde_json::{Value, json};

fn main() -> std::process::ExitCode {
    orlop_integration::run()
}

/// The one copy of the files in this project.
const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../runtime-core/tests/data/engine-configs");

fn files(suffix: &str) -> Vec<(String, Value)> {
    let mut found: Vec<PathBuf> = fs::read_dir(FILES).expect(FILES).flatten().map(|entry| entry.path()).collect();
    found.sort();
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let kind = |name: &str| match name {
        name if name.ends_with(".process.json") => "process",
        name if name.ends_with(".resources.json") => "resources",
        _ => "config",
    };
    let read = |path: PathBuf| (name(&path), serde_json::from_slice(&fs::read(&path).unwrap()).unwrap());
    let list: Vec<_> = found.into_iter().filter(|path| kind(&name(path)) == suffix).map(read).collect();
    assert!(list.len() >= if suffix == "config" { 30 } else { 3 }, "only {} {suffix} files in {FILES}", list.len());
    list
}

#[case(extension, seconds(300))]
fn every_config_is_planned(t: &Sandbox) {
    let mut wrong = Vec::new();
    for (name, config) in files("config") {
        let dir = t.dir.join(&name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("config.json"), config.to_string()).unwrap();
        let bundle = dir.display().to_string();
        for flags in [&["plan", "-b", &bundle] as &[&str], &["plan", "-b", &bundle, "--format", "json"]] {
            let out = t.cmd(flags).run();
            if out.code != 0 || out.stdout.len() < 200 {
                wrong.push(format!("{name}: exit {}: {}", out.code, out.stderr.trim_end()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Something to mount in the place of what stood on the other machine.
fn stand_in(t: &Sandbox, destination: &str) -> PathBuf {
    let files = ["resolv.conf", "hosts", "hostname", ".containerenv", "passwd", "group", "termination-log", "init"];
    let name = destination.rsplit('/').next().unwrap();
    let path = t.dir.join(format!("stand-in-{name}"));
    if files.contains(&name) {
        fs::write(&path, "").unwrap();
    } else {
        fs::create_dir_all(&path).unwrap();
    }
    path
}

/// Replaces what belongs to the machine that the config was written on.
fn adapt(t: &Sandbox, c: &Container<'_>, mut config: Value) {
    config["root"]["path"] = json!("rootfs");
    config["process"]["args"] = json!(["/probe", "facts"]);
    config["process"]["cwd"] = json!("/");
    config["process"]["terminal"] = json!(false);
    config.as_object_mut().unwrap().remove("hooks");
    config["linux"]["cgroupsPath"] = json!(format!("/{}", c.id));
    let has_maps = config["linux"]["uidMappings"].as_array().is_some_and(|maps| !maps.is_empty());
    let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|entry| entry["type"] != "user" || has_maps);
    for entry in namespaces {
        entry.as_object_mut().unwrap().remove("path");
    }
    for mount in config["mounts"].as_array_mut().unwrap() {
        if mount["source"]
            .as_str()
            .is_some_and(|source| source.starts_with('/') && source != "/sys" && source != "/dev")
        {
            mount["source"] = json!(stand_in(t, mount["destination"].as_str().unwrap()));
        }
        if mount["type"] == "overlay" {
            // Its layers are the other machine's.
            mount["source"] = json!(stand_in(t, mount["destination"].as_str().unwrap()));
            mount["type"] = json!("bind");
            mount["options"] = json!(["bind"]);
        }
    }
    let process = config["process"].as_object_mut().unwrap();
    // What needs CAP_SYS_RESOURCE, which the machine that runs the tests may lack.
    if process.get("oomScoreAdj").is_some_and(|value| value.as_i64() < Some(0)) {
        process.remove("oomScoreAdj");
    }
    if let Some(sets) = process.get_mut("capabilities").and_then(Value::as_object_mut) {
        for set in sets.values_mut().filter_map(Value::as_array_mut) {
            set.retain(|name| name != "CAP_SYS_RESOURCE");
        }
    }
    if let Some(limits) = process.get_mut("rlimits").and_then(Value::as_array_mut) {
        limits.retain(|limit| limit["type"] == "RLIMIT_NOFILE" && limit["hard"].as_u64() <= Some(20_000));
    }
    if let Some(owner) = config["linux"]["uidMappings"][0]["hostID"].as_u64() {
        c.give_rootfs_to(u32::try_from(owner).unwrap());
    }
    c.edit(|spec| *spec = config);
}

#[case(not_crun("not compared"), seconds(600))]
fn every_config_runs(t: &Sandbox) {
    let mut wrong = Vec::new();
    let all = files("config");
    let total = all.len();
    for (n, (name, config)) in all.into_iter().enumerate() {
        if t.is(Flavor::Runc) && name.starts_with("docker29") {
            // Debian's runc knows no time namespaces.
            continue;
        }
        let c = t.container(&format!("c{n}"));
        adapt(t, &c, config.clone());
        let out = c.run();
        if out.code != 0 {
            wrong.push(format!("{name}: exit {}: {}", out.code, out.stderr.trim_end()));
            continue;
        }
        let facts = out.json();
        let process = &config["process"];
        let mut check = |what: &str, found: &Value, expected: &Value| {
            if found != expected {
                wrong.push(format!("{name}: {what} is {found}, not {expected}"));
            }
        };
        check("uid", &facts["uid"], &json!(process["user"]["uid"].as_u64().unwrap_or(0)));
        check("gid", &facts["gid"], &json!(process["user"]["gid"].as_u64().unwrap_or(0)));
        let filtered = config["linux"]["seccomp"].is_object();
        check("seccomp", &facts["status"]["Seccomp"], &json!(if filtered { "2" } else { "0" }));
        let sealed = process["noNewPrivileges"] == true;
        check("no_new_privs", &facts["status"]["NoNewPrivs"], &json!(if sealed { "1" } else { "0" }));
        let root = facts["mounts"].as_array().unwrap().iter().find(|mount| mount["dest"] == "/").unwrap();
        let read_only = root["options"].as_str().unwrap().split(',').any(|option| option == "ro");
        check("read-only root", &json!(read_only), &json!(config["root"]["readonly"] == true));
        for mount in config["mounts"].as_array().unwrap() {
            // A mount on another one's place, and links in the image, have other names in the table.
            let dest = mount["destination"].as_str().unwrap();
            let there = facts["mounts"].as_array().unwrap().iter().any(|found| found["dest"] == dest);
            check(&format!("mount on {dest}"), &json!(there), &json!(true));
        }
        fs::remove_dir_all(&c.bundle).unwrap();
    }
    eprintln!("{total} configs");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[case(extension, seconds(600))]
fn every_config_is_what_it_says(t: &Sandbox) {
    let mut wrong = Vec::new();
    let all = files("config");
    let total = all.len();
    for (n, (name, config)) in all.into_iter().enumerate() {
        let c = t.container(&format!("c{n}"));
        adapt(t, &c, config);
        let out = c.create_cmd(&["--verify"]).run();
        if out.code == 0 {
            c.delete_force().ok();
        } else {
            wrong.push(format!("{name}: exit {}: {}", out.code, out.stderr.trim_end()));
        }
        fs::remove_dir_all(&c.bundle).unwrap();
    }
    eprintln!("{total} configs verified");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[case(not_crun("not compared"))]
fn every_process_file_is_executed(t: &Sandbox) {
    let c = t.container("a");
    let all: Vec<String> = c
        .config(|spec| spec["process"]["capabilities"]["bounding"].as_array().unwrap().clone())
        .iter()
        .map(|value| value.as_str().unwrap().to_owned())
        .collect();
    assert!(!all.is_empty());
    c.run_paused();
    let mut wrong = Vec::new();
    for (name, mut process) in files("process") {
        process["args"] = json!(["/probe", "facts"]);
        process["cwd"] = json!("/");
        process["terminal"] = json!(false);
        let object = process.as_object_mut().unwrap();
        if object.get("oomScoreAdj").is_some_and(|value| value.as_i64() < Some(0)) {
            object.remove("oomScoreAdj");
        }
        object.remove("rlimits");
        let path = t.dir.join(&name);
        fs::write(&path, process.to_string()).unwrap();
        let out = t.logged(&["exec", "--process", &path.display().to_string(), &c.id]).run();
        if out.code != 0 {
            wrong.push(format!("{name}: exit {}: {}", out.code, out.stderr.trim_end()));
        } else if out.json()["uid"] != process["user"]["uid"].as_u64().unwrap_or(0) {
            wrong.push(format!("{name}: runs as {}", out.json()["uid"]));
        }
    }
    c.end();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[case(not_crun("not compared"))]
fn every_resources_file_is_applied(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    let mut wrong = Vec::new();
    for (name, mut resources) in files("resources") {
        // CPUs and nodes are the other machine's.
        if let Some(cpu) = resources.get_mut("cpu").and_then(Value::as_object_mut) {
            cpu.retain(|key, _| key != "cpus" && key != "mems");
        }
        for words in [&["update", "--resources", "-", &c.id] as &[&str], &["update", "--resources=-", &c.id]] {
            let out = t.logged(words).stdin(resources.to_string()).run();
            if out.code != 0 {
                wrong.push(format!("{name}: exit {}: {}", out.code, out.stderr.trim_end()));
            }
        }
    }
    c.end();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
