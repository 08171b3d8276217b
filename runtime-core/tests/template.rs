//! The template: its containers are what `run` makes, whatever becomes of the bundle, and nothing of it is left or shared.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a test fails by panicking, and looks at the file system as a user would"
)]

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::Duration;

use orlop::{
    ContainerId, CreateOptions, DeleteOptions, ExecOptions, ExecProcess, Exit, Kind, Process, Runtime, SpawnOptions,
    StartOptions, Status, Template, TemplateOptions, Terminal,
};
use orlop_integration::neighbour::{Allowed, DOCKERS, PLAIN, Set, TRACER, Who, judge, neighbour, victim, wait_ready};
use orlop_integration::{Container, Sandbox, case, process};
use serde_json::{Value, json};

fn main() -> std::process::ExitCode {
    orlop_integration::run()
}

fn runtime(t: &Sandbox) -> Runtime {
    Runtime::new(&t.root)
}

fn id(t: &Sandbox, name: &str) -> ContainerId {
    ContainerId::new(t.id(name)).unwrap()
}

fn container(t: &Sandbox, id: &ContainerId) -> orlop::Container {
    orlop::Container::new(runtime(t), id.clone())
}

/// A template of the harness's bundle, whose containers have control groups of their own names.
fn template(c: &Container<'_>) -> Template {
    c.edit(|spec| drop(spec["linux"].as_object_mut().unwrap().remove("cgroupsPath"))).write();
    Template::new(runtime(c.sandbox), TemplateOptions::new(&c.bundle)).unwrap()
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn own(args: &[&str]) -> SpawnOptions {
    SpawnOptions::default().args(words(args))
}

fn streams(stdout: std::io::PipeWriter) -> [OwnedFd; 3] {
    [File::open("/dev/null").unwrap().into(), stdout.try_clone().unwrap().into(), stdout.into()]
}

/// What a container that ends by itself printed, and how it ended; it is deleted.
fn output(
    container: &orlop::Container,
    make: impl FnOnce([OwnedFd; 3]) -> orlop::Result<Process>,
) -> orlop::Result<(String, Exit)> {
    let (mut output, stdout) = std::io::pipe().unwrap();
    let process = make(streams(stdout))?;
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    let exit = process.wait()?;
    drop(container.delete(&DeleteOptions::default())?);
    Ok((text, exit))
}

fn spawned(template: &Template, id: &ContainerId, options: SpawnOptions) -> orlop::Result<(String, Exit)> {
    let container = orlop::Container::new(template.runtime().clone(), id.clone());
    output(&container, |streams| template.spawn(id, options.stdio(streams)))
}

/// What the probe finds, without what differs between any two containers.
fn facts(text: &str) -> Value {
    let mut facts: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}"));
    for key in ["pid", "ppid", "sid", "pgid", "session_keyring", "boottime"] {
        facts.as_object_mut().unwrap().remove(key);
    }
    let kinds: Vec<String> = facts["namespaces"].as_object().unwrap().keys().cloned().collect();
    facts["namespaces"] = kinds.iter().map(|kind| json!([kind, shared(kind, &facts["namespaces"][kind])])).collect();
    for mount in facts["mounts"].as_array_mut().unwrap() {
        mount.as_object_mut().unwrap().remove("id");
    }
    let fds = facts["fds"].to_string();
    let name = |word: &str| if word.starts_with("pipe:") { "pipe".to_owned() } else { word.to_owned() };
    facts["fds"] = fds.split('"').map(name).collect();
    facts
}

fn shared(kind: &str, found: &Value) -> bool {
    fs::read_link(format!("/proc/self/ns/{kind}")).is_ok_and(|own| found.as_str() == own.to_str())
}

/// What is written of a container, without its numbers and times.
fn state(t: &Sandbox, id: &ContainerId) -> Value {
    let text = fs::read_to_string(t.root.join(id.as_str()).join("state.json")).unwrap();
    let mut state: Value = serde_json::from_str(&text).unwrap();
    for key in ["created", "init_process_pid", "init_process_pidfd_inode", "init_process_start", "namespace_paths"] {
        assert!(state.as_object_mut().unwrap().remove(key).is_some(), "{key}");
    }
    state
}

