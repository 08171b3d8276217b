//! The process: command, environment, user, capabilities, limits, scheduling.

use super::findings::{Findings, check_no_nul};
use super::ids::check_id;
use crate::config::capabilities::{CAPABILITIES, CapabilitySet};
use crate::config::lists::parse_list;
use crate::config::model::{Capabilities, Process, Scheduler};
use crate::config::names::SchedulerPolicy;

/// The highest CPU number that is taken; the kernel's own limit is far below.
const LAST_CPU: u32 = 65535;

/// Checks the process at the JSON pointer `at`.
pub(super) fn check(process: &Process<'_>, at: &str, findings: &mut Findings) {
    check_command(process, at, findings);
    check_user(process, at, findings);
    if let Some(capabilities) = &process.capabilities {
        check_capabilities(capabilities, at, findings);
    }
    check_limits(process, at, findings);
    if let Some(scheduler) = &process.scheduler {
        check_scheduler(scheduler, &format!("{at}/scheduler"), findings);
    }
    if let Some(priority) = process.io_priority.map(|io| io.priority).filter(|priority| !(0..=7).contains(priority)) {
        findings.error(format!("{at}/ioPriority/priority"), format!("{priority} is not within 0 (highest) and 7"));
    }
    if let Some(affinity) = &process.exec_cpu_affinity {
        for (list, field) in [(&affinity.initial, "initial"), (&affinity.last, "final")] {
            if let Some(Err(wrong)) = list.as_ref().map(|list| parse_list(list, LAST_CPU)) {
                findings.error(format!("{at}/execCPUAffinity/{field}"), format!("invalid list of CPUs: {wrong}"));
            }
        }
    }
}

fn check_command(process: &Process<'_>, at: &str, findings: &mut Findings) {
    if process.args.is_empty() {
        findings.error(format!("{at}/args"), "args must not be empty");
    }
    if process.command_line.is_some() {
        findings.error_with_hint(format!("{at}/commandLine"), "is for Windows", "use args");
    }
    if process.cwd.is_empty() {
        findings.error(format!("{at}/cwd"), "cwd must not be empty");
    } else if !process.cwd.starts_with('/') {
        findings.error(format!("{at}/cwd"), format!("cwd must be an absolute path, not {:?}", process.cwd));
    }
    check_no_nul(&process.cwd, findings, || format!("{at}/cwd"));
    for (index, argument) in process.args.iter().enumerate() {
        check_no_nul(argument, findings, || format!("{at}/args/{index}"));
    }
    for (index, variable) in process.env.iter().enumerate() {
        check_variable(variable, findings, || format!("{at}/env/{index}"));
    }
    for (label, field) in [(&process.apparmor_profile, "apparmorProfile"), (&process.selinux_label, "selinuxLabel")] {
        if let Some(label) = label {
            check_no_nul(label, findings, || format!("{at}/{field}"));
        }
    }
}

/// Checks one `NAME=value`. What is no such pair may be a secret that was meant to be one: the message has the index alone.
pub(super) fn check_variable(variable: &str, findings: &mut Findings, pointer: impl Fn() -> String) {
    match variable.split_once('=') {
        None => findings.error(pointer(), "invalid environment variable: missing '='"),
        Some(("", _)) => findings.error(pointer(), "invalid environment variable: name cannot be empty"),
        Some(_) => check_no_nul(variable, findings, pointer),
    }
}

fn check_user(process: &Process<'_>, at: &str, findings: &mut Findings) {
    let user = &process.user;
    check_id(user.uid, findings, || format!("{at}/user/uid"));
    check_id(user.gid, findings, || format!("{at}/user/gid"));
    for (index, gid) in user.additional_gids.iter().enumerate() {
        check_id(*gid, findings, || format!("{at}/user/additionalGids/{index}"));
    }
    if let Some(umask) = user.umask.filter(|umask| *umask > 0o777) {
        findings.error(format!("{at}/user/umask"), format!("{umask} ({umask:#o}) is beyond 511 (0o777)"));
    }
}

/// The five sets as the kernel can grant them: bounding, effective, inheritable, permitted, ambient.
///
/// What is effective must be permitted, and what is ambient must be both permitted and inheritable; the rest is left out, with a
/// warning from [`super::check`], as runtime-spec wants it for capabilities that cannot be granted.
#[must_use]
pub fn granted(capabilities: &Capabilities<'_>) -> [u64; 5] {
    let permitted = capabilities.permitted.mask;
    let inheritable = capabilities.inheritable.mask;
    [
        capabilities.bounding.mask,
        capabilities.effective.mask & permitted,
        inheritable,
        permitted,
        capabilities.ambient.mask & permitted & inheritable,
    ]
}

