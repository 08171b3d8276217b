//! `orlop checkpoint` and `orlop restore`: known, explained and refused.

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::Command;

pub(super) const CHECKPOINT: Command = Command(
    "checkpoint: ID
save a running container (not supported yet)

--image-path DIR ! checkpoints are not supported yet
--work-path DIR ! checkpoints are not supported yet
--parent-path DIR ! checkpoints are not supported yet
--leave-running ! checkpoints are not supported yet
--tcp-established ! checkpoints are not supported yet
--tcp-skip-in-flight ! checkpoints are not supported yet
--tcp-close ! checkpoints are not supported yet
--link-remap ! checkpoints are not supported yet
--ext-unix-sk ! checkpoints are not supported yet
--shell-job ! checkpoints are not supported yet
--lazy-pages ! checkpoints are not supported yet
--status-fd FD ! checkpoints are not supported yet
--page-server ADDRESS:PORT ! checkpoints are not supported yet
--file-locks ! checkpoints are not supported yet
--pre-dump ! checkpoints are not supported yet
--manage-cgroups-mode MODE ! checkpoints are not supported yet
--network-lock METHOD ! checkpoints are not supported yet
--empty-ns NAMESPACE... ! checkpoints are not supported yet
--auto-dedup ! checkpoints are not supported yet

Checkpoints need CRIU, which this version does not drive: the command is refused and the container is left
alone.

$ orlop checkpoint --help
  engines ask for this help to learn whether the command is known
",
);

pub(super) const RESTORE: Command = Command(
    "restore: ID
restore a container from a checkpoint (not supported yet)

--console-socket SOCKET ! checkpoints are not supported yet
--image-path DIR ! checkpoints are not supported yet
--work-path DIR ! checkpoints are not supported yet
--tcp-established ! checkpoints are not supported yet
--tcp-close ! checkpoints are not supported yet
--ext-unix-sk ! checkpoints are not supported yet
--shell-job ! checkpoints are not supported yet
--file-locks ! checkpoints are not supported yet
--manage-cgroups-mode MODE ! checkpoints are not supported yet
--network-lock METHOD ! checkpoints are not supported yet
-b, --bundle DIR ! checkpoints are not supported yet
-d, --detach ! checkpoints are not supported yet
--pid-file FILE ! checkpoints are not supported yet
--no-subreaper ! checkpoints are not supported yet
--no-pivot ! checkpoints are not supported yet
--empty-ns NAMESPACE... ! checkpoints are not supported yet
--auto-dedup ! checkpoints are not supported yet
--lazy-pages ! checkpoints are not supported yet
--lsm-profile TYPE:NAME ! checkpoints are not supported yet
--lsm-mount-context CONTEXT ! checkpoints are not supported yet

Checkpoints need CRIU, which this version does not drive: the command is refused.

$ orlop restore --help
",
);

pub(super) fn run(_: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    args.operand()?;
    Err(Failure::new("checkpoint and restore are not supported by this version"))
}
