//! Options that requests to save and to restore have in common.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use super::message::{Field, Options};
use super::options::{CgroupMode, CriuOptions, NetworkLock};
use crate::base::{Error, Kind, Result, Step};
use crate::config::{CRIU_CONFIG, Config, NamespaceType};

/// Configuration files of CRIU's that are used when the config names none: our own, and the one that runc and crun read.
const CONFIG_FILES: [&str; 2] = ["/etc/criu/orlop.conf", "/etc/criu/runc.conf"];

/// `criu_cg_mode`.
fn cgroup_mode(mode: CgroupMode) -> i32 {
    match mode {
        CgroupMode::Ignore => 0,
        CgroupMode::Soft => 3,
        CgroupMode::Full => 4,
        CgroupMode::Strict => 5,
    }
}

/// `criu_network_lock_method`.
fn network_lock(method: NetworkLock) -> i32 {
    match method {
        NetworkLock::Iptables => 1,
        NetworkLock::Nftables => 2,
        NetworkLock::Skip => 3,
    }
}

/// What both requests say: the directories by their descriptors, the log, and the caller's options.
pub(crate) fn common(
    options: &CriuOptions,
    images: BorrowedFd<'_>,
    work: Option<BorrowedFd<'_>>,
    log: &str,
) -> Options {
    let mut request = Options::default();
    request.number(Field::ImagesDirFd, images.as_raw_fd());
    if let Some(work) = work {
        request.number(Field::WorkDirFd, work.as_raw_fd());
    }
    request.number(Field::LogLevel, 4);
    request.text(Field::LogFile, log);
    request.flag(Field::NotifyScripts, true);
    request.flag(Field::OrphanPtsMaster, true);
    // The mode counts; older releases look whether this is set as well.
    request.flag(Field::ManageCgroups, true);
    request.number(Field::ManageCgroupsMode, cgroup_mode(options.cgroups));
    // Network devices are the engine's: a new network namespace is left to it.
    request.number(Field::EmptyNs, libc::CLONE_NEWNET);
    for (field, on) in [
        (Field::TcpEstablished, options.tcp_established),
        (Field::TcpClose, options.tcp_close),
        (Field::ExtUnixSk, options.ext_unix_sk),
        (Field::ShellJob, options.shell_job),
        (Field::FileLocks, options.file_locks),
        (Field::AutoDedup, options.auto_dedup),
        (Field::LazyPages, options.lazy_pages),
    ] {
        request.flag(field, on);
    }
    if let Some(method) = options.network_lock {
        request.number(Field::NetworkLock, network_lock(method));
    }
    request
}

/// The configuration file that CRIU is to read, whose settings count before the request's: the one that the annotation
/// `org.criu.config` names (none when it is empty), or else a general one that is there.
pub(crate) fn config_file(config: &Config<'_>) -> Result<Option<String>> {
    match config.annotations.get(CRIU_CONFIG).map(|path| path.as_str()) {
        Some("") => Ok(None),
        Some(path) => {
            // CRIU passes over one that is not there.
            let found = std::fs::metadata(path).map_err(|error| {
                Error::io(Step::Criu, &error).with_object(path).with_field(format!("/annotations/{CRIU_CONFIG}"))
            })?;
            if !found.is_file() {
                return Err(Error::new(Kind::InvalidConfig, Step::Criu)
                    .with_object(path)
                    .with_field(format!("/annotations/{CRIU_CONFIG}"))
                    .with_reason("is no file"));
            }
            Ok(Some(path.to_owned()))
        }
        None => Ok(CONFIG_FILES.iter().find(|path| Path::new(path).is_file()).map(|path| (*path).to_owned())),
    }
}

/// CRIU's word for a kind of namespace, and the name under which an external one of it is kept in images: only network and pid
/// namespaces can be left out of them.
pub(crate) fn namespace_key(kind: NamespaceType) -> (&'static str, Option<&'static str>) {
    match kind {
        NamespaceType::Network => ("net", Some("extRootNetNS")),
        NamespaceType::Pid => ("pid", Some("extRootPidNS")),
        NamespaceType::Mount => ("mnt", None),
        NamespaceType::Ipc => ("ipc", None),
        NamespaceType::Uts => ("uts", None),
        NamespaceType::User => ("user", None),
        NamespaceType::Cgroup => ("cgroup", None),
        NamespaceType::Time => ("time", None),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::super::message::Value;
    use super::*;

    type Change = fn(&mut CriuOptions);

    #[test]
    fn each_option_is_one_field_of_the_request() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let changes: [(Change, Field, Value); 10] = [
            (|options| options.tcp_established = true, Field::TcpEstablished, Value::Flag(true)),
            (|options| options.tcp_close = true, Field::TcpClose, Value::Flag(true)),
            (|options| options.ext_unix_sk = true, Field::ExtUnixSk, Value::Flag(true)),
            (|options| options.shell_job = true, Field::ShellJob, Value::Flag(true)),
            (|options| options.file_locks = true, Field::FileLocks, Value::Flag(true)),
            (|options| options.auto_dedup = true, Field::AutoDedup, Value::Flag(true)),
            (|options| options.lazy_pages = true, Field::LazyPages, Value::Flag(true)),
            (|options| options.cgroups = CgroupMode::Ignore, Field::ManageCgroupsMode, Value::Number(0)),
            (|options| options.cgroups = CgroupMode::Strict, Field::ManageCgroupsMode, Value::Number(5)),
            (|options| options.network_lock = Some(NetworkLock::Skip), Field::NetworkLock, Value::Number(3)),
        ];
        let plain = common(&CriuOptions::default(), file.as_fd(), None, "x.log");
        assert_eq!(plain.all(Field::ManageCgroupsMode), [&Value::Number(3)]);
        assert!(plain.all(Field::NetworkLock).is_empty() && plain.all(Field::WorkDirFd).is_empty());
        assert_eq!(plain.all(Field::EmptyNs), [&Value::Number(0x4000_0000)]);
        for (change, field, value) in changes {
            let mut options = CriuOptions::default();
            change(&mut options);
            let request = common(&options, file.as_fd(), Some(file.as_fd()), "x.log");
            assert_eq!(request.all(field), [&value], "{field:?}");
            assert_ne!(plain.all(field), request.all(field), "{field:?}");
            assert_eq!(request.all(Field::WorkDirFd), [&Value::Number(file.as_raw_fd().into())]);
        }
    }

    #[test]
    fn the_annotation_names_a_file_or_none() {
        let file = |value: &str| {
            let text = format!(
                r#"{{"ociVersion":"1.3.0","root":{{"path":"r"}},"annotations":{{"org.criu.config":{value:?}}}}}"#
            );
            config_file(&crate::config::load(text.as_bytes()).unwrap()).map_err(|error| error.to_string())
        };
        assert_eq!(file(""), Ok(None));
        assert_eq!(file("/etc/passwd"), Ok(Some("/etc/passwd".to_owned())));
        let missing = "run criu /no/such (config /annotations/org.criu.config): no such file or directory";
        assert_eq!(file("/no/such"), Err(missing.to_owned()));
        let directory = "run criu / (config /annotations/org.criu.config): is no file";
        assert_eq!(file("/"), Err(directory.to_owned()));
    }
}
