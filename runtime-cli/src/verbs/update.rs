//! `orlop update`.

use std::ffi::OsStr;
use std::io::Read;
use std::str::FromStr;

use orlop::UpdateOptions;

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::{Session, container_id};
use crate::table::{Name, command};
use crate::units;

command! {
    "update: ID
change the resource limits of a container
",
    [
        RESOURCES = "-r, --resources FILE | read the new limits from this JSON file (- is standard input); no other flag may be given",
        BLKIO_WEIGHT = "--blkio-weight N | weight of block I/O, 10 to 1000",
        CPU_PERIOD = "--cpu-period USEC | length of a CPU period; 0 for the system's default",
        CPU_QUOTA = "--cpu-quota USEC | CPU time per period; -1 for no limit",
        CPU_BURST = "--cpu-burst USEC | CPU time that may be saved up for a burst",
        CPU_SHARE = "--cpu-share N | CPU time relative to other containers (v1's shares; converted for v2)",
        CPU_RT_PERIOD = "--cpu-rt-period USEC | length of a realtime period (v1)",
        CPU_RT_RUNTIME = "--cpu-rt-runtime USEC | realtime CPU time per period (v1)",
        CPU_IDLE = "--cpu-idle 0|1 | 1: run only when nothing else wants the CPU (SCHED_IDLE)",
        CPUSET_CPUS = "--cpuset-cpus LIST | the CPUs it may use, like 0-2,7",
        CPUSET_MEMS = "--cpuset-mems LIST | the memory nodes it may use",
        MEMORY = "--memory BYTES | memory limit; k, m, g and t are understood, -1 for no limit",
        MEMORY_RESERVATION = "--memory-reservation BYTES | memory that is protected or aimed at (v1's soft limit, v2's low)",
        MEMORY_SWAP = "--memory-swap BYTES | memory and swap together; -1 for no limit",
        KERNEL_MEMORY = "--kernel-memory BYTES | without effect but for a warning: the kernel has no such limit any more",
        KERNEL_MEMORY_TCP = "--kernel-memory-tcp BYTES | without effect but for a warning: --memory counts TCP buffers too",
        PIDS_LIMIT = "--pids-limit N | number of processes; -1 for no limit",
        L3_CACHE_SCHEMA = "--l3-cache-schema SCHEMA | Intel RDT: schema of the L3 cache",
        MEM_BW_SCHEMA = "--mem-bw-schema SCHEMA | Intel RDT: schema of the memory bandwidth",
    ],
    "
What is not named stays as it is. The file holds the resources object of the OCI configuration:

{
  \"memory\": { \"limit\": 268435456, \"reservation\": 0, \"swap\": 0 },
  \"cpu\": { \"shares\": 512, \"quota\": 50000, \"period\": 100000, \"cpus\": \"0-1\" },
  \"pids\": { \"limit\": 100 }
}

$ orlop update --memory 256m --pids-limit 100 web1
$ echo '{\"cpu\":{\"quota\":50000}}' | orlop update --resources - web1
"
}

pub(crate) fn run(session: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let options = limits(args)?;
    let file = args.value(RESOURCES).filter(|file| !file.is_empty());
    let id = container_id(args.operand()?)?;
    // Read only now: a wrong command line must not wait for standard input.
    let options = options.resources(file.map(contents).transpose()?);
    session.warn_all(&orlop::update(&session.runtime, &id, &options)?);
    Ok(0)
}

/// What the flags for single limits say.
fn limits(args: &Args<'_>) -> Result<UpdateOptions, Failure> {
    Ok(UpdateOptions::default()
        // 0 is outside the range: runc and its callers mean by it that the weight stays.
        .blkio_weight(number(args, BLKIO_WEIGHT)?.filter(|&weight: &u16| weight != 0))
        .cpu_period(number::<u64>(args, CPU_PERIOD)?)
        .cpu_quota(number::<i64>(args, CPU_QUOTA)?)
        .cpu_burst(number::<u64>(args, CPU_BURST)?)
        .cpu_shares(number::<u64>(args, CPU_SHARE)?)
        .cpu_rt_period(number::<u64>(args, CPU_RT_PERIOD)?)
        .cpu_rt_runtime(number::<i64>(args, CPU_RT_RUNTIME)?)
        .cpu_idle(number::<i64>(args, CPU_IDLE)?)
        .cpuset_cpus(text(args, CPUSET_CPUS)?)
        .cpuset_mems(text(args, CPUSET_MEMS)?)
        .memory(bytes(args, MEMORY)?)
        .memory_reservation(bytes(args, MEMORY_RESERVATION)?)
        .memory_swap(bytes(args, MEMORY_SWAP)?)
        .kernel_memory(bytes(args, KERNEL_MEMORY)?)
        .kernel_memory_tcp(bytes(args, KERNEL_MEMORY_TCP)?)
        .pids_limit(number::<i64>(args, PIDS_LIMIT)?)
        .l3_cache_schema(text(args, L3_CACHE_SCHEMA)?)
        .mem_bw_schema(text(args, MEM_BW_SCHEMA)?))
}

/// An empty value means that the limit stays, as runc has it.
fn text(args: &Args<'_>, name: Name) -> Result<Option<String>, Failure> {
    Ok(args.text(name)?.filter(|text| !text.is_empty()).map(str::to_owned))
}

fn number<N: FromStr>(args: &Args<'_>, name: Name) -> Result<Option<N>, Failure> {
    if text(args, name)?.is_none() { Ok(None) } else { args.number(name) }
}

fn bytes(args: &Args<'_>, name: Name) -> Result<Option<i64>, Failure> {
    let read = |text: String| {
        units::bytes(&text).ok_or_else(|| Failure::usage(format!("{name} {text:?}: not a number of bytes")))
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
        let expected =
            UpdateOptions::default().memory(256 << 20).memory_swap(-1).cpu_quota(-1).cpu_idle(1).pids_limit(0);
        assert_eq!(limits, expected);
        let wrong = ["--memory", "much"].map(OsStr::new);
        assert!(super::limits(&parse(COMMAND, &wrong).unwrap()).is_err());
    }
}
