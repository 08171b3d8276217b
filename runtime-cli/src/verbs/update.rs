//! `orlop update`.

use std::ffi::OsStr;
use std::io::Read;
use std::str::FromStr;

use orlop::UpdateOptions;

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::{Session, container_id};
use crate::table::Command;
use crate::units;

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
--kernel-memory BYTES | without effect but for a warning: the kernel has no such limit any more
--kernel-memory-tcp BYTES | without effect but for a warning: --memory counts TCP buffers too
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

pub(super) fn run(session: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let options = limits(args)?;
    let file = args.value("resources").filter(|file| !file.is_empty());
    let id = container_id(args.operand()?)?;
    // Read only now: a wrong command line must not wait for standard input.
    let options = UpdateOptions { resources: file.map(contents).transpose()?, ..options };
    session.warn_all(&orlop::update(&session.runtime, &id, &options)?);
    Ok(0)
}

/// What the flags for single limits say.
fn limits(args: &Args<'_>) -> Result<UpdateOptions, Failure> {
    Ok(UpdateOptions {
        resources: None,
        // 0 is outside the range: runc and its callers mean by it that the weight stays.
        blkio_weight: number(args, "blkio-weight")?.filter(|&weight: &u16| weight != 0),
        cpu_period: number(args, "cpu-period")?,
        cpu_quota: number(args, "cpu-quota")?,
        cpu_burst: number(args, "cpu-burst")?,
        cpu_shares: number(args, "cpu-share")?,
        cpu_rt_period: number(args, "cpu-rt-period")?,
        cpu_rt_runtime: number(args, "cpu-rt-runtime")?,
        cpu_idle: number(args, "cpu-idle")?,
        cpuset_cpus: text(args, "cpuset-cpus")?,
        cpuset_mems: text(args, "cpuset-mems")?,
        memory: bytes(args, "memory")?,
        memory_reservation: bytes(args, "memory-reservation")?,
        memory_swap: bytes(args, "memory-swap")?,
        kernel_memory: bytes(args, "kernel-memory")?,
        kernel_memory_tcp: bytes(args, "kernel-memory-tcp")?,
        pids_limit: number(args, "pids-limit")?,
        l3_cache_schema: text(args, "l3-cache-schema")?,
        mem_bw_schema: text(args, "mem-bw-schema")?,
    })
}

/// An empty value means that the limit stays, as runc has it.
fn text(args: &Args<'_>, name: &str) -> Result<Option<String>, Failure> {
    Ok(args.text(name)?.filter(|text| !text.is_empty()).map(str::to_owned))
}

fn number<N: FromStr>(args: &Args<'_>, name: &str) -> Result<Option<N>, Failure> {
    if text(args, name)?.is_none() { Ok(None) } else { args.number(name) }
}

fn bytes(args: &Args<'_>, name: &str) -> Result<Option<i64>, Failure> {
    let read = |text: String| {
        units::bytes(&text).ok_or_else(|| Failure::usage(format!("--{name} {text:?}: not a number of bytes")))
    };
    text(args, name)?.map(read).transpose()
}

fn contents(file: &OsStr) -> Result<Vec<u8>, Failure> {
    if file != "-" {
        return std::fs::read(file).map_err(|error| Failure::io(format_args!("read {}", file.display()), &error));
    }
    let mut bytes = Vec::new();
    let read = std::io::stdin().read_to_end(&mut bytes);
    read.map(|_| bytes).map_err(|error| Failure::io("read standard input", &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::parse;

    #[test]
    fn limits_are_read_with_their_units() {
        let line =
            "--memory 256m --memory-swap=-1 --cpu-quota -1 --cpu-idle 1 --pids-limit 0 --blkio-weight 0 --cpu-share  x";
        let words: Vec<&OsStr> = line.split(' ').map(OsStr::new).collect();
        let limits = limits(&parse(COMMAND, &words).unwrap()).unwrap();
        let expected = UpdateOptions {
            memory: Some(256 << 20),
            memory_swap: Some(-1),
            cpu_quota: Some(-1),
            cpu_idle: Some(1),
            pids_limit: Some(0),
            ..UpdateOptions::default()
        };
        assert_eq!(limits, expected);
        let wrong = ["--memory", "much"].map(OsStr::new);
        assert!(super::limits(&parse(COMMAND, &wrong).unwrap()).is_err());
    }
}
