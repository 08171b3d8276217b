//! The checks that go beyond types: the rules of runtime-spec, of the kernel, and of runc's validator.
//!
//! Nothing here asks the host: what depends on it is checked where the plan is made. The one exception is whether a joined network
//! namespace is the caller's own, because only then may network sysctls not be set.

mod findings;
mod ids;
mod mounts;
mod namespaces;
mod process;
mod sections;

pub(crate) use findings::Findings;
pub use findings::{CheckOptions, Warning};
pub use ids::mapped;
pub use process::granted;
pub use sections::sysctl_file;

use super::model::{Config, Linux, Process};
use crate::base::Result;

/// Checks a config against runtime-spec and itself.
///
/// # Errors
/// [`crate::Kind::InvalidConfig`] with the JSON pointer of the first field that is wrong.
pub fn check(config: &Config<'_>, options: CheckOptions) -> Result<Vec<Warning>> {
    check_all(config, options).verdict()
}

/// Checks a process that is to be executed in a running container.
///
/// # Errors
/// As [`check`]; pointers are relative to the process.
pub fn check_process(process: &Process<'_>) -> Result<Vec<Warning>> {
    let mut findings = Findings::default();
    process::check(process, "", &mut findings);
    findings.verdict()
}

/// Checks a config and goes on after the first fault.
#[must_use]
pub(crate) fn check_all(config: &Config<'_>, options: CheckOptions) -> Findings {
    let mut findings = Findings::default();
    sections::check_top(config, &mut findings);
    match &config.process {
        Some(process) => process::check(process, "/process", &mut findings),
        None => findings.error("/process", "required, but missing: an object"),
    }
    mounts::check(config, options, &mut findings);
    sections::check_hooks(config, &mut findings);
    match &config.linux {
        Some(linux) => check_linux(config, linux, options, &mut findings),
        None => namespaces::check_absent(config, options, &mut findings),
    }
    findings
}

fn check_linux(config: &Config<'_>, linux: &Linux<'_>, options: CheckOptions, findings: &mut Findings) {
    namespaces::check(config, linux, options, findings);
    ids::check_user(config, linux, findings);
    sections::check_sysctl(config, linux, findings);
    sections::check_deprecated(linux, findings);
    sections::check_resources(linux, findings);
    sections::check_devices(linux, findings);
    sections::check_net_devices(linux, options, findings);
    sections::check_paths(linux, findings);
    sections::check_rdt(linux, findings);
    sections::check_memory_policy(linux, findings);
    if let Some(personality) = linux.personality.as_ref().filter(|personality| !personality.flags.is_empty()) {
        let flag = personality.flags.first().map(|flag| flag.as_str()).unwrap_or_default();
        findings.error(
            "/linux/personality/flags/0",
            format!("unknown personality flag {flag:?}: runtime-spec defines none"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DefaultConfig, default_config, load};

    /// Warnings of the default config with `from` replaced by `to`.
    fn warnings(from: &str, to: &str) -> Vec<String> {
        let text = default_config(DefaultConfig::default());
        assert!(text.contains(from), "{from}");
        let text = text.replacen(from, to, 1);
        let config = load(text.as_bytes()).unwrap();
        check(&config, CheckOptions::default()).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_works_otherwise_than_it_says_is_a_warning() {
        let cases = [
            (
                "\"bounding\": [",
                "\"bounding\": [\"CAP_X\",",
                "config /process/capabilities/bounding/0: unknown capability \"CAP_X\" is ignored",
            ),
            (
                "\"bounding\": [",
                "\"ambient\": [\"CAP_KILL\", \"CAP_CHOWN\"], \"inheritable\": [\"CAP_KILL\"], \"bounding\": [",
                "config /process/capabilities/ambient: can't raise ambient capability CAP_CHOWN: it is not in both the permitted and \
                 the inheritable set",
            ),
            (
                "\"effective\": [",
                "\"effective\": [\"CAP_SYS_ADMIN\", ",
                "config /process/capabilities/effective: can't grant effective capability CAP_SYS_ADMIN: it is not in the permitted set",
            ),
            (
                "\"destination\": \"/proc\"",
                "\"destination\": \"proc\"",
                "config /mounts/0/destination: \"proc\" is relative, which is \
                 deprecated; it is taken as relative to /",
            ),
            ("1.3.0", "1.4.0", "config /ociVersion: version 1.4.0 is newer than 1.3.0, what it adds is not known here"),
            (
                "\"resources\": {",
                "\"resources\": {\"memory\": {\"kernel\": 1},",
                "config /linux/resources/memory/kernel: kernel memory limits are ignored, Linux has none any more",
            ),
            (
                "\"resources\": {",
                "\"resources\": {\"cpu\": {\"shares\": 200, \"idle\": 1},",
                "config /linux/resources/cpu/shares: unable to apply both CPUShares and CPUIdle: an idle cgroup has no weight, the \
                 shares are ignored",
            ),
        ];
        for (from, to, expected) in cases {
            assert_eq!(warnings(from, to), [expected], "{to}");
        }
    }

    #[test]
    fn versions_of_old_engines_are_understood() {
        for version in ["1.0.0", "1.0.2-dev", "1.1.0+dev", "1.2.1", "1.3.0"] {
            assert_eq!(warnings("1.3.0", version), [""; 0], "{version}");
        }
    }

    #[test]
    fn capabilities_that_cannot_be_granted_are_left_out() {
        let text = default_config(DefaultConfig::default()).replacen(
            "\"effective\": [",
            "\"effective\": [\"CAP_SYS_ADMIN\", ",
            1,
        );
        let config = load(text.as_bytes()).unwrap();
        let sets = granted(config.process.unwrap().capabilities.as_ref().unwrap());
        let three = (1 << 29) | (1 << 5) | (1 << 10);
        assert_eq!(sets, [three, three, 0, three, 0]);
    }

    #[test]
    fn a_sysctl_is_written_with_dots_or_slashes() {
        let cases = [
            ("net.ipv4.ip_forward", Some("net/ipv4/ip_forward")),
            ("net/ipv4/ip_forward", Some("net/ipv4/ip_forward")),
            ("net.ipv4.conf.eno2/100.rp_filter", Some("net/ipv4/conf/eno2.100/rp_filter")),
            ("net/ipv4/conf/eno2.100/rp_filter", Some("net/ipv4/conf/eno2.100/rp_filter")),
            ("net/../kernel/core_pattern", None),
            ("net.//.kernel", None),
            ("/net/core", None),
            ("net..core", None),
            ("net./", None),
            ("", None),
        ];
        for (key, file) in cases {
            assert_eq!(sysctl_file(key).as_deref(), file, "{key}");
        }
    }
}
