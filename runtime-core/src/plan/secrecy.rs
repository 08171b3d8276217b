//! One invariant, checked on every kind of plan: what can be seen from inside a container cannot be traced by its neighbours there, leads
//! to nothing of the host, and has no more rights than its command.

use orlop_init::wire::{Op, Slot};

use super::program::Program;
use super::{
    ExecPlan, Host, Plan, PlanOptions, ServerOf, own_server_fits, plan, plan_exec, plan_exec_server, plan_hook,
    plan_served,
};
use crate::config::{self, Config, Hook};

const BUNDLE: &str = "/bundle";

fn options(host: Host, waits: bool) -> PlanOptions<'static> {
    PlanOptions { waits_for_start: waits, ..PlanOptions::entering(std::path::Path::new(BUNDLE), host) }
}

/// A config with these namespaces (`kind`, or `kind=path`), and everything that needs the host's /proc.
fn config_text(namespaces: &[&str], terminal: bool, no_new_privileges: bool) -> String {
    let namespaces: Vec<_> = namespaces
        .iter()
        .map(|namespace| match namespace.split_once('=') {
            Some((kind, path)) => serde_json::json!({"type": kind, "path": path}),
            None => serde_json::json!({"type": namespace}),
        })
        .collect();
    let user = namespaces.iter().any(|one| one["type"] == "user" && one.get("path").is_none());
    let maps = if user {
        serde_json::json!([{"containerID": 0, "hostID": 100_000, "size": 65536}])
    } else {
        serde_json::json!([])
    };
    serde_json::json!({
        "ociVersion": "1.3.0",
        "root": {"path": "rootfs"},
        "process": {
            "args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "terminal": terminal,
            "oomScoreAdj": 100, "noNewPrivileges": no_new_privileges, "selinuxLabel": "a:b:c:s0", "apparmorProfile": "p",
            "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
        },
        "hooks": {"createContainer": [{"path": "/bin/true"}]},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "linux": {
            "namespaces": namespaces, "uidMappings": maps, "gidMappings": maps,
            "sysctl": {"net.ipv4.ip_forward": "1"},
        },
    })
    .to_string()
}

fn profile(text: &str) -> orlop_seccomp::Filter {
    let profile: orlop_seccomp::Profile<'_> = serde_json::from_str(text).unwrap();
    orlop_seccomp::compile(&profile, &orlop_seccomp::Options::default()).unwrap()
}

/// The descriptors that an operation uses.
fn slots(op: &Op) -> Vec<Slot> {
    match op {
        Op::Setns { fd, .. } | Op::OpenForeignProcfs { namespace: fd, .. } => vec![*fd],
        Op::TimeOffsets { proc, .. } | Op::WriteProc { proc, .. } => vec![*proc],
        Op::Rootfs { tree, .. } | Op::Bind { tree, .. } => vec![*tree],
        Op::Mask { null, .. } => vec![*null],
        Op::EnterRoot { dir } => vec![*dir],
        Op::Console { socket, .. } => vec![*socket],
        _ => Vec::new(),
    }
}

fn position(plan: &Plan, wanted: impl Fn(&Op) -> bool) -> Option<usize> {
    plan.program.ops.iter().position(|record| wanted(&record.op))
}

fn check(name: &str, plan: &Plan, joins_pid: bool, hides_late: bool, is_hook: bool) {
    let hidden = position(plan, |op| matches!(op, Op::NotDumpable)).unwrap_or_else(|| panic!("{name}: can be traced"));
    let entered = position(plan, |op| matches!(op, Op::Setns { .. } | Op::Fork { .. } | Op::BecomeRoot { .. }));
    if let (Some(entered), false) = (entered, hides_late) {
        assert!(hidden < entered, "{name}: enters a namespace before it is hidden");
    }
    let closed = position(plan, |op| matches!(op, Op::CloseReceived { .. }))
        .unwrap_or_else(|| panic!("{name}: keeps descriptors"));
    assert!(hidden < closed, "{name}");
    for record in plan.program.ops.iter().skip(closed + 1) {
        assert_eq!(slots(&record.op), [], "{name}: {:?} after all was closed", record.op);
        assert!(!matches!(record.op, Op::Setns { .. } | Op::Unshare { .. }), "{name}: {:?}", record.op);
    }
    let forks: Vec<usize> = plan
        .program
        .ops
        .iter()
        .enumerate()
        .filter(|(_, record)| matches!(record.op, Op::Fork { flags: 0 }))
        .map(|(at, _)| at)
        .collect();
    // A joined pid namespace, and so its other processes, see only what was forked into it.
    assert_eq!(forks.len(), usize::from(joins_pid), "{name}");
    if let [fork] = forks.as_slice() {
        assert!(*fork > closed, "{name}: shows others what leads to the host");
        if !is_hook {
            let rights = position(plan, |op| matches!(op, Op::Capabilities { .. })).unwrap();
            assert!(rights < *fork, "{name}: shows others more rights than its command's");
        }
    }
}

