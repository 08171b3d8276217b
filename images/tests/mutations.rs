//! Parsers of what strangers say, on a hundred thousand damaged inputs each: no panic, and what is accepted is consistent.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use orlop_images::model::{ImageConfig, Limits, MediaType, Parsed};
use orlop_images::registry::Challenge;
use orlop_images::{Digest, Platform, Reference, Source};

/// How many inputs each parser gets.
const ROUNDS: u32 = 100_000;

/// Numbers that are the same in every run (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit.max(1) as u64).unwrap()
    }
}

/// Changes a seed at a few places: bytes, pieces of other seeds, doubled and cut parts.
fn mutated(random: &mut Random, seeds: &[&str]) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].as_bytes().to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(5) {
            0 if at < bytes.len() => bytes[at] = u8::try_from(random.below(256)).unwrap(),
            1 => bytes.truncate(at),
            2 => {
                let other = seeds[random.below(seeds.len())].as_bytes();
                let from = random.below(other.len() + 1);
                bytes.splice(at..at, other[from..].iter().copied().take(40));
            }
            3 => {
                let part = bytes[at..].to_vec();
                bytes.extend(part);
            }
            _ => bytes.insert(at, b"\"\\:@/{}[],=\0\n\x80-"[random.below(15)]),
        }
    }
    bytes
}

/// Gives `parse` damaged seeds, and sees to it that some were accepted and some refused.
fn each(seeds: &[&str], mut parse: impl FnMut(&[u8]) -> bool) {
    let mut random = Random(0x5eed_5eed_5eed_5eed);
    let accepted = (0..ROUNDS).filter(|_| parse(&mutated(&mut random, seeds))).count();
    assert!(accepted > 100 && accepted < ROUNDS as usize, "{accepted} of {ROUNDS} were accepted");
}

const HEX: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn references() {
    let pinned = format!("localhost:5000/a/b:1@{HEX}");
    let seeds =
        ["nginx", "docker.io/library/nginx:1.27", "[::1]:5000/a__b/c-d", "oci:dir:name", "docker-archive:f", &pinned];
    each(&seeds, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let Ok(reference) = text.parse::<Reference>() else { return text.parse::<Source>().is_ok() };
        let full = reference.to_string();
        assert_eq!(full.parse::<Reference>().unwrap(), reference, "{text:?}");
        assert_eq!(reference.familiar().parse::<Reference>().unwrap(), reference, "{text:?}");
        assert!(!reference.name().contains("..") && !full.contains(char::is_whitespace), "{full:?}");
        true
    });
}

#[test]
fn manifests_and_configs() {
    let blob = |kind: &str| format!("{{\"mediaType\":\"{kind}\",\"digest\":\"{HEX}\",\"size\":7}}");
    let image = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{}\",\"config\":{},\"layers\":[{}]}}",
        MediaType::OCI_MANIFEST,
        blob(MediaType::OCI_CONFIG),
        blob(MediaType::OCI_LAYER)
    );
    let index = format!(
        "{{\"schemaVersion\":2,\"manifests\":[{{\"mediaType\":\"{}\",\"digest\":\"{HEX}\",\"size\":7,\
         \"platform\":{{\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v7\"}},\"annotations\":null}}]}}",
        MediaType::OCI_MANIFEST
    );
    let limits = Limits::default();
    each(&[&image, &index], |bytes| match Parsed::read(bytes, None, &limits) {
        Ok(Parsed::Manifest(manifest)) => {
            assert!(manifest.layers.len() <= limits.layers && manifest.config.size <= limits.config);
            let again = Parsed::read(&manifest.to_json(), Some(&manifest.media_type), &limits).unwrap();
            matches!(again, Parsed::Manifest(again) if again.layers.len() == manifest.layers.len())
        }
        Ok(Parsed::Index(index)) => {
            assert!(index.manifests.len() <= limits.entries);
            index.choose(&Platform::host()).is_none_or(|chosen| index.manifests.contains(chosen))
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    });
    let config = format!(
        "{{\"os\":\"linux\",\"config\":{{\"Env\":[\"A=b\"],\"Cmd\":null}},\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"{HEX}\"]}}}}"
    );
    each(&[&config], |bytes| {
        let Ok(config) = serde_json::from_slice::<ImageConfig>(bytes) else { return false };
        let text = serde_json::to_vec(&config).unwrap();
        assert_eq!(serde_json::from_slice::<ImageConfig>(&text).unwrap(), config);
        true
    });
}

#[test]
fn digests_platforms_and_challenges() {
    each(&[HEX], |bytes| {
        let text = String::from_utf8_lossy(bytes);
        text.parse::<Digest>().is_ok_and(|digest| digest.to_string() == text)
    });
    each(&["linux/arm/v7", "linux/amd64", "arm64"], |bytes| {
        let text = String::from_utf8_lossy(bytes);
        text.parse::<Platform>().is_ok_and(|platform| platform.to_string().parse::<Platform>().unwrap() == platform)
    });
    let seeds = ["Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:a:pull\"", "Basic realm=x, Negotiate"];
    each(&seeds, |bytes| Challenge::parse(&String::from_utf8_lossy(bytes)).len() == 1);
}
