//! `orlop update`.

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::Command;

pub(super) const COMMAND: Command = Command(
    "update: ID
change the resource limits of a container

-r, --resources FILE | read the new limits from this JSON file (- is standard input); no other flag may be given
--blkio-weight N | weight of block I/O, 10 to 1000
--cpu-period USEC | length of a CPU period; 0 for the system's default
--cpu-quota USEC | CPU time per period; -1 for no limit
--cpu-burst USEC | CPU time that may be saved up for a burst
--cpu-share N | CPU time relative to other containers (v1's shares; converted for v2)
--cpu-rt-period USEC | length of a realtime period (v1)
--cpu-rt-runtime USEC | realtime CPU time per period (v1)
--cpu-idle 0|1 | 1: run only when nothing else wants the CPU (SCHED_IDLE)
--cpuset-cpus LIST | the CPUs it may use, like 0-2,7
--cpuset-mems LIST | the memory nodes it may use
--memory BYTES | memory limit; k, m, g and t are understood, -1 for no limit
--memory-reservation BYTES | memory that is protected or aimed at (v1's soft limit, v2's low)
--memory-swap BYTES | memory and swap together; -1 for no limit
--kernel-memory BYTES ! the kernel has no such limit any more
--kernel-memory-tcp BYTES ! use --memory: on v2 it counts TCP buffers too
--pids-limit N | number of processes; -1 for no limit
--l3-cache-schema SCHEMA | Intel RDT: schema of the L3 cache
--mem-bw-schema SCHEMA | Intel RDT: schema of the memory bandwidth

What is not named stays as it is. The file holds the resources object of the OCI configuration:

{
  \"memory\": { \"limit\": 268435456, \"reservation\": 0, \"swap\": 0 },
  \"cpu\": { \"shares\": 512, \"quota\": 50000, \"period\": 100000, \"cpus\": \"0-1\" },
  \"pids\": { \"limit\": 100 }
}

$ orlop update --memory 256m --pids-limit 100 web1
$ echo '{\"cpu\":{\"quota\":50000}}' | orlop update --resources - web1
",
);

pub(super) fn run(_: &Session<'_>, _: &Args<'_>) -> Result<u8, Failure> {
    Err(Failure::new("pending"))
}
