//! Messages from the bus, and properties of units as annotations write them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    orlop_cgroups::fuzzing::bus(bytes);
});
