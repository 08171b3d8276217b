//! Which processors a thread has: for a child that is to be at work beside its parent, and not behind it.

/// Where a thread runs, and where it may.
///
/// The kernel wakes the caller on the processor where it has waited, and often leaves the child there too, behind the caller, while
/// another processor idles: its search for an idle one ends early, in a small machine before it has begun.
#[derive(Debug)]
pub(crate) struct Processors {
    here: u32,
    /// Those where the thread may run.
    all: CpuSet,
    /// Those of them where it does not.
    others: CpuSet,
}

/// One bit for each processor.
type CpuSet = [u64; 16];

impl Processors {
    /// Those of the calling thread; `None` when it has only one, or more than can be told here.
    pub(crate) fn of_this_thread() -> Option<Self> {
        let mut all: CpuSet = [0; 16];
        // SAFETY: writes at most as many bytes as the set has.
        let read = unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, size_of::<CpuSet>(), all.as_mut_ptr()) };
        // SAFETY: takes nothing.
        let here = unsafe { libc::sched_getcpu() };
        let here = u32::try_from(here).ok().filter(|_| read > 0)?;
        let mut others = all;
        *others.get_mut(here as usize / 64)? &= !(1 << (here % 64));
        others.iter().any(|word| *word != 0).then_some(Self { here, all, others })
    }

    /// Moves the calling process to another processor than the one these were read on, whose thread is about to be woken; where it
    /// may not go, it stays. It calls nothing but the kernel.
    pub(super) fn leave(&self) {
        let mut here = 0u32;
        let none = std::ptr::null_mut::<u32>();
        // SAFETY: writes the number of this thread's processor.
        if unsafe { libc::syscall(libc::SYS_getcpu, &raw mut here, none, none) } == 0 && here == self.here {
            for set in [&self.others, &self.all] {
                // SAFETY: reads as many bytes as the set has.
                unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of::<CpuSet>(), set.as_ptr()) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::sched::{CpuSet as Set, sched_getaffinity, sched_setaffinity};
    use nix::unistd::Pid;

    use super::super::spawn::{Program, Spawn, spawn};
    use super::*;

    /// The affinity of a process that is spawned.
    fn spawned(apart: Option<&Processors>) -> String {
        let (ours, theirs) = nix::unistd::pipe().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let (pid, _) = spawn(&Spawn {
            namespaces: 0,
            cgroup: None,
            program: Program::Path(c"/bin/grep"),
            argv: &[c"grep", c"Cpus_allowed:", c"/proc/self/status"],
            environment: &[],
            before: &[],
            inherit: &[],
            apart,
            stdio: Some([null.as_fd(), theirs.as_fd(), null.as_fd()]),
        })
        .unwrap();
        drop(theirs);
        let mut text = String::new();
        std::io::Read::read_to_string(&mut std::fs::File::from(ours), &mut text).unwrap();
        nix::sys::wait::waitpid(Pid::from_raw(pid), None).unwrap();
        assert!(text.contains("Cpus_allowed"), "{text}");
        text
    }

    #[test]
    fn a_process_that_leaves_may_come_back() {
        // A thread of its own: what it does to its affinity is nobody else's.
        std::thread::spawn(|| {
            let this_thread = Pid::from_raw(0);
            let all = sched_getaffinity(this_thread).unwrap();
            let expected = spawned(None);
            let here = nix::sched::sched_getcpu().unwrap();
            let mut only = Set::new();
            only.set(here).unwrap();
            sched_setaffinity(this_thread, &only).unwrap();
            assert!(Processors::of_this_thread().is_none(), "there is nowhere to go");
            sched_setaffinity(this_thread, &all).unwrap();
            if let Some(processors) = Processors::of_this_thread() {
                assert_eq!(processors.others[processors.here as usize / 64] >> (processors.here % 64) & 1, 0);
                assert_eq!(spawned(Some(&processors)), expected);
            }
        })
        .join()
        .unwrap();
    }

    #[test]
    fn where_a_process_may_not_go_it_stays() {
        // Processors that no machine has: the kernel refuses the set.
        let mut nowhere = [0; 16];
        nowhere[15] = 1 << 63;
        let here = u32::try_from(nix::sched::sched_getcpu().unwrap()).unwrap();
        let expected = spawned(None);
        let processors = Processors { here, all: nowhere, others: nowhere };
        assert_eq!(spawned(Some(&processors)), expected);
    }
}
