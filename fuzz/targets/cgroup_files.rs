//! What the files of control groups hold, the paths they are found by, and `linux.resources` beside them.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    orlop_cgroups::fuzzing::files(text);
});
