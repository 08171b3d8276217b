//! Mount options, one a line, and sysctl names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop::config::mount_options::MountOptions;
use orlop::config::{Text, sysctl_file};

fuzz_target!(|text: &str| {
    let options: Vec<Text<'_>> = text.split('\n').map(Text::from).collect();
    let parsed = MountOptions::parse(&options);
    assert!(parsed.data_string().len() <= 2 * text.len());
    if let Some(file) = sysctl_file(text) {
        assert!(file.split('/').all(|part| !matches!(part, "" | "." | "..")), "{file}");
    }
});