fn files(t: &Sandbox, id: &ContainerId) -> BTreeSet<String> {
    let entries = fs::read_dir(t.root.join(id.as_str())).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// With what can be prepared for it.
fn same_as_run(t: &Sandbox, name: &str, change: impl Fn(&Container<'_>)) {
    let c = t.container(name);
    change(&c);
    let template = template(c.args(&["/probe", "facts"]));
    match template.prepare_networks(1) {
        Err(error) if error.kind() == Kind::Unsupported => {}
        prepared => prepared.unwrap(),
    }
    let id = id(t, name);
    let by_run = |streams| container(t, &id).run(CreateOptions::new(&c.bundle).stdio(streams));
    let expected = facts(&output(&container(t, &id), by_run).unwrap().0);
    let found = facts(&spawned(&template, &id, SpawnOptions::default()).unwrap().0);
    let keys = |facts: &Value| facts.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&found), keys(&expected));
    for key in keys(&found) {
        assert_eq!(found[&key], expected[&key], "{name}: {key}");
    }
    // What is left beside it on disk, while it is there.
    let by_run =
        container(t, &id).create(CreateOptions::new(&c.bundle)).map(|_| (state(t, &id), files(t, &id))).unwrap();
    drop(container(t, &id).delete(&DeleteOptions::default().force(true)).unwrap());
    let process = template.create(&id, SpawnOptions::default()).unwrap();
    assert_eq!((state(t, &id), files(t, &id)), by_run, "{name}");
    assert_eq!(
        fs::read(t.root.join(id.as_str()).join("config.json")).unwrap(),
        fs::read(c.bundle.join("config.json")).unwrap()
    );
    assert!(process::is_alive(process.id().get()));
    drop(container(t, &id).delete(&DeleteOptions::default().force(true)).unwrap());
}

#[case(needs(Host))]
fn containers_are_what_run_makes_of_them(t: &Sandbox) {
    same_as_run(t, "plain", |_| {});
    same_as_run(t, "user", |c| {
        c.set("/process/user", json!({"uid": 1000, "gid": 1000, "additionalGids": [5, 6], "umask": 63}));
        c.set("/process/cwd", json!("/tmp")).set("/process/oomScoreAdj", json!(300));
        c.set("/root/readonly", json!(true)).set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
    });
    same_as_run(t, "cgroupns", |c| {
        c.namespace("cgroup").set("/linux/resources/pids", json!({"limit": 50}));
    });
    same_as_run(t, "filter", |c| {
        let rule = json!({"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"});
        c.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}));
    });
    same_as_run(t, "hosts", |c| {
        c.share("pid").share("network");
    });
}

#[case(needs(Host))]
fn containers_are_what_run_makes_of_them_in_a_user_namespace(t: &Sandbox) {
    t.need_promised("user-namespaces", t.has_user_namespaces(), "user namespaces are switched off here");
    same_as_run(t, "mapped", |c| {
        c.map_users(100_000, 65_536);
    });
}

/// What is kept is what is looked at, and no file.
#[case]
fn a_config_that_changes_or_goes_makes_no_difference(t: &Sandbox) {
    let c = t.container("a");
    let template = template(c.args(&["echo", "as it was"]));
    c.args(&["echo", "changed"]).set("/hostname", json!("changed")).write();
    assert_eq!(
        spawned(&template, &id(t, "b"), SpawnOptions::default()).unwrap(),
        ("as it was\n".into(), Exit::Code(0))
    );
    fs::remove_file(c.bundle.join("config.json")).unwrap();
    assert_eq!(spawned(&template, &id(t, "c"), own(&["hostname"])).unwrap().0, "orlopit\n");
    // Nor does the container need it: an exec reads what `create` has kept.
    let id = id(t, "d");
    let process = template.spawn(&id, own(&["/probe", "pause"])).unwrap();
    let command = container(t, &id).exec(ExecOptions::new(ExecProcess::Args(words(&["true"])))).unwrap();
    assert_eq!(command.wait().unwrap(), Exit::Code(0));
    assert!(process.try_wait().unwrap().is_none());
    drop(container(t, &id).delete(&DeleteOptions::default().force(true)).unwrap());
}