fn check_capabilities(capabilities: &Capabilities<'_>, at: &str, findings: &mut Findings) {
    let sets: [(&CapabilitySet<'_>, &str); 5] = [
        (&capabilities.bounding, "bounding"),
        (&capabilities.effective, "effective"),
        (&capabilities.inheritable, "inheritable"),
        (&capabilities.permitted, "permitted"),
        (&capabilities.ambient, "ambient"),
    ];
    for (set, name) in sets {
        for (index, unknown) in &set.unknown {
            let pointer = format!("{at}/capabilities/{name}/{index}");
            findings.warn(pointer, format!("unknown capability {unknown:?} is ignored"));
        }
    }
    let [_, effective, _, _, ambient] = granted(capabilities);
    let left_out = [
        (capabilities.effective.mask & !effective, "effective", "grant", "the permitted set"),
        (capabilities.ambient.mask & !ambient, "ambient", "raise", "both the permitted and the inheritable set"),
    ];
    for (mask, set, verb, needed) in left_out.into_iter().filter(|(mask, ..)| *mask != 0) {
        let names = names(mask).join(", ");
        let detail = format!("can't {verb} {set} capability {names}: it is not in {needed}");
        findings.warn(format!("{at}/capabilities/{set}"), detail);
    }
}

fn names(mask: u64) -> Vec<String> {
    let numbered = CAPABILITIES.iter().enumerate();
    numbered.filter(|(number, _)| mask & (1 << number) != 0).map(|(_, name)| format!("CAP_{name}")).collect()
}

fn check_limits(process: &Process<'_>, at: &str, findings: &mut Findings) {
    for (index, limit) in process.rlimits.iter().enumerate() {
        if process.rlimits.iter().take(index).any(|earlier| earlier.kind == limit.kind) {
            findings.error(format!("{at}/rlimits/{index}/type"), format!("{} is given twice", limit.kind));
        }
        if limit.soft > limit.hard {
            findings.error(
                format!("{at}/rlimits/{index}/soft"),
                format!("soft limit {} is above the hard limit {}", limit.soft, limit.hard),
            );
        }
    }
    if let Some(score) = process.oom_score_adj.filter(|score| !(-1000..=1000).contains(score)) {
        findings.error(format!("{at}/oomScoreAdj"), format!("{score} is not within -1000 and 1000"));
    }
}

fn check_scheduler(scheduler: &Scheduler, at: &str, findings: &mut Findings) {
    use SchedulerPolicy::{Batch, Deadline, Fifo, Iso, Other, Rr};
    let policy = scheduler.policy;
    if policy == Iso {
        findings.error(format!("{at}/policy"), "SCHED_ISO is reserved, but Linux does not have it");
    }
    if !(-20..=19).contains(&scheduler.nice) {
        findings.error(format!("{at}/nice"), format!("{} is not within -20 and 19", scheduler.nice));
    } else if scheduler.nice != 0 && policy == Deadline {
        findings.warn(format!("{at}/nice"), format!("has no effect with {policy}"));
    } else if scheduler.nice != 0 && !matches!(policy, Other | Batch) {
        findings
            .error(format!("{at}/nice"), format!("has no effect with {policy}, only with SCHED_OTHER and SCHED_BATCH"));
    }
    match (policy, scheduler.priority) {
        (Fifo | Rr, 1..=99) => {}
        (Fifo | Rr, priority) => {
            findings
                .error(format!("{at}/priority"), format!("{priority} is not within 1 and 99, as {policy} needs it"));
        }
        (_, 0) => {}
        _ => findings.error(
            format!("{at}/priority"),
            format!("can only be specified for SCHED_FIFO and SCHED_RR, not for {policy}"),
        ),
    }
    let times = [(scheduler.runtime, "runtime"), (scheduler.deadline, "deadline"), (scheduler.period, "period")];
    if policy == Deadline {
        check_deadline(scheduler, at, findings);
    } else if let Some((_, field)) = times.iter().find(|(time, _)| *time != 0) {
        findings.error(format!("{at}/{field}"), format!("can only be specified for SCHED_DEADLINE, not for {policy}"));
    }
}

/// The kernel's rule for SCHED_DEADLINE: 1024 ns ≤ runtime ≤ deadline ≤ period, the period being the deadline when it is 0.
fn check_deadline(scheduler: &Scheduler, at: &str, findings: &mut Findings) {
    const SHORTEST: u64 = 1024;
    let Scheduler { runtime, deadline, period, .. } = *scheduler;
    for (time, field) in [(runtime, "runtime"), (deadline, "deadline"), (period, "period")] {
        if time >> 63 != 0 {
            findings.error(format!("{at}/{field}"), format!("{time} is above 9223372036854775807"));
        }
    }
    if runtime < SHORTEST {
        findings.error(
            format!("{at}/runtime"),
            format!("{runtime} is below {SHORTEST} nanoseconds, the least for SCHED_DEADLINE"),
        );
    } else if deadline < runtime {
        findings.error(format!("{at}/deadline"), format!("{deadline} is below runtime {runtime}"));
    } else if period != 0 && period < deadline {
        findings.error(format!("{at}/period"), format!("{period} is below deadline {deadline}"));
    }
}
