//! A bundle and the container made from it, through the runtime's command line.

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::{Cmd, Need, Output, Sandbox, spec};

/// One bundle with one id.
#[derive(Debug)]
pub struct Container<'a> {
    /// Whose it is.
    pub sandbox: &'a Sandbox,
    /// The container id.
    pub id: String,
    /// The bundle's directory.
    pub bundle: PathBuf,
    spec: RefCell<Value>,
}

impl<'a> Container<'a> {
    /// See [`Sandbox::container`].
    pub(crate) fn new(sandbox: &'a Sandbox, name: &str) -> Self {
        let id = sandbox.id(name);
        let bundle = sandbox.dir.join(format!("bundle-{name}"));
        fs::create_dir(&bundle).expect("bundle");
        sandbox.fill_rootfs(&bundle.join("rootfs"));
        let mut spec = spec::default(&["/bin/true"], &id);
        sandbox.world.adapt(&mut spec);
        Self { sandbox, id, bundle, spec: RefCell::new(spec) }
    }

    /// The root file system's directory.
    #[must_use]
    pub fn rootfs(&self) -> PathBuf {
        self.bundle.join("rootfs")
    }

    /// Sets the command.
    pub fn args(&self, args: &[&str]) -> &Self {
        self.set("/process/args", json!(args))
    }

    /// Has a shell run `script`.
    pub fn sh(&self, script: &str) -> &Self {
        self.args(&["/bin/sh", "-c", script])
    }

    /// Puts `value` at a JSON pointer of the config.
    pub fn set(&self, pointer: &str, value: Value) -> &Self {
        spec::set(&mut self.spec.borrow_mut(), pointer, value);
        self
    }

    /// Appends to the list at a JSON pointer of the config.
    pub fn push(&self, pointer: &str, value: Value) -> &Self {
        self.set(&format!("{pointer}/-"), value)
    }

    /// Takes a value out of the config.
    pub fn remove(&self, pointer: &str) -> &Self {
        spec::remove(&mut self.spec.borrow_mut(), pointer);
        self
    }

    /// Reads the config.
    pub fn config<R>(&self, read: impl FnOnce(&Value) -> R) -> R {
        read(&self.spec.borrow())
    }

    /// Changes the config freely.
    pub fn edit(&self, change: impl FnOnce(&mut Value)) -> &Self {
        change(&mut self.spec.borrow_mut());
        self
    }

    /// Adds a mount.
    pub fn mount(&self, kind: &str, source: &str, destination: &str, options: &[&str]) -> &Self {
        self.push("/mounts", json!({ "type": kind, "source": source, "destination": destination, "options": options }))
    }

    /// Gives it a namespace of this type of its own.
    pub fn namespace(&self, kind: &str) -> &Self {
        self.push("/linux/namespaces", json!({ "type": kind }))
    }

    /// Takes a namespace type away, so that the caller's is shared.
    pub fn share(&self, kind: &str) -> &Self {
        self.edit(|spec| {
            spec["linux"]["namespaces"].as_array_mut().expect("namespaces").retain(|entry| entry["type"] != kind);
        })
    }

    /// Joins the namespace at `path`.
    pub fn join(&self, kind: &str, path: &str) -> &Self {
        self.share(kind).push("/linux/namespaces", json!({ "type": kind, "path": path }))
    }

    /// A user namespace that maps `size` ids to the host's from `host` on; the root file system becomes theirs.
    pub fn map_users(&self, host: u32, size: u32) -> &Self {
        let map = json!([{ "containerID": 0, "hostID": host, "size": size }]);
        self.namespace("user").set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
        self.give_rootfs_to(host)
    }

