//! Mount options, id map ranges, number lists and sysctl names never panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop::config::mount_options::{MountOptions, parse_id_map};
use orlop::config::{IdMapping, Text, parse_list, sysctl_file};

fuzz_target!(|text: &str| {
    let options: Vec<Text<'_>> = text.split('\n').map(Text::from).collect();
    let parsed = MountOptions::parse(&options);
    assert!(parsed.data.len() <= options.len());
    let container = [IdMapping { container_id: 1, host_id: 100_000, size: 65_536 }];
    let _ = parse_id_map(text, &container, &container);
    let _ = parse_list(text, 1023);
    if let Some(file) = sysctl_file(text) {
        assert!(file.split('/').all(|part| !matches!(part, "" | "." | "..")), "{file}");
    }
});
