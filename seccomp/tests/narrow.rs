//! Which arguments the kernel takes as numbers of 32 bits, by its own words: the descriptions of its system call trace events.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test")]
use orlop_seccomp::{Arch, narrow_arguments};
use std::process::Command;

/// The types that are not wider than 32 bits on any architecture.
const NARROW: [&str; 20] = [
    "int",
    "unsigned int",
    "unsigned",
    "pid_t",
    "uid_t",
    "gid_t",
    "u32",
    "__u32",
    "__s32",
    "umode_t",
    "clockid_t",
    "timer_t",
    "mqd_t",
    "key_t",
    "key_serial_t",
    "qid_t",
    "rwf_t",
    "enum landlock_rule_type",
    "u16",
    "u8",
];

/// Where the function of the kernel has another name than the call.
const NAMES: [(&str, &str); 6] = [
    ("stat", "newstat"),
    ("lstat", "newlstat"),
    ("fstat", "newfstat"),
    ("uname", "newuname"),
    ("sendfile", "sendfile64"),
    ("umount2", "umount"),
];

/// `name\tfield;field;…` of every call that the running kernel describes. The tracing file system is mounted where nobody else sees it.
fn described() -> Option<String> {
    const SCRIPT: &str = "mount -t tracefs none /sys/kernel/tracing && cd /sys/kernel/tracing/events/syscalls && for d in sys_enter_*; do \
        printf '%s\t' ${d#sys_enter_}; sed -n '/__syscall_nr/,/^print/s/^\tfield:\\([^;]*\\);.*/\\1;/p' $d/format | tr -d '\\n'; echo; done";
    let output = Command::new("unshare").args(["--mount", "sh", "-c", SCRIPT]).output().ok()?;
    Some(String::from_utf8(output.stdout).unwrap()).filter(|text| text.lines().count() > 100)
}

fn mask(fields: &str) -> u8 {
    let arguments = fields.split(';').filter(|field| !field.is_empty() && !field.contains("__syscall_nr"));
    arguments.enumerate().fold(0, |mask, (index, field)| {
        let (kind, name) = field.rsplit_once(' ').unwrap();
        let narrow = NARROW.contains(&kind.trim_start_matches("const ")) && !name.starts_with('*');
        mask | u8::from(narrow) << index
    })
}

#[test]
fn the_kernel_says_the_same() {
    let Some(text) = described().filter(|_| cfg!(target_arch = "x86_64")) else {
        eprintln!(
            "SKIP the_kernel_says_the_same: no descriptions of system calls (root, tracefs and FTRACE_SYSCALLS on x86_64)"
        );
        return;
    };
    let table: Vec<_> = narrow_arguments(Arch::X86_64).collect();
    let mut seen = 0;
    for (name, expected) in &table {
        let name_in_kernel = NAMES.iter().find(|(call, _)| call == name).map_or(*name, |(_, other)| other);
        let Some(fields) = text.lines().find_map(|line| line.strip_prefix(name_in_kernel)?.strip_prefix('\t')) else {
            continue; // An older kernel, or one without it.
        };
        assert_eq!(mask(fields), *expected, "{name}: {fields}");
        seen += 1;
    }
    assert!(seen > 150, "only {seen} of {} calls are described", table.len());
}