const NAMESPACES: &[&[&str]] = &[
    &["pid", "mount", "network", "ipc", "uts"],
    &["pid=/proc/1/ns/pid", "mount", "network", "ipc", "uts"],
    &["pid=/proc/1/ns/pid", "mount", "network=/n", "ipc=/i", "uts=/u"],
    &["mount", "network", "ipc"],
    &["user", "pid", "mount", "network", "ipc", "uts"],
    &["user", "pid=/proc/1/ns/pid", "mount", "network", "ipc", "uts"],
    &["user=/u", "pid", "mount", "network", "ipc", "uts"],
    &["user=/u", "pid=/proc/1/ns/pid", "mount", "network=/n", "ipc", "uts", "time"],
    &["pid", "mount", "network", "ipc", "uts", "time", "cgroup"],
];

fn each_config(test: impl Fn(&str, &Config<'_>, Host, &[&str])) {
    for namespaces in NAMESPACES {
        for (rootless, terminal, nnp) in
            [(false, false, false), (false, true, true), (true, false, true), (true, true, false)]
        {
            let text = config_text(namespaces, terminal, nnp);
            let config = config::load(text.as_bytes()).unwrap();
            let host =
                Host { rootless, initial_user_namespace: true, apparmor: true, selinux: true, ..Host::default() };
            test(
                &format!("{namespaces:?} rootless {rootless} terminal {terminal} nnp {nnp}"),
                &config,
                host,
                namespaces,
            );
        }
    }
}

#[test]
fn nothing_of_the_host_is_seen_from_a_container_that_is_made() {
    let open = profile(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#);
    each_config(|name, config, host, namespaces| {
        for waits in [false, true] {
            let made = plan(config, &options(host, waits), Some(&open)).unwrap();
            let user = namespaces.iter().any(|one| one.starts_with("user"));
            check(name, &made, namespaces.contains(&"pid=/proc/1/ns/pid"), host.rootless && user, false);
        }
    });
}

#[test]
fn nothing_of_the_host_is_seen_from_a_container_that_is_entered() {
    each_config(|name, config, host, namespaces| {
        let process = config.process.as_ref().unwrap();
        let pid = namespaces.iter().any(|one| one.starts_with("pid"));
        let options = options(host, false);
        let exec = ExecPlan { config, options: &options, process, filter: None, hook: None };
        check(name, &plan_exec(&exec).unwrap(), pid, false, false);
        let hook: Hook<'_> = serde_json::from_str(r#"{"path": "/bin/true"}"#).unwrap();
        let exec = ExecPlan { hook: Some(&hook), ..exec };
        check(&format!("startContainer {name}"), &plan_exec(&exec).unwrap(), pid, false, false);
        check(&format!("createContainer {name}"), &plan_hook(config, &hook, None, host), pid, false, true);
    });
}

/// A server is never in the pid namespace, where others could see what it holds; its commands are what those of an exec are.
#[test]
fn nothing_of_the_host_is_seen_from_a_container_with_an_exec_server() {
    const NEWPID: u32 = 0x2000_0000;
    each_config(|name, config, host, namespaces| {
        let mut process = config.process.clone().unwrap();
        process.terminal = false;
        let pid = namespaces.iter().any(|one| one.starts_with("pid"));
        let options = options(host, false);
        let exec = ExecPlan { config, options: &options, process: &process, filter: None, hook: None };
        let server = plan_exec_server(&exec, ServerOf::All).unwrap();
        assert_eq!(
            position(&server, |op| matches!(op, Op::Setns { flags, .. } if flags & NEWPID != 0)),
            None,
            "{name}"
        );
        check(&format!("server {name}"), &server, false, false, true);
        assert!(matches!(server.program.ops.last().unwrap().op, Op::Serve { .. }), "{name}");
        check(&format!("served {name}"), &plan_served(&exec, &process, ServerOf::All).unwrap(), pid, false, false);
    });
}

/// A server with the identity of its commands holds nothing of the host and has no more rights than they, since those are in the pid
/// namespace from their first instruction; and no command of it needs more.
#[test]
fn what_is_born_in_the_pid_namespace_holds_nothing_of_the_host() {
    let fitting = std::cell::Cell::new(0);
    each_config(|name, config, host, _| {
        let mut process = config.process.clone().unwrap();
        process.terminal = false;
        if !own_server_fits(config, &process, false) {
            return;
        }
        fitting.set(fitting.get() + 1);
        let options = options(host, false);
        let exec = ExecPlan { config, options: &options, process: &process, filter: None, hook: None };
        let server = plan_exec_server(&exec, ServerOf::Own).unwrap();
        check(&format!("own server {name}"), &server, false, false, true);
        let closed = position(&server, |op| matches!(op, Op::CloseReceived { .. })).unwrap();
        let at = |wanted: fn(&Op) -> bool| position(&server, wanted).is_some_and(|at| at < closed);
        assert!(at(|op| matches!(op, Op::Capabilities { .. })) && at(|op| matches!(op, Op::User { .. })), "{name}");
        let kept = server.program.ops.iter().flat_map(|record| match record.op {
            Op::CloseReceived { kept } => kept.to_vec(),
            _ => Vec::new(),
        });
        let kept: Vec<_> = kept.filter_map(|slot| server.resources.get(slot.0 as usize)).collect();
        assert_eq!(
            kept,
            [&super::Resource::InitPidfd],
            "{name}: of the container's own process nobody in there needs to be kept"
        );
        let served = plan_served(&exec, &process, ServerOf::Own).unwrap();
        assert!(served.resources.is_empty() && served.forks() == 0 && served.may_go_on(), "{name}");
        let needs_rights = |op: &Op| {
            matches!(
                op,
                Op::Setns { .. }
                    | Op::User { .. }
                    | Op::CapBounding { .. }
                    | Op::Rlimits { .. }
                    | Op::OwnStdio { must: 0, .. }
            )
        };
        assert_eq!(position(&served, needs_rights), None, "{name}");
    });
    assert!(fitting.get() > 0, "no config fits");
}

/// The operations that load a filter, set capabilities and wait, in order.
fn order(program: &Program) -> Vec<&'static str> {
    let word = |op: &Op| match op {
        Op::Seccomp { .. } => Some("filter"),
        Op::Capabilities { permitted, .. } if permitted & (1 << 21) != 0 => Some("capabilities with SYS_ADMIN"),
        Op::Capabilities { .. } => Some("capabilities"),
        Op::WaitStart { .. } => Some("start"),
        Op::Execute => Some("execute"),
        _ => None,
    };
    program.ops.iter().filter_map(|record| word(&record.op)).collect()
}

#[test]
fn the_right_to_load_a_filter_is_not_kept_where_the_filter_can_come_first() {
    let open = profile(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#);
    let closed = profile(
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["execve"], "action": "SCMP_ACT_ALLOW"}]}"#,
    );
    let told = profile(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/s", "syscalls": [{"names": ["getcwd"], "action": "SCMP_ACT_NOTIFY"}]}"#,
    );
    for (filter, nnp, expected) in [
        (&open, false, &["filter", "capabilities", "start", "execute"][..]),
        (&open, true, &["capabilities", "start", "filter", "execute"]),
        (&closed, false, &["capabilities with SYS_ADMIN", "start", "filter", "execute"]),
        (&told, false, &["capabilities with SYS_ADMIN", "filter", "capabilities", "start", "execute"]),
        (&told, true, &["capabilities", "filter", "start", "execute"]),
    ] {
        let text = config_text(&["pid", "mount"], false, nnp);
        let config = config::load(text.as_bytes()).unwrap();
        let host = Host { apparmor: true, selinux: true, ..Host::default() };
        let made = plan(&config, &options(host, true), Some(filter)).unwrap();
        assert_eq!(order(&made.program), expected, "nnp {nnp}");
    }
}
