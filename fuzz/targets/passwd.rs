//! A passwd file of the image.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    orlop::fuzzing::passwd(text);
});
