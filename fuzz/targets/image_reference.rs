//! Names of images, digests and platforms: what is read is written, and read the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop_images::{Digest, Platform, Reference, Source};

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<Reference>() {
        let full = reference.to_string();
        assert_eq!(full.parse::<Reference>().unwrap(), reference);
        assert_eq!(reference.familiar().parse::<Reference>().unwrap(), reference);
        assert!(!reference.name().contains("..") && !full.contains(char::is_whitespace));
    }
    drop(text.parse::<Source>());
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
    if let Ok(platform) = text.parse::<Platform>() {
        assert_eq!(platform.to_string().parse::<Platform>().unwrap(), platform);
    }
});
