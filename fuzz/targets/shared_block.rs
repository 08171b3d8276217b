//! The block of memory that `create` leaves for `start`, damaged or of another version.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    orlop::fuzzing::shared_block(bytes);
});
