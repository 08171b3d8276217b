//! A state file, as somebody may have left it: read, or refused with the container's name; and what is read is written the same.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    orlop::fuzzing::state(bytes);
});
