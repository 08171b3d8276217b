//! Answers of CRIU, its log, and the descriptors file of a checkpoint.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    orlop::fuzzing::criu(bytes);
});
