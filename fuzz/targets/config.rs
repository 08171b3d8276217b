//! Loading and checking never panic, and what is refused is refused with a field or as no JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop::config::{self, CheckOptions};
use orlop::{ValidateOptions, validate_config};

fuzz_target!(|bytes: &[u8]| {
    let loaded = config::load(bytes);
    if let Ok(config) = &loaded {
        assert_eq!(config.has_unknown_fields, !config::unknown_fields(bytes).is_empty());
    }
    let checked = loaded.and_then(|config| config::check(&config, CheckOptions { rootless: true, no_pivot: true }));
    if let Err(error) = checked {
        let message = error.to_string();
        assert!(error.field().is_some() || message.starts_with("load config: "), "{message}");
        assert!(!message.contains('\n'), "{message}");
    }
    for finding in validate_config(bytes, &ValidateOptions::default().strict(true)) {
        assert!(!finding.message.is_empty());
    }
});
