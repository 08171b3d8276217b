//! Manifests, indexes and configs of images: within the limits, and what is written of them is read the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop_images::Platform;
use orlop_images::model::{ImageConfig, Limits, Parsed};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits::default();
    match Parsed::read(bytes, None, &limits) {
        Ok(Parsed::Manifest(manifest)) => {
            assert!(manifest.layers.len() <= limits.layers && manifest.config.size <= limits.config);
            let again = Parsed::read(&manifest.to_json(), Some(&manifest.media_type), &limits).unwrap();
            assert!(matches!(again, Parsed::Manifest(again) if again.layers.len() == manifest.layers.len()));
        }
        Ok(Parsed::Index(index)) => {
            assert!(index.manifests.len() <= limits.entries);
            assert!(index.choose(&Platform::host()).is_none_or(|chosen| index.manifests.contains(chosen)));
        }
        Err(error) => assert!(!error.to_string().contains('\n')),
    }
    if let Ok(config) = serde_json::from_slice::<ImageConfig>(bytes) {
        let text = serde_json::to_vec(&config).unwrap();
        assert_eq!(serde_json::from_slice::<ImageConfig>(&text).unwrap(), config);
    }
});
