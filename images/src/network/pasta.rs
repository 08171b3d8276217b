//! The network of an ordinary user: pasta(1) copies the host's addresses and routes into a container's namespace, and carries
//! packets over sockets of its own. It stays beside the container as a process that is known by the file with its number.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::base::{Error, Kind, Result, Step};
use crate::network::{Port, Protocol, port};

/// The device that it makes networks with.
const TUN: &str = "/dev/net/tun";
/// How long it may take to be ready, or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Gives ports their numbers, as far as no program of the host has them.
pub fn claim(ports: &[Port]) -> Result<Vec<Port>> {
    if let Some(port) = ports.iter().find(|port| port.protocol == Protocol::Sctp) {
        let error = Error::new(Kind::Unsupported, Step::Network).object_is(format!("port {port}"));
        return Err(error.reason_is("pasta carries no SCTP").hint_is("run as root: a bridge does"));
    }
    port::claim(ports, &[])
}

/// Connects the network namespace of the process `pid`, which is in a user namespace of this process's user. The file `number`
/// gets that of the helper, which stays.
pub fn start(pid: i32, ports: &[Port], number: &Path) -> Result<()> {
    let hint = "apt-get install passt, or --network none or host";
    let failed = |error: &std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::new(Kind::Unsupported, Step::Network)
            .object_is("pasta")
            .reason_is("the program is not installed")
            .hint_is(hint),
        _ => Error::io(Step::Network, error).object_is("pasta"),
    };
    let mut command = Command::new("pasta");
    command.args(words(ports)).arg("--pid").arg(number).arg(pid.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| failed(&error))?;
    let end = Instant::now() + PATIENCE;
    // Ready, it leaves a child of its own behind.
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|error| failed(&error))? {
            break status;
        }
        if Instant::now() >= end {
            child.kill().ok();
            drop(child.wait());
            return Err(Error::new(Kind::Timeout, Step::Network).object_is("pasta").reason_is("it does not get ready"));
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    if status.success() {
        return Ok(());
    }
    let mut text = String::new();
    if let Some(errors) = child.stderr.take() {
        // What it has said is there; a child of its own may keep the pipe open.
        rustix::io::ioctl_fionbio(&errors, true).ok();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut { errors }, &mut bytes).ok();
        text = String::from_utf8_lossy(&bytes).into_owned();
    }
    let said = text.lines().map(str::trim).rfind(|line| !line.is_empty() && !line.contains("syslog"));
    let reason = said.map_or_else(|| format!("it ended with {status}"), str::to_owned);
    let hint = match std::fs::File::options().read(true).write(true).open(TUN) {
        Err(error) => format!("{TUN}: {error}: modprobe tun, chmod 666 {TUN}; or --network none or host"),
        Ok(_) => "pasta follows the host's default route, so there must be one; or --network none or host".to_owned(),
    };
    Err(Error::new(Kind::Command, Step::Network).object_is("pasta").reason_is(reason).hint_is(hint))
}

/// Ends the helper whose number the file has; that there is none is no error.
pub fn stop(number: &Path) -> Result<()> {
    let failed = |errno: rustix::io::Errno| Error::os(Step::Network, errno.raw_os_error()).object_is("pasta");
    let text = match std::fs::read_to_string(number) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        read => read.map_err(|error| Error::io(Step::Network, &error).object_is(number.display().to_string()))?,
    };
    let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) else { return Ok(()) };
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => pidfd,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(errno) => return Err(failed(errno)),
    };
    // The number may be another process's by now; the file is named on the helper's command line.
    let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    let wanted = number.as_os_str().as_encoded_bytes();
    if !line.split(|byte| *byte == 0).any(|word| word == wanted) {
        return Ok(());
    }
    // It is the first process of a pid namespace, and has nothing to put in order: other signals it need not heed.
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) => {}
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(errno) => return Err(failed(errno)),
    }
    let end = Instant::now() + PATIENCE;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        let left = Timespec { tv_sec: left.as_secs().try_into().unwrap_or(1), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
            Ok(count) if count > 0 => return Ok(()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
    }
    Err(Error::new(Kind::Timeout, Step::Network).object_is("pasta").reason_is("it is killed, and still there"))
}

/// The command line for ports: these lead in and no others, and none lead out to the host's loopback.
fn words(ports: &[Port]) -> Vec<OsString> {
    let mut words: Vec<OsString> =
        ["--config-net", "--quiet", "--no-map-gw", "-T", "none", "-U", "none"].map(OsString::from).to_vec();
    for (flag, protocol) in [("-t", Protocol::Tcp), ("-u", Protocol::Udp)] {
        let mut any = false;
        for port in ports.iter().filter(|port| port.protocol == protocol) {
            any = true;
            words.extend([OsString::from(flag), OsString::from(specification(port))]);
        }
        if !any {
            words.extend([flag, "none"].map(OsString::from));
        }
    }
    words
}

fn specification(port: &Port) -> String {
    let range = |first: u16| match port.count {
        1 => first.to_string(),
        count => format!("{first}-{}", first + (count - 1)),
    };
    let address = match port.address {
        None => String::new(),
        Some(IpAddr::V4(address)) => format!("{address}/"),
        Some(IpAddr::V6(address)) => format!("{address}/"),
    };
    format!("{address}{}:{}", range(port.host), range(port.container))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_as_pasta_wants_them() {
        let text = |ports: &[&str]| {
            let ports: Vec<Port> = ports.iter().map(|text| text.parse().unwrap()).collect();
            let words: Vec<_> = words(&ports).into_iter().map(|word| word.into_string().unwrap()).collect();
            words[7..].join(" ")
        };
        assert_eq!(text(&[]), "-t none -u none");
        assert_eq!(text(&["8080:80"]), "-t 8080:80 -u none");
        assert_eq!(
            text(&["127.0.0.1:8000-8002:80-82", "[::1]:53:53/udp"]),
            "-t 127.0.0.1/8000-8002:80-82 -u ::1/53:53"
        );
        let error = claim(&["80:80/sctp".parse().unwrap()]).unwrap_err().to_string();
        assert!(error.contains("pasta carries no SCTP"), "{error}");
    }

    #[test]
    fn another_process_with_the_helpers_number_is_left_alone() {
        let file = std::env::temp_dir().join(format!("orlop-pasta-{}", std::process::id()));
        let mut other = Command::new("sleep").arg("60").spawn().unwrap();
        std::fs::write(&file, format!("{}\n", other.id())).unwrap();
        stop(&file).unwrap();
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
        stop(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        stop(&file).unwrap();
    }
}
