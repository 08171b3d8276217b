//! `orlop try`.

use std::ffi::OsStr;
use std::io::IsTerminal;
use std::path::Path;

use orlop::config::{DefaultConfig, default_config};
use serde_json::{Value, json};

use crate::copy_on_write::{self, ROOTFS};
use crate::failure::Failure;
use crate::parse::Args;
use crate::session::{Session, container_id};
use crate::table::command;
use crate::verbs::exec::words_of;
use crate::verbs::{launch, run};

command! {
    "try: [COMMAND...]
run a command in a container on a copy-on-write view of this machine's files
",
    "
The container sees this machine's root file system; what it writes is kept in memory and gone when it ends. It
has its own namespaces, no network, few capabilities and a system call filter. Works for root and for others.
Without a command, a shell is run.

$ orlop try
$ orlop try sh -c 'rm -rf /usr; ls /'
"
}

/// Calls that no ordinary program makes and that have been ways out of containers: they fail with EPERM.
const DENIED: &str = "acct add_key bpf clock_settime create_module delete_module finit_module fsconfig fsmount fsopen fspick \
                      init_module io_uring_enter io_uring_register io_uring_setup ioperm iopl kexec_file_load kexec_load keyctl \
                      lookup_dcookie mount mount_setattr move_mount move_pages name_to_handle_at nfsservctl open_by_handle_at \
                      open_tree perf_event_open pivot_root quotactl quotactl_fd reboot request_key setns settimeofday swapoff \
                      swapon umount umount2 userfaultfd vhangup";

pub(crate) fn run(session: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let command = command(args.operands()?)?;
    let id = container_id(format!("try-{}", std::process::id()).as_ref())?;
    let privileged = orlop::Rights::of_this_process().rules_the_host();
    let here = std::env::current_dir().unwrap_or_default();
    let (bundle, notes) = copy_on_write::bundle(&[&session.runtime.root, &here])?;
    for note in notes {
        session.debug(|| note);
    }
    let config = config(&command, std::io::stdin().is_terminal(), privileged)?;
    let path = bundle.join("config.json");
    std::fs::write(&path, config).map_err(|error| Failure::io(format_args!("write {}", path.display()), &error))?;
    // In the user namespace this process looks like root; that it is not must be said.
    let rootless = session.runtime.rootless.or((!privileged).then_some(true));
    let session = Session { runtime: session.runtime.clone().rootless(rootless), ..*session };
    run::attended(&session, &id, launch::inherited(bundle), false)
}

/// The command that was given, else the user's shell.
fn command(words: &[&OsStr]) -> Result<Vec<String>, Failure> {
    if words.is_empty() {
        let shell = std::env::var("SHELL").ok().filter(|shell| Path::new(shell).is_file());
        return Ok(vec![shell.unwrap_or_else(|| "/bin/sh".to_owned())]);
    }
    words_of(words)
}

/// The hardened default config, with this command on the view.
fn config(command: &[String], terminal: bool, privileged: bool) -> Result<String, Failure> {
    // For others than root: root of the user namespace that this process has made, in which it has one user and one group.
    let rootless = (!privileged).then_some((0, 0));
    let text = default_config(DefaultConfig { rootless, cgroup_namespace: privileged });
    let mut config: Value = serde_json::from_str(&text).map_err(|error| Failure::new(error.to_string()))?;
    let term = std::env::var("TERM").ok().filter(|_| terminal).unwrap_or_else(|| "dumb".to_owned());
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let denied: Vec<&str> = DENIED.split_whitespace().collect();
    for (place, value) in [
        ("/process/args", json!(command)),
        ("/process/terminal", json!(terminal)),
        ("/process/env", json!([path, format!("TERM={term}"), "HOME=/root"])),
        ("/root", json!({ "path": ROOTFS, "readonly": false })),
        ("/hostname", json!("try")),
    ] {
        match config.pointer_mut(place) {
            Some(old) => *old = value,
            None => return Err(Failure::new(format!("the default config has no {place}"))),
        }
    }
    if let (false, Some(Value::Array(mounts))) = (privileged, config.pointer_mut("/mounts")) {
        // There is no control group of its own to show.
        mounts.retain(|mount| mount.get("type") != Some(&json!("cgroup")));
    }
    if let Some(Value::Object(linux)) = config.pointer_mut("/linux") {
        let rule = json!({ "names": denied, "action": "SCMP_ACT_ERRNO" });
        linux.insert("seccomp".to_owned(), json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] }));
    }
    Ok(config.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_loads_and_says_what_was_asked() {
        for (terminal, privileged) in [(true, true), (false, false)] {
            let text = config(&["echo".to_owned(), "a\"b".to_owned()], terminal, privileged).unwrap();
            let config = orlop::config::load(text.as_bytes()).unwrap();
            let process = config.process.unwrap();
            assert_eq!(process.terminal, terminal);
            assert_eq!(process.args.last().unwrap().as_str(), "a\"b");
            assert!(!config.root.readonly && process.no_new_privileges);
            assert!(config.linux.unwrap().seccomp.is_some());
        }
    }
}
