//! Documents that are made to do harm.

use std::collections::HashMap;
use std::sync::Arc;

use orlop_images::model::MediaType;
use orlop_images::{Digest, Image, Kind, Platform, Result};

use crate::image::{Kept, pull};
use crate::proxy::{Proxy, Reply};
use crate::server::free_port;

/// Documents by name and their media type; anything else is not there.
fn serve(documents: &[(String, &'static str, Vec<u8>)]) -> Proxy {
    let found: HashMap<String, (&'static str, Vec<u8>)> =
        documents.iter().map(|(name, kind, bytes)| (name.clone(), (*kind, bytes.clone()))).collect();
    let found = Arc::new(found);
    Proxy::start(free_port(), move |seen, _| {
        let name = seen.target.rsplit('/').next().unwrap();
        match found.get(name) {
            Some((kind, bytes)) => Reply::answer("200 OK", &[&format!("Content-Type: {kind}")], bytes.clone()),
            None => Reply::answer("404 Not Found", &[], "{}"),
        }
    })
}

fn try_pull(documents: &[(String, &'static str, Vec<u8>)]) -> Result<Image> {
    let (proxy, to) = (serve(documents), Kept::new());
    let pulled = pull(&to.store, &format!("{}/x:1", proxy.address));
    assert!(to.store.verify(&orlop_images::Quiet).unwrap().is_sound());
    pulled
}

fn refused(kind: &'static str, text: impl Into<Vec<u8>>, reason: &str) {
    let error = try_pull(&[("1".to_owned(), kind, text.into())]).unwrap_err();
    assert!(error.to_string().contains(reason), "{error}");
    assert!(!error.to_string().contains('\n'), "{error}");
}

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn manifests_that_contradict_themselves_are_refused() {
    let (oci, index) = (MediaType::OCI_MANIFEST, MediaType::OCI_INDEX);
    let config = format!("{{\"mediaType\":\"{}\",\"digest\":\"sha256:{HEX}\",\"size\":2}}", MediaType::OCI_CONFIG);
    refused(oci, "", "not valid");
    refused(oci, "[]", "not valid");
    refused(oci, "{}", "schemaVersion is not 2");
    refused(oci, "{\"schemaVersion\":1}", "schema version 1");
    refused(oci, "{\"schemaVersion\":2}", "neither config and layers nor manifests");
    refused(oci, format!("{{\"schemaVersion\":2,\"config\":{config},\"layers\":[],\"manifests\":[]}}"), "at once");
    refused(oci, format!("{{\"schemaVersion\":2,\"mediaType\":\"{index}\",\"manifests\":[]}}"), "was declared");
    refused(oci, "{\"schemaVersion\":2,\"config\":{\"digest\":\"md5:1\"}}", "not valid");
    refused(oci, "{\"schemaVersion\":2,\"schemaVersion\":2}", "duplicate field");
    refused(oci, "\u{0}".repeat(10), "not valid");
    refused(oci, vec![b' '; (4 << 20) + 1], "longer than the 4194304 bytes allowed");
    let layer = format!("{{\"mediaType\":\"{}\",\"digest\":\"sha256:{HEX}\",\"size\":1}}", MediaType::OCI_LAYER);
    let many = vec![layer.as_str(); 501].join(",");
    refused(oci, format!("{{\"schemaVersion\":2,\"config\":{config},\"layers\":[{many}]}}"), "501 layers");
    let huge = layer.replace("\"size\":1", "\"size\":18446744073709551615");
    refused(
        oci,
        format!("{{\"schemaVersion\":2,\"config\":{config},\"layers\":[{huge}]}}"),
        "18446744073709551615 bytes",
    );
    let negative = layer.replace("\"size\":1", "\"size\":-1");
    refused(oci, format!("{{\"schemaVersion\":2,\"config\":{config},\"layers\":[{negative}]}}"), "not valid");
}

#[test]
fn configs_and_layers_that_fit_no_image_are_refused() {
    let with = |config: &str, layers: &str, config_type: &str| {
        let config = config.as_bytes().to_vec();
        let digest = Digest::of(&config);
        let manifest = format!(
            "{{\"schemaVersion\":2,\"config\":{{\"mediaType\":\"{config_type}\",\"digest\":\"{digest}\",\"size\":{}}},\"layers\":[{layers}]}}",
            config.len()
        );
        let documents = [
            ("1".to_owned(), MediaType::OCI_MANIFEST, manifest.into_bytes()),
            (digest.to_string(), "application/octet-stream", config),
        ];
        try_pull(&documents).unwrap_err()
    };
    let layer = |kind: &str| format!("{{\"mediaType\":\"{kind}\",\"digest\":\"sha256:{HEX}\",\"size\":1}}");
    let one = format!("{{\"os\":\"linux\",\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"sha256:{HEX}\"]}}}}");
    let error = with("{}", &layer(MediaType::OCI_LAYER), MediaType::OCI_CONFIG);
    assert!(error.to_string().contains("0 diff_ids for 1 layers"), "{error}");
    let error = with(&one, &layer("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"), MediaType::OCI_CONFIG);
    assert!(error.kind() == Kind::Unsupported && error.to_string().contains("lies outside registries"), "{error}");
    let error = with(&one, &layer("text/html"), MediaType::OCI_CONFIG);
    assert!(error.to_string().contains("no layer that can be unpacked"), "{error}");
    let error = with("{}", "", "application/vnd.example+json");
    assert!(error.to_string().contains("an artifact, not an image that runs"), "{error}");
}

#[test]
fn indexes_have_a_depth_and_a_platform() {
    // Each index names the next; the chain is longer than is followed.
    let platform = Platform::host();
    let entry = |digest: &Digest, size: usize| {
        format!(
            "{{\"schemaVersion\":2,\"manifests\":[{{\"mediaType\":\"{}\",\"digest\":\"{digest}\",\"size\":{size},\
             \"platform\":{{\"os\":\"linux\",\"architecture\":\"{}\"}}}}]}}",
            MediaType::OCI_INDEX,
            platform.architecture
        )
    };
    let mut text = entry(&Digest::of(b""), 0);
    let mut documents = Vec::new();
    for _ in 0..10 {
        let digest = Digest::of(text.as_bytes());
        documents.push((digest.to_string(), MediaType::OCI_INDEX, text.clone().into_bytes()));
        text = entry(&digest, text.len());
    }
    documents.push(("1".to_owned(), MediaType::OCI_INDEX, text.into_bytes()));
    let error = try_pull(&documents).unwrap_err();
    assert!(error.kind() == Kind::Limit && error.to_string().contains("indexes nested deeper than 4"), "{error}");
    let other = entry(&Digest::of(b""), 0).replace("\"linux\"", "\"plan9\"");
    let error = try_pull(&[("1".to_owned(), MediaType::OCI_INDEX, other.into_bytes())]).unwrap_err();
    assert!(error.to_string().contains("there is: plan9/"), "{error}");
    let many = vec![format!("{{\"mediaType\":\"x\",\"digest\":\"sha256:{HEX}\",\"size\":1}}"); 1025].join(",");
    refused(MediaType::OCI_INDEX, format!("{{\"schemaVersion\":2,\"manifests\":[{many}]}}"), "1025 entries");
}

#[test]
fn another_document_than_the_digest_says_is_refused() {
    let bytes = b"{\"schemaVersion\":2,\"manifests\":[]}".to_vec();
    let other = Digest::of(b"other");
    let (proxy, to) = (serve(&[(other.to_string(), MediaType::OCI_INDEX, bytes)]), Kept::new());
    let error = pull(&to.store, &format!("{}/x@{other}", proxy.address)).unwrap_err();
    assert!(error.to_string().contains("what came has the digest"), "{error}");
}

#[test]
fn answers_that_are_no_http_are_refused() {
    for head in
        ["", "SSH-2.0-x\r\n", "HTTP/1.1 99999 x\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n"]
    {
        let head = head.to_owned();
        let proxy = Proxy::start(free_port(), move |_, _| Reply::Answer(head.clone(), b"hello".to_vec()));
        let error = pull(&Kept::new().store, &format!("{}/x:1", proxy.address)).unwrap_err();
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    let long = format!("HTTP/1.1 200 OK\r\nX: {}\r\n", "x".repeat(100 << 10));
    let proxy = Proxy::start(free_port(), move |_, _| Reply::Answer(long.clone(), Vec::new()));
    let error = pull(&Kept::new().store, &format!("{}/x:1", proxy.address)).unwrap_err();
    assert!(error.to_string().contains("longer than 64 KiB"), "{error}");
}
