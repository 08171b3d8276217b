//! A compiled filter.
use crate::bpf::SockFilter;
use crate::{Action, Arch, Call, Disassembly, Flags, emulate};

/// A compiled profile: the program and all that is needed to load it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Filter {
    /// The program, as the kernel takes it.
    pub instructions: Vec<SockFilter>,
    /// The flags for `seccomp(2)`, with `NEW_LISTENER` if [`Self::notify`].
    pub flags: Flags,
    /// The architectures it speaks of, the native one first. Calls of any other kill the process.
    pub architectures: Vec<Arch>,
    /// Whether an agent must answer some calls.
    pub notify: bool,
    /// The agent's Unix socket.
    pub listener_path: Option<String>,
    /// Text for the agent.
    pub listener_metadata: Option<String>,
    /// Names in the profile that no architecture has; no rule was made of them.
    pub unknown_syscalls: Vec<UnknownSyscall>,
}

/// A name no architecture has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownSyscall {
    /// The name.
    pub name: String,
    /// The rule, as an index in `syscalls`.
    pub rule: usize,
    /// The index in the rule's `names`.
    pub position: usize,
}

impl UnknownSyscall {
    /// The name's place, as a JSON pointer relative to the seccomp section.
    pub fn field(&self) -> String {
        format!("/syscalls/{}/names/{}", self.rule, self.position)
    }
}

impl Filter {
    /// The program as bytes in this machine's order: the array that `struct sock_fprog` points to.
    pub fn as_bytes(&self) -> &[u8] {
        crate::sys::bytes(&self.instructions)
    }

    /// The number of instructions, as `struct sock_fprog` holds it.
    pub fn len(&self) -> u16 {
        u16::try_from(self.instructions.len()).unwrap_or(u16::MAX)
    }

    /// Never: even the emptiest profile checks the architecture.
    pub fn is_empty(&self) -> bool {
        self.instructions.is_empty()
    }

    /// The program as a listing, a line for each instruction.
    pub fn disassemble(&self) -> String {
        let arch = self.architectures.first().copied().unwrap_or(Arch::X86_64);
        Disassembly::new(&self.instructions, arch).to_string()
    }

    /// What the filter answers to a call. Runs the program itself: some dozen instructions.
    pub fn verdict(&self, call: &Call) -> Action {
        Action::from_raw(emulate::run(&self.instructions, call).answer)
    }
}
