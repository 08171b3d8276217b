//! Whatever an entry is called: its name stays below the root, and a whiteout never names the root, `.` or `..`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop_images::layer::{Limits, Meaning, Name};

fuzz_target!(|bytes: &[u8]| {
    let Ok(name) = Name::parse(bytes, &Limits::default()) else { return };
    let plain = |part: &Vec<u8>| !part.is_empty() && part != b"." && part != b".." && !part.contains(&b'/') && part.len() <= 255;
    assert!(name.components().iter().all(plain));
    match name.meaning() {
        Ok(Meaning::Whiteout(name)) => assert!(!name.is_root() && name.components().iter().all(plain)),
        Ok(Meaning::Entry(name) | Meaning::Opaque(name)) => assert!(name.components().iter().all(plain)),
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
});
