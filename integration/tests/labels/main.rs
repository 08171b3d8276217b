//! AppArmor profiles and SELinux labels, on a kernel that has them: profiles and a policy of the tests' own confine containers.
//!
//! A kernel has one of the two at a time. The guest lane boots with either (`integration/guest/run -l`); the SELinux cases rely
//! on its policy, `integration/guest/selinux.cil`.

mod apparmor;
mod selinux;

fn main() -> std::process::ExitCode {
    orlop_integration::run()
}