#[case]
fn each_container_has_its_own_root_command_and_files(t: &Sandbox) {
    let c = t.container("a");
    let template = template(c.set("/root/readonly", json!(true)));
    for (name, relative) in [("x", false), ("y", true)] {
        let root = c.bundle.join(format!("root-{name}"));
        t.fill_rootfs(&root);
        fs::write(root.join("etc/name"), name).unwrap();
        fs::write(root.join("etc/passwd"), format!("root:x:0:0::/home/{name}:/bin/sh\n")).unwrap();
        let pid_file = t.dir.join(name);
        let given = if relative { PathBuf::from(root.file_name().unwrap()) } else { root.clone() };
        let id = id(t, name);
        let options = own(&["sh", "-c", "cat /etc/name; echo $HOME"]).root(given).pid_file(pid_file.clone());
        let mut pid = 0;
        let make = |streams| template.spawn(&id, options.stdio(streams)).inspect(|made| pid = made.id().get());
        let (text, exit) = output(&container(t, &id), make).unwrap();
        assert_eq!((text, exit), (format!("{name}/home/{name}\n"), Exit::Code(0)));
        assert_eq!(fs::read_to_string(&pid_file).unwrap(), pid.to_string());
        let process = template.create(&id, own(&["true"]).root(root.clone())).unwrap();
        let found = container(t, &id).state().unwrap();
        assert_eq!(found.rootfs, root);
        drop(process);
        drop(container(t, &id).delete(&DeleteOptions::default().force(true)).unwrap());
    }
    let error = template.spawn(&id(t, "z"), own(&["true"]).root(PathBuf::from("/no/such/root"))).unwrap_err();
    assert_eq!((error.errno(), error.field()), (Some(nix::libc::ENOENT), None), "{error}");
    assert!(error.to_string().contains("/no/such/root"), "{error}");
    let error = template.spawn(&id(t, "z"), own(&["/no/such/command"])).unwrap_err();
    assert_eq!((error.kind(), error.field()), (Kind::Command, None), "{error}");
    let error = template.spawn(&id(t, "z"), SpawnOptions::default().args(Vec::new())).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidArgument, "{error}");
}

#[case]
fn one_that_is_created_waits_for_its_start(t: &Sandbox) {
    let c = t.container("a");
    let template = template(&c);
    let id = id(t, "b");
    let (mut output, stdout) = std::io::pipe().unwrap();
    let process = template.create(&id, own(&["echo", "started"]).stdio(streams(stdout))).unwrap();
    assert_eq!(container(t, &id).state().unwrap().status, Status::Created);
    drop(template);
    container(t, &id).start(&StartOptions::default()).unwrap();
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert_eq!((text.as_str(), process.wait().unwrap()), ("started\n", Exit::Code(0)));
    drop(container(t, &id).delete(&DeleteOptions::default()).unwrap());
}

