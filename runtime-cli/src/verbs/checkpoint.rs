//! `orlop checkpoint`.

use std::net::SocketAddr;
use std::os::fd::{OwnedFd, RawFd};

use orlop::{CheckpointOptions, PageServer};

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::{Session, container_id};
use crate::sys;
use crate::table::command;
use crate::verbs::criu::{self, criu_flags};

command! {
    "checkpoint: ID
save a running container to files, from which restore makes it run again
",
    ..criu_flags,
    [
        PARENT_PATH = "--parent-path DIR | images of an earlier --pre-dump, relative to those to be made: save what has changed since",
        LEAVE_RUNNING = "--leave-running | let the container run on",
        PRE_DUMP = "--pre-dump | save memory only, and let the container run on",
        TCP_SKIP_IN_FLIGHT = "--tcp-skip-in-flight | pass over TCP connections that are not established yet",
        LINK_REMAP = "--link-remap | give files that were removed while they are open a name again",
        STATUS_FD = "--status-fd FD | with --lazy-pages: write one zero byte to this descriptor when the pages can be fetched",
        PAGE_SERVER = "--page-server ADDRESS:PORT | send memory to the page server there",
    ],
    "
CRIU (https://criu.org), which must be installed, does the work; its log is dump.log. Unless it is left
running, the container is deleted when it is saved. The root file system is not saved, and neither is what
is mounted from outside: both must be there for restore.

$ orlop checkpoint --image-path /var/tmp/web1 web1
$ orlop restore --detach --image-path /var/tmp/web1 --bundle /srv/web web1
$ orlop checkpoint --pre-dump --image-path /var/tmp/pre web1
$ orlop checkpoint --parent-path ../pre --image-path /var/tmp/web1 web1
"
}

pub(crate) fn run(session: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let status_fd: Option<RawFd> = args.number(STATUS_FD)?;
    let options = CheckpointOptions::default()
        .criu(criu::options(args)?)
        .parent_path(args.path(PARENT_PATH))
        .leave_running(args.switch(LEAVE_RUNNING))
        .pre_dump(args.switch(PRE_DUMP))
        .tcp_skip_in_flight(args.switch(TCP_SKIP_IN_FLIGHT))
        .link_remap(args.switch(LINK_REMAP))
        .page_server(args.text(PAGE_SERVER)?.filter(|text| !text.is_empty()).map(page_server).transpose()?);
    let id = container_id(args.operand()?)?;
    // -1 is runc's way to say that there is none.
    let status_fd = status_fd.filter(|number| *number != -1).map(|number| writable(number, options.criu.lazy_pages));
    let options = options.status_fd(status_fd.transpose()?);
    session.warn_all(&orlop::checkpoint(&session.runtime, &id, options)?);
    Ok(0)
}

fn page_server(text: &str) -> Result<PageServer, Failure> {
    let server: SocketAddr =
        text.parse().map_err(|_| Failure::usage(format!("--page-server {text:?}: not ADDRESS:PORT of IP")))?;
    Ok(PageServer { address: server.ip().to_string(), port: server.port() })
}

fn writable(number: RawFd, lazy_pages: bool) -> Result<OwnedFd, Failure> {
    if !lazy_pages {
        return Err(Failure::usage("--status-fd tells when lazy pages are ready: it goes with --lazy-pages"));
    }
    sys::take_writable(number)
        .map_err(|errno| Failure::os(format!("--status-fd {number}: not open for writing"), errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_server_is_an_address_and_a_port() {
        let server = |address: &str, port| PageServer { address: address.into(), port };
        assert_eq!(page_server("127.0.0.1:1234").unwrap(), server("127.0.0.1", 1234));
        assert_eq!(page_server("[::1]:9").unwrap(), server("::1", 9));
        for wrong in ["127.0.0.1", ":9", "host:9", "127.0.0.1:99999"] {
            assert!(page_server(wrong).is_err(), "{wrong}");
        }
    }
}
