//! The processes of a cgroup.

pub use rustix::process::Pid;

/// The processes of a cgroup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Members {
    /// Those that the caller's pid namespace can see, ascending.
    pub pids: Vec<Pid>,
    /// How many it cannot see, because they are in a pid namespace above or beside it. cgroup v1 leaves such processes out.
    pub hidden: usize,
}

impl Members {
    /// All of them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pids.len() + self.hidden
    }

    /// Whether there is no process, seen or not.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a process is among those that can be seen.
    #[must_use]
    pub fn contains(&self, pid: Pid) -> bool {
        self.pids.contains(&pid)
    }

    /// Adds the processes of a cgroup below.
    pub(crate) fn extend(&mut self, other: Self) {
        self.pids.extend(other.pids);
        self.hidden += other.hidden;
    }

    /// In order, each once: a process that moves while the cgroups are read may have been met twice.
    pub(crate) fn sort(&mut self) {
        self.pids.sort_unstable_by_key(|pid| pid.as_raw_pid());
        self.pids.dedup();
    }

    /// From the lines of `cgroup.procs`, where 0 stands for a process that cannot be seen.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut members = Self::default();
        for line in text.lines() {
            match line.parse::<i32>().ok()? {
                0 => members.hidden += 1,
                number if number > 0 => members.pids.extend(Pid::from_raw(number)),
                _ => return None,
            }
        }
        Some(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_that_cannot_be_seen_are_counted() {
        let pids = |members: &Members| members.pids.iter().map(|pid| pid.as_raw_pid()).collect::<Vec<_>>();
        let mut members = Members::parse("7\n0\n3\n").unwrap();
        members.extend(Members::parse("0\n7\n").unwrap());
        members.sort();
        assert_eq!((pids(&members), members.hidden, members.len()), (vec![3, 7], 2, 4));
        assert!(members.contains(Pid::from_raw(7).unwrap()) && !members.contains(Pid::INIT));
        assert!(!Members::parse("0\n").unwrap().is_empty() && Members::parse("").unwrap().is_empty());
        for wrong in ["-5\n", "x\n", "\n", "4294967296\n"] {
            assert_eq!(Members::parse(wrong), None, "{wrong:?}");
        }
    }
}
