//! What is decided on purpose: bad input, runc's reading of profiles, and where filters differ from libseccomp's.
#![allow(clippy::unwrap_used, reason = "a test")]
use orlop_seccomp::{
    Action, Arch, Call, Error, Filter, Flags, Kind, MAX_INSTRUCTIONS, Options, Profile, compile, trace,
};

fn options() -> Options {
    let mut options = Options::default();
    options.native = Some(Arch::X86_64);
    options
}

fn try_compile(json: &str) -> Result<Filter, Error> {
    let profile: Profile<'_> = serde_json::from_str(json).unwrap();
    compile(&profile, &options())
}

fn filter(json: &str) -> Filter {
    try_compile(json).unwrap()
}

fn verdict(filter: &Filter, arch: Arch, name: &str, arguments: &[u64]) -> Action {
    filter.verdict(&Call::named(arch, name, arguments).unwrap())
}

#[test]
fn bad_input_is_refused_by_rule_and_field() {
    use Kind::*;
    let good = r#"{"names": ["read"], "action": "SCMP_ACT_ALLOW"}"#;
    let rule = |rule: &str| format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{good}, {rule}]}}"#);
    let condition = |condition: &str| {
        rule(&format!(
            r#"{{"names": ["read"], "action": "SCMP_ACT_LOG", "args": [{{"index": 1, "value": 1, "op": "SCMP_CMP_EQ"}}, {condition}]}}"#
        ))
    };
    let cases = [
        (r#"{"defaultAction": "SCMP_ACT_FOO"}"#.to_owned(), UnknownAction, "/defaultAction", None),
        (format!(r#"{{"syscalls": [{good}]}}"#), UnknownAction, "/defaultAction", None),
        (r#"{"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}"#.to_owned(), BadErrno, "/defaultErrnoRet", None),
        (
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}"#.to_owned(),
            BadErrno,
            "/defaultErrnoRet",
            None,
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86", "x86"]}"#.to_owned(),
            UnknownArchitecture,
            "/architectures/1",
            None,
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "flags": ["SECCOMP_FILTER_FLAG_LOG", "LOG"]}"#.to_owned(),
            UnknownFlag,
            "/flags/1",
            None,
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}"#.to_owned(),
            UselessFlag,
            "/flags/0",
            None,
        ),
        (
            r#"{"defaultAction": "SCMP_ACT_ERRNO", "listenerMetadata": "x"}"#.to_owned(),
            MissingListener,
            "/listenerMetadata",
            None,
        ),
        (r#"{"defaultAction": "SCMP_ACT_NOTIFY"}"#.to_owned(), MissingListener, "/defaultAction", None),
        (rule(r#"{"names": ["read"], "action": "ALLOW"}"#), UnknownAction, "/syscalls/1/action", Some(1)),
        (rule(r#"{"names": ["read"]}"#), UnknownAction, "/syscalls/1/action", Some(1)),
        (
            rule(r#"{"names": ["read"], "action": "SCMP_ACT_KILL", "errnoRet": 1}"#),
            BadErrno,
            "/syscalls/1/errnoRet",
            Some(1),
        ),
        (rule(r#"{"names": ["read", ""], "action": "SCMP_ACT_KILL"}"#), MissingName, "/syscalls/1/names/1", Some(1)),
        (rule(r#"{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}"#), MissingListener, "/syscalls/1/action", Some(1)),
        (
            condition(r#"{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}"#),
            BadArgumentIndex,
            "/syscalls/1/args/1/index",
            Some(1),
        ),
        (
            condition(r#"{"index": 0, "value": 1, "op": "SCMP_CMP_XX"}"#),
            UnknownOperator,
            "/syscalls/1/args/1/op",
            Some(1),
        ),
        (condition(r#"{"index": 0, "value": 1}"#), UnknownOperator, "/syscalls/1/args/1/op", Some(1)),
    ];
    for (json, kind, pointer, rule) in cases {
        let error = try_compile(&json).expect_err(&json);
        assert_eq!((error.kind(), error.field(), error.rule()), (kind, Some(pointer), rule), "{json}");
        assert_eq!(error.to_string(), format!("{pointer}: {}", error.reason().unwrap()));
    }
}

#[test]
fn a_filter_too_long_is_refused() {
    let mut profile = Profile { default_action: "SCMP_ACT_ERRNO".into(), ..Profile::default() };
    for value in 0..5000 {
        profile.syscalls.push(orlop_seccomp::Rule {
            names: vec!["ioctl".into()],
            action: "SCMP_ACT_ALLOW".into(),
            args: vec![orlop_seccomp::Condition { index: 1, value, op: "SCMP_CMP_EQ".into(), ..Default::default() }],
            ..Default::default()
        });
    }
    let error = compile(&profile, &options()).unwrap_err();
    assert_eq!((error.kind(), error.field()), (Kind::TooLong, Some("/syscalls")));
    profile.syscalls.truncate(4000);
    let filter = compile(&profile, &options()).unwrap();
    assert!(filter.instructions.len() <= MAX_INSTRUCTIONS);
    for (value, expected) in [(0, Action::Allow), (3999, Action::Allow), (4000, Action::Errno(1))] {
        assert_eq!(verdict(&filter, Arch::X86_64, "ioctl", &[0, value]), expected);
    }
}

#[test]
fn null_and_absent_members_are_empty() {
    let filter = filter(
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": null, "architectures": null, "flags": null,
            "listenerPath": null, "listenerMetadata": null, "unknown": [1, 2],
            "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "errnoRet": null, "args": null},
                         {"names": null, "action": "SCMP_ACT_ALLOW"}]}"#,
    );
    assert_eq!(filter.architectures, [Arch::X86_64]);
    assert_eq!(filter.flags, Flags::SPEC_ALLOW);
    assert_eq!(verdict(&filter, Arch::X86_64, "read", &[]), Action::Allow);
    assert!(Profile::default().is_disabled());
}

#[test]
fn text_is_borrowed_and_survives_a_round_trip() {
    let text = r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":38,"architectures":["SCMP_ARCH_X86"],"flags":[],"listenerPath":"/run/a","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":18446744073709551615,"valueTwo":1,"op":"SCMP_CMP_MASKED_EQ"}]}]}"#;
    let profile: Profile<'_> = serde_json::from_str(text).unwrap();
    assert!(matches!(profile.architectures[0], std::borrow::Cow::Borrowed(_)));
    assert!(matches!(profile.syscalls[0].names[0], std::borrow::Cow::Borrowed(_)));
    assert!(matches!(profile.listener_path, Some(std::borrow::Cow::Borrowed(_))));
    assert_eq!(serde_json::to_string(&profile).unwrap(), text);
    let escaped: Profile<'_> = serde_json::from_str(r#"{"listenerPath": "/\u0072un"}"#).unwrap();
    assert_eq!(escaped.listener_path.as_deref(), Some("/run"));
    for wrong in [r#"{"flags": "x"}"#, r#"{"syscalls": {}}"#, r#"{"defaultAction": 1}"#, r#"{"architectures": [1]}"#] {
        assert!(serde_json::from_str::<Profile<'_>>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn flags_follow_the_profile_and_the_rules() {
    let with = |more: &str| filter(&format!(r#"{{"defaultAction": "SCMP_ACT_ERRNO"{more}}}"#)).flags;
    assert_eq!(with(""), Flags::SPEC_ALLOW);
    assert_eq!(with(r#", "flags": []"#), Flags::NONE);
    assert_eq!(with(r#", "flags": ["SECCOMP_FILTER_FLAG_LOG"]"#), Flags::LOG);
    let notify = r#", "listenerPath": "/a", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]"#;
    assert_eq!(with(notify), Flags::SPEC_ALLOW | Flags::NEW_LISTENER);
    let flags =
        with(&format!(r#", "flags": ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]{notify}"#));
    assert_eq!(flags.bits(), 0b11_1001);
    assert_eq!(flags.without(Flags::TSYNC | Flags::TSYNC_ESRCH).bits(), 0b10_1000);
}

#[test]
fn unknown_names_are_listed_or_refused() {
    let json = r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
        {"names": ["read"], "action": "SCMP_ACT_ALLOW"}, {"names": ["write", "frobnicate"], "action": "SCMP_ACT_ALLOW"}]}"#;
    let filter = filter(json);
    let unknown: Vec<_> = filter.unknown_syscalls.iter().map(|unknown| (&*unknown.name, unknown.field())).collect();
    assert_eq!(unknown, [("frobnicate", "/syscalls/1/names/1".to_owned())]);
    let mut options = options();
    options.fail_unknown_syscalls = true;
    let error = compile(&serde_json::from_str(json).unwrap(), &options).unwrap_err();
    assert_eq!((error.kind(), error.field()), (Kind::UnknownSyscall, Some("/syscalls/1/names/1")));
}

#[test]
fn an_argument_named_twice_makes_alternatives() {
    // As CRI-O's profile has it for clone.
    let filter = filter(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["clone"], "action": "SCMP_ACT_ERRNO", "args": [
            {"index": 0, "value": 131072, "valueTwo": 131072, "op": "SCMP_CMP_MASKED_EQ"},
            {"index": 0, "value": 268435456, "valueTwo": 268435456, "op": "SCMP_CMP_MASKED_EQ"},
            {"index": 1, "value": 0, "op": "SCMP_CMP_NE"}]}]}"#,
    );
    for (arguments, expected) in [
        ([0x11, 0], Action::Allow),
        ([0x2_0011, 0], Action::Errno(1)),
        ([0x1000_0011, 0], Action::Errno(1)),
        ([0x11, 1], Action::Errno(1)),
    ] {
        assert_eq!(verdict(&filter, Arch::X86_64, "clone", &arguments), expected, "{arguments:x?}");
    }
}

#[test]
fn calls_newer_than_the_profile_are_missing_not_forbidden() {
    let json = r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": [{"names": ["read", "openat2"], "action": "SCMP_ACT_ALLOW"}]}"#;
    let filter = filter(json);
    for (arch, name, expected) in [
        (Arch::X86_64, "openat2", Action::Allow),
        (Arch::X86_64, "pidfd_getfd", Action::Errno(38)),
        (Arch::X86_64, "write", Action::Errno(1)),
        (Arch::X86, "pidfd_getfd", Action::Errno(38)),
        (Arch::X32, "pidfd_getfd", Action::Errno(38)),
        // x32's own calls, from 512 on, are numbered above the common ones.
        (Arch::X32, "pwritev2", Action::Errno(38)),
    ] {
        assert_eq!(verdict(&filter, arch, name, &[]), expected, "{arch} {name}");
    }
    let mut options = options();
    options.enosys_for_newer = false;
    let filter = compile(&serde_json::from_str(json).unwrap(), &options).unwrap();
    assert_eq!(verdict(&filter, Arch::X86_64, "pidfd_getfd", &[]), Action::Errno(1));
    for permissive in ["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"] {
        let filter = try_compile(&json.replace("SCMP_ACT_ERRNO", permissive)).unwrap();
        assert_ne!(verdict(&filter, Arch::X86_64, "pidfd_getfd", &[]), Action::Errno(38), "{permissive}");
    }
}

#[test]
fn foreign_conventions_kill_the_process() {
    let filter = filter(r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#);
    assert_eq!(verdict(&filter, Arch::X86, "read", &[]), Action::KillProcess);
    assert_eq!(verdict(&filter, Arch::X32, "read", &[]), Action::KillProcess);
    // What a tracer sets to skip a call is none of a foreign convention.
    assert_eq!(filter.verdict(&Call::numbered(Arch::X86_64, u32::MAX, &[])), Action::Allow);
}

#[test]
fn x32_compares_all_64_bits_and_i386_the_lower_32() {
    let filter = filter(
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"], "syscalls": [
            {"names": ["lseek"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 1, "value": 4294967295, "op": "SCMP_CMP_GT"}]},
            {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 18446744073709551615, "op": "SCMP_CMP_EQ"}]}]}"#,
    );
    assert_eq!(verdict(&filter, Arch::X32, "lseek", &[0, 1 << 32]), Action::Allow);
    assert_eq!(verdict(&filter, Arch::X32, "lseek", &[0, 0xffff_ffff]), Action::Errno(1));
    // -1 in a rule means -1 to a 32-bit caller too.
    assert_eq!(verdict(&filter, Arch::X86, "personality", &[0xffff_ffff]), Action::Allow);
    assert_eq!(verdict(&filter, Arch::X86_64, "personality", &[0xffff_ffff]), Action::Errno(1));
}

#[test]
fn calls_through_socketcall_and_ipc_follow_their_rules() {
    let filter = filter(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"], "syscalls": [
            {"names": ["connect", "shmat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}]}"#,
    );
    for (name, arguments, expected) in [
        ("connect", [0, 0], Action::Errno(13)),
        ("socketcall", [3, 0], Action::Errno(13)),
        ("socketcall", [2, 0], Action::Allow),
        ("ipc", [21, 0], Action::Errno(13)),
        // The kernel takes the upper half for a version: it is shmat all the same, and no way round the rule.
        ("ipc", [0x1_0015, 0], Action::Errno(13)),
        ("ipc", [22, 0], Action::Allow),
    ] {
        assert_eq!(verdict(&filter, Arch::X86, name, &arguments), expected, "{name} {arguments:x?}");
    }
    assert_eq!(verdict(&filter, Arch::X86_64, "connect", &[]), Action::Errno(13));
}

#[test]
fn the_first_rule_without_conditions_stands() {
    let filter = filter(
        r#"{"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_LOG", "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}]},
            {"names": ["read"], "action": "SCMP_ACT_ERRNO"},
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["read"], "action": "SCMP_ACT_KILL"}]}"#,
    );
    // The second says what happens anyway and counts for nothing, as with runc.
    assert_eq!(verdict(&filter, Arch::X86_64, "read", &[0]), Action::Allow);
}

#[test]
fn plainly_allowed_calls_are_decided_without_their_arguments() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/docker-28.json")).unwrap();
    let filter = filter(&text);
    for arch in [Arch::X86_64, Arch::X86, Arch::X32] {
        for name in ["read", "write", "openat", "futex", "mmap2", "epoll_wait", "recvmsg"] {
            if let Some(call) = Call::named(arch, name, &[]) {
                let trace = trace(&filter.instructions, &call);
                assert_eq!((trace.action, trace.looks_further), (Action::Allow, false), "{arch} {name}");
            }
        }
    }
    assert!(filter.instructions.len() <= 400);
}

#[test]
fn the_same_profile_gives_the_same_bytes() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/podman-5.json")).unwrap();
    let first = filter(&text);
    assert_eq!(first, filter(&text));
    // The order and repetition of architectures say nothing.
    let reordered = text.replace(
        r#""SCMP_ARCH_X86_64","SCMP_ARCH_X86","SCMP_ARCH_X32""#,
        r#""SCMP_ARCH_X32","SCMP_ARCH_X86","SCMP_ARCH_X86""#,
    );
    assert_ne!(text, reordered);
    assert_eq!(filter(&reordered).as_bytes(), first.as_bytes());
    assert_eq!(first.as_bytes().len(), usize::from(first.len()) * 8);
}
