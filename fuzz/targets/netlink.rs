//! Answers of rtnetlink: links, addresses, errors.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    orlop::fuzzing::netlink(bytes);
});