/// Hooks, a terminal and verification: what takes a wait of the init, or its caller's socket.
#[case]
fn what_run_does_beside_is_done(t: &Sandbox) {
    let c = t.container("a");
    let hook = |file: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", format!("cat > {}", t.dir.join(file).display())]}]);
    c.set("/hooks", json!({"createRuntime": hook("made"), "poststart": hook("started"), "poststop": hook("stopped")}));
    c.set("/hooks/startContainer", json!([{"path": "/bin/sh", "args": ["sh", "-c", "cat > /tmp/inside"]}]));
    let rule = json!({"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"});
    c.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}));
    c.edit(|spec| drop(spec["linux"].as_object_mut().unwrap().remove("cgroupsPath"))).write();
    let template = Template::new(runtime(t), TemplateOptions::new(&c.bundle).verify(true)).unwrap();
    for name in ["b", "c"] {
        let (text, exit) = spawned(&template, &id(t, name), own(&["cat", "/tmp/inside"])).unwrap();
        assert_eq!(exit, Exit::Code(0));
        for seen in [text, fs::read_to_string(t.dir.join("made")).unwrap()] {
            let seen: Value = serde_json::from_str(&seen).unwrap();
            assert_eq!(seen["id"], json!(t.id(name)));
        }
        for file in ["started", "stopped"] {
            fs::remove_file(t.dir.join(file)).unwrap();
        }
    }
    let c = t.container("terminal");
    let template = self::template(c.set("/process/terminal", json!(true)));
    let error = template.spawn(&id(t, "d"), own(&["tty"])).unwrap_err();
    assert_eq!(error.field(), Some("/process/terminal"), "{error}");
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let process = template.spawn(&id(t, "d"), own(&["test", "-t", "0"]).terminal(Terminal::connected(theirs))).unwrap();
    assert_eq!(process.wait().unwrap(), Exit::Code(0));
    drop((ours, container(t, &id(t, "d")).delete(&DeleteOptions::default()).unwrap()));
}

#[case]
fn several_threads_make_containers(t: &Sandbox) {
    fn is_shared_by_threads<T: Send + Sync>(_: &T) {}
    let c = t.container("a");
    let template = template(&c);
    is_shared_by_threads(&template);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let ids: Vec<_> = (0..5).map(|round| id(t, &format!("{thread}-{round}"))).collect();
            let template = &template;
            scope.spawn(move || {
                for (round, id) in (0..).zip(&ids) {
                    let script = format!("echo {thread} {round}; hostname; exit {round}");
                    let (text, exit) = spawned(template, id, own(&["sh", "-c", &script])).unwrap();
                    assert_eq!((text, exit), (format!("{thread} {round}\norlopit\n"), Exit::Code(round)));
                }
            });
        }
    });
}

fn held() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Of a container that could not be made, and of a template that is gone.
#[case]
fn nothing_is_left(t: &Sandbox) {
    let c = t.container("a");
    drop(template(&c));
    let before = held();
    let template = template(&c);
    let id = id(t, "b");
    spawned(&template, &id, own(&["true"])).unwrap();
    let with_template = held();
    for round in 0..9 {
        let options = match round % 3 {
            0 => own(&["/no/such/command"]),
            1 => own(&["true"]).root(PathBuf::from("no-such-root")),
            _ => own(&["true"]).pid_file(t.dir.join("no/such/directory")),
        };
        template.spawn(&id, options).unwrap_err();
        assert_eq!(t.cgroups_of(id.as_str()), [] as [PathBuf; 0]);
        assert!(!t.root.join(id.as_str()).exists());
    }
    let (gone, sender) = std::io::pipe().unwrap();
    drop(sender);
    let error = template.spawn(&id, own(&["true"]).cancel(OwnedFd::from(gone))).unwrap_err();
    assert_eq!(error.kind(), Kind::Cancelled, "{error}");
    let first = template.spawn(&id, own(&["/probe", "pause"])).unwrap();
    let error = template.spawn(&id, own(&["true"])).unwrap_err();
    assert_eq!(error.kind(), Kind::AlreadyExists, "{error}");
    drop(first);
    drop(container(t, &id).delete(&DeleteOptions::default().force(true)).unwrap());
    assert_eq!(held(), with_template);
    drop(template);
    assert_eq!(held(), before);
    assert_eq!(process::living_descendants().len(), 0);
}

/// The network namespaces that this process holds: the number of one that is gone is another's.
fn networks() -> Vec<String> {
    let links = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    links.map(|to| to.display().to_string()).filter(|to| to.starts_with("net:")).collect()
}

