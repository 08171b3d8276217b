//! /proc/PID/mountinfo: mount points are unescaped, and never longer than they were written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop_cgroups::mountinfo;

fuzz_target!(|text: &str| {
    for mount in mountinfo::mounts(text) {
        assert!(mount.point.len() + mount.root.len() <= 2 * text.len());
    }
    orlop_cgroups::fuzzing::layout(text);
});
