//! The process file of `exec` and the resources file of `update`.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop::config;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(process) = config::load_process(bytes) {
        drop(config::check_process(&process));
    }
    drop(config::load_resources(bytes));
});