/// The network namespace that a container gets, whose loopback device must be up. The container lasts.
fn network(template: &Template, id: &ContainerId) -> String {
    let (output, stdout) = std::io::pipe().unwrap();
    let options = own(&["sh", "-c", "cat /sys/class/net/lo/flags; exec /probe pause"]).stdio(streams(stdout));
    let process = template.spawn(id, options).unwrap();
    let mut flags = String::new();
    BufReader::new(output).read_line(&mut flags).unwrap();
    assert_eq!(flags, "0x9\n", "lo is up");
    fs::read_link(format!("/proc/{}/ns/net", process.id())).unwrap().display().to_string()
}

fn set_of(networks: &[String]) -> BTreeSet<&String> {
    networks.iter().collect()
}

fn end(t: &Sandbox, ids: &[ContainerId]) {
    for id in ids {
        drop(container(t, id).delete(&DeleteOptions::default().force(true)).unwrap());
    }
    process::reap_orphans();
}

#[case(needs(Host))]
fn a_prepared_network_namespace_is_one_containers(t: &Sandbox) {
    let c = t.container("a");
    let template = template(&c);
    let ids: Vec<_> = (0..8).map(|n| id(t, &format!("c{n}"))).collect();
    for _ in 0..2 {
        // What is ready counts.
        template.prepare_networks(3).unwrap();
    }
    let prepared = networks();
    assert_eq!(set_of(&prepared).len(), 3, "{prepared:?}");
    let got: Vec<_> = ids[..5].iter().map(|id| network(&template, id)).collect();
    assert_eq!(set_of(&got[..3]), set_of(&prepared));
    assert_eq!(set_of(&got).len(), 5, "{got:?}");
    assert!(networks().is_empty());
    // Nor does a container that could not be made leave its own to another.
    template.prepare_networks(1).unwrap();
    let fds = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    let lost = fds.filter(|fd| fs::read_link(fd).is_ok_and(|to| to.to_string_lossy().starts_with("net:")));
    let held: Vec<_> = lost.map(|fd| File::open(fd).unwrap()).collect();
    assert_eq!((held.len(), networks().len()), (1, 2));
    template.spawn(&ids[5], own(&["/no/such/command"])).unwrap_err();
    let lost = networks();
    assert_eq!(lost.len(), 1);
    assert_ne!(network(&template, &ids[5]), lost[0]);
    drop(held);
    // A process that was forked has the same descriptors, and other containers.
    template.prepare_networks(1).unwrap();
    let prepared = networks();
    let found = t.dir.join("found");
    let child = process::fork_to(|| fs::write(&found, network(&template, &ids[6])).unwrap());
    t.wait_gone(child);
    assert_ne!(fs::read_to_string(&found).unwrap(), prepared[0]);
    assert_eq!(network(&template, &ids[7]), prepared[0]);
    template.prepare_networks(2).unwrap();
    drop(template);
    assert!(networks().is_empty());
    end(t, &ids);
}

