//! OCI seccomp profiles compiled to BPF, in pure Rust.
//!
//! A *profile* is the `linux.seccomp` section of a container's `config.json`: a default action, and rules that give
//! other actions to some system calls, perhaps only for some arguments. A *filter* is what the kernel runs for every
//! call: a program in classic BPF that answers with an action.
//!
//! ```
//! use orlop_seccomp::{Action, Arch, Call, Options, Profile, compile};
//! let profile: Profile<'_> = serde_json::from_str(
//!     r#"{"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": [
//!         {"names": ["read", "write", "exit_group", "openat2"], "action": "SCMP_ACT_ALLOW"},
//!         {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}]}"#,
//! )?;
//! let mut options = Options::default();
//! options.native = Some(Arch::X86_64);
//! let filter = compile(&profile, &options)?;
//!
//! // What it does, without loading it:
//! let verdict = |name, arguments: &[u64]| filter.verdict(&Call::named(Arch::X86_64, name, arguments).unwrap());
//! assert_eq!(verdict("read", &[]), Action::Allow);
//! assert_eq!(verdict("socket", &[1]), Action::Allow);
//! assert_eq!(verdict("socket", &[40]), Action::Errno(1));
//! // Newer than all the profile names: a program takes it for an old kernel, and falls back.
//! assert_eq!(verdict("cachestat", &[]), Action::Errno(38));
//! println!("{}", filter.disassemble());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`load`] puts a filter on this process, [`notify`] serves the calls that `SCMP_ACT_NOTIFY` stops, [`report`] makes
//! listings and verdicts for people.
//!
//! # What a filter is like
//! The native architecture comes first; each has one search over ranges of numbers, made of the fewest comparisons:
//! Docker's default profile on three architectures takes 231 instructions. Arguments are looked at only for calls with
//! conditions, so that Linux 5.11 and later decides all plainly allowed calls when the filter is loaded, and never runs
//! it for them. The same profile gives the same bytes everywhere.
//!
//! # How profiles are read
//! As runc reads them through libseccomp, whose verdicts the tests compare with:
//! - The native architecture always belongs to the filter. Calls made by any other than those listed kill the process
//!   (libseccomp: the thread).
//! - The first rule without conditions on a call stands. Without one, rules with conditions are tried in libseccomp's
//!   order: higher arguments first, then equality, less-than and greater-than, the narrower range first. A rule whose
//!   action is the default one counts for nothing.
//! - The conditions of a rule must all hold; if two are on the same argument, any one of all suffices.
//! - Calls numbered above all that a profile names on an architecture fail with ENOSYS, unless the default action lets
//!   calls through ([`Options::enosys_for_newer`]). On s390x so does number 0, behind which such calls hide.
//! - On architectures with `socketcall` and `ipc` a rule holds for the call made through them too. A condition on its
//!   first argument cannot be checked there (it lies in memory) and is left out; the version in the upper half of
//!   `ipc`'s first argument is not looked at (libseccomp compares it, which lets calls slip by a rule).
//! - 64-bit conventions and x32 compare all 64 bits of an argument, 32-bit ones the lower half (libseccomp does that on
//!   x32 too).
//! - Names no architecture has are left out and listed in [`Filter::unknown_syscalls`], or refused
//!   ([`Options::fail_unknown_syscalls`]).
//!
//! # System call numbers
//! Written by `examples/generate-tables.rs` from the kernel's own headers (Linux 7.2; 31-bit s390: 6.12), for all 23
//! architectures of the OCI specification.
//!
//! # Measuring
//! `cargo run --release -p orlop-seccomp --example bench` compares size, compiling, attaching and the cost of calls with
//! libseccomp.

mod action;
mod advice;
mod arch;
mod arguments;
mod assemble;
mod bpf;
mod compile;
mod condition;
mod disassemble;
mod emulate;
mod error;
mod filter;
mod flags;
pub mod load;
pub mod notify;
mod profile;
mod raw;
pub mod report;
mod rules;
mod sys;
mod tables;
mod tree;

pub use action::{ACTIONS, Action};
pub use advice::{Advice, advise, narrow_arguments};
pub use arch::{ARCHITECTURES, Arch};
pub use bpf::{MAX_INSTRUCTIONS, SockFilter};
pub use compile::{Options, compile};
pub use condition::OPERATORS;
pub use disassemble::Disassembly;
pub use emulate::{Call, Trace, evaluate, trace};
pub use error::{Error, Kind};
pub use filter::{Filter, UnknownSyscall};
pub use flags::{FLAGS, Flags};
pub use profile::{Condition, Profile, Rule};
pub use raw::from_bytes;
