//! AppArmor profiles and SELinux labels, on a kernel that has them: profiles and a policy of the tests' own confine containers.
//!
//! A kernel has one of the two at a time. The guest lane boots with either (`integration/guest/run -l`); the SELinux cases rely
//! on its policy, `integration/guest/selinux.cil`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    reason = "a test fails by panicking"
)]

mod apparmor;
mod selinux;

fn main() -> std::process::ExitCode {
    orlop_integration::run("labels", &[("apparmor", apparmor::CASES), ("selinux", selinux::CASES)])
}
