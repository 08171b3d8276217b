//! The life of a container through every verb, option and config field.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
#![allow(missing_docs, reason = "the cases are named after what they check")]

mod verbs;

fn main() -> std::process::ExitCode {
    orlop_integration::run("lifecycle", &[("verbs", verbs::CASES)])
}