    /// Changes the owner of the root file system, links not followed, shared files left as they are.
    pub fn give_rootfs_to(&self, owner: u32) -> &Self {
        fn walk(dir: &std::path::Path, owner: u32) {
            std::os::unix::fs::lchown(dir, Some(owner), Some(owner)).expect("chown");
            for entry in fs::read_dir(dir).expect("directory").flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    walk(&entry.path(), owner);
                }
            }
        }
        walk(&self.rootfs(), owner);
        self
    }

    /// Writes config.json as it stands.
    pub fn write(&self) -> &Self {
        let text = serde_json::to_vec_pretty(&*self.spec.borrow()).expect("JSON");
        fs::write(self.bundle.join("config.json"), text).expect("config.json");
        self
    }

    fn bundle_text(&self) -> String {
        self.bundle.display().to_string()
    }

    /// `run [FLAGS] --bundle B ID`, not yet started.
    pub fn run_cmd(&self, flags: &[&str]) -> Cmd {
        self.verb("run", flags)
    }

    /// `create [FLAGS] --bundle B ID`, not yet started.
    pub fn create_cmd(&self, flags: &[&str]) -> Cmd {
        self.verb("create", flags)
    }

    fn verb(&self, verb: &str, flags: &[&str]) -> Cmd {
        self.sandbox.need_of_caller(Need::Containers);
        self.write();
        let bundle = self.bundle_text();
        let mut words = vec![verb];
        words.extend_from_slice(flags);
        words.extend_from_slice(&["--bundle", &bundle, &self.id]);
        self.sandbox.logged(&words)
    }

    /// Runs it in the foreground.
    pub fn run(&self) -> Output {
        self.run_cmd(&[]).run()
    }

    /// Runs it detached.
    pub fn run_detached(&self) -> Output {
        self.run_cmd(&["--detach"]).run()
    }

    /// Runs the probe in it and gives what the probe found.
    #[track_caller]
    pub fn facts(&self) -> Value {
        self.args(&["/probe", "facts"]).run().ok().json()
    }

    /// `create`.
    pub fn create(&self) -> Output {
        self.create_cmd(&[]).run()
    }

    /// A verb that takes only flags and the id, then more words.
    pub fn simple(&self, verb: &str, flags: &[&str], rest: &[&str]) -> Output {
        self.simple_cmd(verb, flags, rest).run()
    }

    /// The same, not yet started.
    pub fn simple_cmd(&self, verb: &str, flags: &[&str], rest: &[&str]) -> Cmd {
        let mut words = vec![verb];
        words.extend_from_slice(flags);
        words.push(&self.id);
        words.extend_from_slice(rest);
        self.sandbox.logged(&words)
    }

    /// `start`.
    pub fn start(&self) -> Output {
        self.simple("start", &[], &[])
    }

    /// `kill ID SIGNAL`.
    pub fn kill(&self, signal: &str) -> Output {
        self.simple("kill", &[], &[signal])
    }

    /// `delete`.
    pub fn delete(&self) -> Output {
        self.simple("delete", &[], &[])
    }

    /// `delete --force`.
    pub fn delete_force(&self) -> Output {
        self.simple("delete", &["--force"], &[])
    }

    /// `exec [FLAGS] ID COMMAND…`.
    pub fn exec(&self, flags: &[&str], command: &[&str]) -> Output {
        self.simple("exec", flags, command)
    }

    /// Runs the probe by `exec` and gives what it found.
    #[track_caller]
    pub fn exec_facts(&self, flags: &[&str]) -> Value {
        self.exec(flags, &["/probe", "facts"]).ok().json()
    }

    /// What `state` prints.
    #[track_caller]
    pub fn state(&self) -> Value {
        self.simple("state", &[], &[]).ok().json()
    }

    /// The status word of `state`.
    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().expect("status").to_owned()
    }

    /// The host's pid of its first process.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.state()["pid"].as_i64().expect("pid")).expect("a pid")
    }

    /// Runs a command that lasts, detached, and gives its pid.
    #[track_caller]
    pub fn run_paused(&self) -> i32 {
        self.args(&["/probe", "pause"]);
        self.run_detached().ok();
        self.pid()
    }

    /// Kills it with SIGKILL, waits for its end and deletes it.
    #[track_caller]
    pub fn end(&self) {
        let pid = self.pid();
        self.kill("KILL").ok();
        self.sandbox.wait_gone(pid);
        self.delete().ok();
    }
}
