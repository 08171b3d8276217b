use std::os::fd::AsFd as _;

use orlop_cgroups::Record;

use super::*;
use crate::base::HostPid;
use crate::config;
use crate::parent::verify::facts::{self, Mounted};
use crate::parent::verify::inside::Place;
use crate::plan::{Host, HostWrite};

const CONFIG: &str = r#"{"ociVersion": "1.2.0", "root": {"path": "rootfs", "readonly": true}, "hostname": "h",
    "domainname": "d",
    "process": {"args": ["x"], "cwd": "/work", "user": {"uid": 5, "gid": 6, "umask": 63, "additionalGids": [7]},
        "noNewPrivileges": true, "oomScoreAdj": 10, "apparmorProfile": "p", "selinuxLabel": "l",
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}],
        "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "inheritable": ["CAP_KILL"],
            "permitted": ["CAP_KILL"], "ambient": ["CAP_KILL"]}},
    "mounts": [{"destination": "/data", "type": "tmpfs", "source": "x", "options": ["nosuid", "ro", "private"]}],
    "linux": {"namespaces": [{"type": "mount"}, {"type": "user"}, {"type": "network", "path": "/n"}],
        "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 100}],
        "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 100}],
        "rootfsPropagation": "slave", "sysctl": {"net.x": "1 2"}, "maskedPaths": ["/m"], "readonlyPaths": ["/r"],
        "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}}"#;

fn mounted(number: u64, filesystem: &str, options: &str) -> Mounted {
    let line = format!("{number} 1 0:1 / /x {options} - {filesystem} none rw");
    facts::mounted(&line).unwrap()
}

/// Facts that keep every promise.
fn good() -> Facts {
    let map = IdMapping { container_id: 0, host_id: 1000, size: 100 };
    let place = |mount, is_root| Ok(Place { mount, is_root, mode: 0o040_755, device: (0, 0), inode: mount });
    let own = |inode| Namespace { init: Some(inode), own: Some(inode), joined: None };
    let mut namespaces: std::collections::BTreeMap<_, _> = KINDS.map(|kind| (kind.name(), own(kind.number()))).into();
    for kind in ["mount", "user"] {
        namespaces.insert(kind, Namespace { init: Some(1), own: Some(2), joined: None });
    }
    namespaces.insert("network", Namespace { init: Some(3), own: Some(4), joined: Some(3) });
    Facts {
        namespaces,
        status: facts::status(
            "Uid:\t1005\t1005\t1005\t1005\nGid:\t1006\t1006\t1006\t1006\nGroups:\t1007 \nUmask:\t0077\nNoNewPrivs:\t1\n\
             CapInh:\t20\nCapPrm:\t20\nCapEff:\t20\nCapBnd:\t20\nCapAmb:\t20\nSeccomp:\t2\nSeccomp_filters:\t2\n",
        ),
        own_filters: 1,
        limits: facts::limits("Max open files            10                   20                   files     \n"),
        oom_score_adj: Some(10),
        maps: [vec![map], vec![map]],
        apparmor: Some("p (enforce)".into()),
        selinux: Some("l".into()),
        parameters: [("/hostname", "h"), ("/domainname", "d"), ("/linux/sysctl/net.x", "1\t2")]
            .map(|(field, value)| (field.to_owned(), Ok(value.to_owned())))
            .into(),
        mounts: vec![
            mounted(1, "ext4", "ro,relatime master:1"),
            mounted(2, "tmpfs", "ro,nosuid"),
            mounted(3, "tmpfs", "ro"),
            mounted(4, "proc", "ro"),
        ],
        places: [
            ("/root", place(1, true)),
            ("/mounts/0", place(2, true)),
            ("/linux/maskedPaths/0", place(3, true)),
            ("/linux/readonlyPaths/0", place(4, false)),
            ("/process/cwd", place(1, false)),
            ("cwd", place(1, false)),
        ]
        .map(|(field, place)| (field.to_owned(), place))
        .into(),
        cgroups: vec![("memory".into(), "/c".into()), (String::new(), "/c".into())],
        members: crate::parent::verify::subject::directories(&record()).map(|(_, path)| path).collect(),
        values: [("/cg/memory/c/memory.limit_in_bytes".to_owned(), Ok("8192".to_owned()))].into(),
    }
}

fn record() -> Record {
    let mut record = Record::default();
    record.paths.v1.insert("memory".into(), "/cg/memory/c".into());
    record.paths.unified = Some("/cg/unified/c".into());
    record
}

fn fields(facts: &Facts) -> Vec<String> {
    fields_of(CONFIG, facts)
}

fn fields_of(config: &str, facts: &Facts) -> Vec<String> {
    let config = config::load(config.as_bytes()).unwrap();
    let own = std::fs::File::open("/dev/null").unwrap();
    let record = record();
    let writes = [HostWrite {
        file: "memory.limit_in_bytes".into(),
        value: "10000".into(),
        field: "/linux/resources/memory/limit".into(),
    }];
    let subject = Subject {
        config: &config,
        host: Host::default(),
        pid: HostPid::new(1).unwrap(),
        pidfd: own.as_fd(),
        rootfs: "/b/rootfs",
        sets_groups: true,
        filter_is_loaded: true,
        cgroup: Some((&record, &writes)),
    };
    differences(&subject, facts).into_iter().map(|difference| difference.field).collect()
}

#[test]
fn kept_promises_are_no_differences() {
    assert_eq!(fields(&good()), [""; 0]);
}

/// Every field, and a fact that breaks its promise.
#[test]
fn each_broken_promise_is_named_by_its_field() {
    fn status(facts: &mut Facts, line: &str, value: &str) {
        assert!(facts.status.insert(line.to_owned(), value.to_owned()).is_some());
    }
    fn options(facts: &mut Facts, index: usize, options: &str) {
        facts.mounts[index].options = options.split(',').map(str::to_owned).collect();
    }
    type Break = fn(&mut Facts);
    let table: &[(&str, Break)] = &[
        ("/linux/namespaces/0", |f| {
            f.namespaces.insert("mount", Namespace { init: Some(2), own: Some(2), joined: None });
        }),
        ("/linux/namespaces/2", |f| {
            f.namespaces.insert("network", Namespace { init: Some(9), own: Some(4), joined: Some(3) });
        }),
        ("/linux/namespaces", |f| {
            f.namespaces.insert("pid", Namespace { init: Some(9), own: Some(4), joined: None });
        }),
        ("/linux/uidMappings", |f| f.maps[0][0].size = 101),
        ("/linux/gidMappings", |f| f.maps[1][0].size = 102),
        ("/process/user/uid", |f| status(f, "Uid", "1005 1005 1000 1005")),
        ("/process/user/gid", |f| status(f, "Gid", "0 0 0 0")),
        ("/process/user/additionalGids", |f| status(f, "Groups", "1007 1008")),
        ("/process/user/umask", |f| status(f, "Umask", "0022")),
        ("/process/capabilities/bounding", |f| status(f, "CapBnd", "21")),
        ("/process/capabilities/effective", |f| status(f, "CapEff", "200020")),
        ("/process/capabilities/inheritable", |f| status(f, "CapInh", "0")),
        ("/process/capabilities/permitted", |f| status(f, "CapPrm", "1ffffffffff")),
        ("/process/capabilities/ambient", |f| status(f, "CapAmb", "0")),
        ("/process/noNewPrivileges", |f| status(f, "NoNewPrivs", "0")),
        ("/process/oomScoreAdj", |f| f.oom_score_adj = Some(0)),
        ("/process/rlimits/0", |f| _ = f.limits.insert(7, (10, 21))),
        ("/process/cwd", |f| f.places.get_mut("cwd").unwrap().as_mut().unwrap().inode = 99),
        ("/process/apparmorProfile", |f| f.apparmor = Some("unconfined".into())),
        ("/process/selinuxLabel", |f| f.selinux = None),
        ("/linux/seccomp", |f| status(f, "Seccomp_filters", "1")),
        ("/linux/seccomp", |f| status(f, "Seccomp", "0")),
        ("/hostname", |f| drop(f.parameters.insert("/hostname".into(), Ok("other".into())))),
        ("/domainname", |f| drop(f.parameters.remove("/domainname"))),
        ("/linux/sysctl/net.x", |f| drop(f.parameters.insert("/linux/sysctl/net.x".into(), Ok("1 3".into())))),
        ("/root/readonly", |f| options(f, 0, "rw")),
        ("/linux/rootfsPropagation", |f| f.mounts[0].propagation = vec!["shared:1".into()]),
        ("/mounts/0", |f| f.places.get_mut("/mounts/0").unwrap().as_mut().unwrap().is_root = false),
        ("/mounts/0/type", |f| f.mounts[1].filesystem = "ramfs".into()),
        ("/mounts/0/options", |f| options(f, 1, "ro")),
        ("/mounts/0/options", |f| options(f, 1, "rw,nosuid")),
        ("/mounts/0/options", |f| f.mounts[1].propagation = vec!["shared:2".into()]),
        ("/linux/maskedPaths/0", |f| options(f, 2, "rw")),
        ("/linux/readonlyPaths/0", |f| options(f, 3, "rw")),
        ("/linux/cgroupsPath", |f| drop(f.members.pop_first())),
        ("/linux/resources/memory/limit", |f| {
            f.values.values_mut().for_each(|value| *value = Ok("9223372036854771712".into()));
        }),
    ];
    for (field, break_it) in table {
        let mut facts = good();
        break_it(&mut facts);
        assert_eq!(fields(&facts), [*field]);
    }
}

/// A mount of which the config says nothing does not show on the host; below a shared root it does.
#[test]
fn nothing_is_shared_unasked() {
    let shared = |mount: usize| {
        let mut facts = good();
        facts.mounts[mount].propagation = vec!["shared:2".into()];
        facts
    };
    let unsaid = CONFIG.replace(", \"private\"", "").replace("\"rootfsPropagation\": \"slave\",", "");
    assert_eq!(fields_of(&unsaid, &shared(0)), ["/linux/rootfsPropagation"]);
    assert_eq!(fields_of(&unsaid, &shared(1)), ["/mounts/0/options"]);
    let below = CONFIG.replace(", \"private\"", "").replace("\"slave\"", "\"shared\"");
    let mut facts = shared(0);
    facts.mounts[1].propagation = vec!["shared:3".into()];
    assert_eq!(fields_of(&below, &facts), [""; 0]);
}

#[test]
fn what_is_not_there_needs_no_mask() {
    let mut facts = good();
    for field in ["/linux/maskedPaths/0", "/linux/readonlyPaths/0"] {
        facts.places.insert(field.into(), Err(nix::errno::Errno::ENOENT));
    }
    assert_eq!(fields(&facts), [""; 0]);
    facts.places.insert("/linux/maskedPaths/0".into(), Err(nix::errno::Errno::EACCES));
    assert_eq!(fields(&facts), ["/linux/maskedPaths/0"]);
}

#[test]
fn values_are_compared_as_the_kernel_rounds_them() {
    assert!(is_value("10000", "8192") && is_value("-1", "9223372036854771712") && is_value("max 100000", "max 100000"));
    assert!(!is_value("10000", "10001") && !is_value("5 6", "5") && !is_value("100", "max"));
}