#[case(needs(Host))]
fn threads_share_prepared_network_namespaces(t: &Sandbox) {
    let c = t.container("a");
    let template = template(&c);
    let ids: Vec<_> = (0..12).map(|n| id(t, &format!("c{n}"))).collect();
    let got: Vec<String> = std::thread::scope(|scope| {
        let template = &template;
        scope.spawn(|| (0..20).for_each(|_| template.prepare_networks(2).unwrap()));
        let threads = ids.chunks(4).map(|ids| {
            let one = |id| network(template, id);
            scope.spawn(move || ids.iter().map(one).collect::<Vec<_>>())
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(set_of(&got).len(), 12, "{got:?}");
    assert!(networks().len() <= 2);
    end(t, &ids);
}

#[case(needs(Host))]
fn a_network_namespace_that_no_container_could_use_is_refused(t: &Sandbox) {
    for name in ["shared", "joined", "mapped"] {
        let c = t.container(name);
        match name {
            "shared" => c.share("network"),
            "joined" => c.join("network", "/proc/self/ns/net"),
            _ => c.map_users(100_000, 65_536),
        };
        let error = template(&c).prepare_networks(1).unwrap_err();
        assert_eq!((error.kind(), error.field()), (Kind::Unsupported, Some("/linux/namespaces")), "{error}");
        assert!(networks().is_empty());
    }
}

/// With cgroup v2 alone, in the mount namespace of the case.
fn v2_alone() {
    use nix::mount::{MntFlags, MsFlags, mount, umount2};
    if PathBuf::from("/sys/fs/cgroup/unified").is_dir() {
        umount2("/sys/fs/cgroup/unified", MntFlags::MNT_DETACH).unwrap();
    }
    mount(Some("cgroup2"), "/sys/fs/cgroup", Some("cgroup2"), MsFlags::empty(), None::<&str>).unwrap();
}

/// The device filter of cgroup v2 is loaded once, and each container has it.
#[case(needs(Host))]
fn containers_have_the_device_filter_that_was_loaded_once(t: &Sandbox) {
    v2_alone();
    let held = || {
        let links =
            fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
        links.filter(|to| to.to_string_lossy().contains("bpf-prog")).count()
    };
    let c = t.container("a");
    // The nodes are there already; what may be done with them is the filter's to say.
    for (name, minor) in [("null", 3), ("kmsg", 11)] {
        let node = c.rootfs().join("mnt").join(name);
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o666);
        nix::sys::stat::mknod(&node, nix::sys::stat::SFlag::S_IFCHR, mode, nix::sys::stat::makedev(1, minor)).unwrap();
    }
    let template = template(&c);
    assert_eq!(held(), 0);
    for name in ["b", "c", "d"] {
        let script = "for node in null kmsg; do if (: < /mnt/$node) 2> /dev/null; then echo $node; fi; done";
        assert_eq!(spawned(&template, &id(t, name), own(&["sh", "-c", script])).unwrap().0, "null\n");
        assert_eq!(held(), 1);
    }
    drop(template);
    assert_eq!(held(), 0);
}

/// A wrong bundle is found when the template is made, and is what `run` says of it.
#[case]
fn errors_are_those_of_run(t: &Sandbox) {
    let c = t.container("a");
    let id = id(t, "b");
    for (pointer, value) in [
        ("/process/cwd", json!("relative")),
        ("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_NOTHING"})),
        ("/mounts/0/destination", json!(7)),
    ] {
        let c = t.container(&format!("wrong{}", pointer.replace('/', "-")));
        c.set(pointer, value).write();
        let by_run = container(t, &id).run(CreateOptions::new(&c.bundle)).unwrap_err();
        let error = Template::new(runtime(t), TemplateOptions::new(&c.bundle)).unwrap_err();
        assert_eq!((error.to_string(), error.kind()), (by_run.to_string(), by_run.kind()), "{pointer}");
    }
    let by_run = container(t, &id).run(CreateOptions::new("/no/such/bundle")).unwrap_err();
    let error = Template::new(runtime(t), TemplateOptions::new("/no/such/bundle")).unwrap_err();
    assert_eq!(error.to_string(), by_run.to_string());
    // A warning of the config's is told of each container.
    let template = template(c.set("/unknown", json!(1)));
    for name in ["c", "d"] {
        let process = template.spawn(&self::id(t, name), own(&["true"])).unwrap();
        let warnings: Vec<_> = process.report().warnings().iter().map(ToString::to_string).collect();
        assert!(warnings.iter().any(|warning| warning == "unknown field /unknown"), "{warnings:?}");
        process.wait().unwrap();
        drop(container(t, &self::id(t, name)).delete(&DeleteOptions::default()).unwrap());
    }
}

/// The program that every container begins with is one file: whoever can trace an init can have it, and nothing that is done to it reaches
/// another container.
#[case]
fn nothing_that_is_done_to_the_kept_program_reaches_a_container(t: &Sandbox) {
    let c = t.container("a");
    let template = template(&c);
    let links = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    let kept: Vec<PathBuf> = links
        .filter(|fd| fs::read_link(fd).is_ok_and(|to| to.to_string_lossy().starts_with("/memfd:orlop-init")))
        .collect();
    let [kept] = &kept[..] else { panic!("{kept:?}") };
    assert_eq!(fs::write(kept, "x").unwrap_err().raw_os_error(), Some(nix::libc::EPERM), "its content is sealed");
    // Open for writing, a program cannot be executed.
    let open = File::options().write(true).open(kept).unwrap();
    assert_eq!(spawned(&template, &id(t, "b"), own(&["true"])).unwrap().1, Exit::Code(0));
    drop(open);
    let mode = fs::metadata(kept).unwrap().mode();
    fs::set_permissions(kept, Permissions::from_mode(0o000)).unwrap();
    assert_eq!(spawned(&template, &id(t, "b"), own(&["true"])).unwrap().1, Exit::Code(0));
    fs::set_permissions(kept, Permissions::from_mode(mode)).unwrap();
    assert_eq!(spawned(&template, &id(t, "b"), own(&["true"])).unwrap().1, Exit::Code(0));
}

/// A program that is killed while it makes containers leaves what `delete` takes away.
#[case(seconds(300))]
fn one_whose_owner_is_killed_leaves_what_can_be_deleted(t: &Sandbox) {
    let c = t.container("a");
    let template = template(&c);
    for round in 0..40u32 {
        let id = id(t, &format!("killed-{round}"));
        let owner = process::fork_to(|| {
            if round % 2 == 0 {
                template.prepare_networks(1).unwrap();
            }
            drop(template.spawn(&id, own(&["/probe", "pause"])));
        });
        std::thread::sleep(Duration::from_micros(u64::from(round) * 100));
        process::kill_hard(owner);
        t.wait_gone(owner);
        // One that has come no further than its claim has no state, and is nothing yet.
        match container(t, &id).delete(&DeleteOptions::default().force(true)) {
            Ok(_) => {}
            Err(error) if error.kind() == Kind::NotFound => {}
            Err(error) => panic!("{round}: {error}"),
        }
        process::reap_orphans();
        assert!(!t.root.join(id.as_str()).exists(), "{round}");
        assert_eq!(t.cgroups_of(id.as_str()), [] as [PathBuf; 0], "{round}");
    }
    drop(orlop::gc(&runtime(t), &orlop::GcOptions::default()).unwrap());
}

/// Victims of a template come into the neighbour's pid namespace.
fn beside_a_neighbour(t: &Sandbox, who: Who, allowed: Allowed) {
    let total: Option<usize> = std::env::var("ORLOP_NEIGHBOUR_TOTAL").ok().and_then(|text| text.parse().ok());
    let mut set = Set::new(format!("template, shared pid namespace, {}", who.name), allowed);
    let a = neighbour(t, &format!("a-{}", who.file()), who);
    a.run_detached().ok();
    wait_ready(t, &a);
    let b = victim(t, &format!("b-{}", who.file()));
    b.join("pid", &format!("/proc/{}/ns/pid", a.pid()));
    let template = template(&b);
    for round in 0..total.map_or(50, |total| total / 3) {
        let name = format!("v-{round}");
        if round % 2 == 0 {
            template.prepare_networks(1).unwrap();
        }
        if round % 4 == 2 {
            let id = id(t, &name);
            let process = template.create(&id, SpawnOptions::default()).unwrap();
            std::thread::sleep(Duration::from_millis(5));
            container(t, &id).start(&StartOptions::default()).unwrap();
            assert_eq!(process.wait().unwrap(), Exit::Code(0));
            drop(container(t, &id).delete(&DeleteOptions::default()).unwrap());
        } else {
            assert_eq!(spawned(&template, &id(t, &name), SpawnOptions::default()).unwrap().1, Exit::Code(0));
        }
        set.creates += 1;
    }
    judge(t, &a, &set);
    a.delete_force().ok();
}

#[case(seconds(3600))]
fn neighbours_find_nothing_of_it(t: &Sandbox) {
    beside_a_neighbour(t, PLAIN, Allowed::Nothing);
    beside_a_neighbour(t, DOCKERS, Allowed::Nothing);
    beside_a_neighbour(t, TRACER, Allowed::Tracing);
}
