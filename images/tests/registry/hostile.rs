//! Documents that are made to do harm.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use orlop_images::model::MediaType;
use orlop_images::{Digest, Image, Kind, Platform, Result};

use crate::image::{Kept, noise, plain_registry, pull, pull_with};
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
    assert!(!error.to_string().contains(char::is_control), "{error:?}");
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

/// A manifest and a config with one layer of these bytes, as documents of a registry.
fn image_of(layer: &[u8]) -> [(String, &'static str, Vec<u8>); 2] {
    let digest = Digest::of(layer);
    let config = format!("{{\"os\":\"linux\",\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"{digest}\"]}}}}");
    let manifest = format!(
        "{{\"schemaVersion\":2,\"config\":{{\"mediaType\":\"{}\",\"digest\":\"{}\",\"size\":{}}},\
         \"layers\":[{{\"mediaType\":\"{}\",\"digest\":\"{digest}\",\"size\":{}}}]}}",
        MediaType::OCI_CONFIG,
        Digest::of(config.as_bytes()),
        config.len(),
        MediaType::OCI_LAYER,
        layer.len()
    );
    [
        ("1".to_owned(), MediaType::OCI_MANIFEST, manifest.into_bytes()),
        (Digest::of(config.as_bytes()).to_string(), "application/octet-stream", config.into_bytes()),
    ]
}

#[test]
fn a_registry_that_sends_something_else_each_time_is_given_up() {
    const SIZE: usize = 100_000;
    let documents = image_of(&noise(1, SIZE));
    // The first half arrives and breaks off, which counts as progress; with the second half the digest is another.
    let proxy = Proxy::start(free_port(), move |seen, _| {
        let name = seen.target.rsplit('/').next().unwrap();
        match documents.iter().find(|document| document.0 == name) {
            Some((_, kind, bytes)) => Reply::answer("200 OK", &[&format!("Content-Type: {kind}")], bytes.clone()),
            None if seen.header("range").is_none() => {
                Reply::Answer(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n"), noise(2, SIZE / 2))
            }
            None => {
                let range = format!("Content-Range: bytes {}-{}/{SIZE}", SIZE / 2, SIZE - 1);
                Reply::answer("206 Partial Content", &[&range], noise(3, SIZE / 2))
            }
        }
    });
    let to = Kept::new();
    let registry = plain_registry();
    let cancel = registry.options().cancel.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(30));
        cancel.cancel();
    });
    let error = pull_with(&to.store, &registry, &format!("{}/x:1", proxy.address)).unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidContent, "{error}");
    assert!(error.to_string().contains("have another digest") && error.to_string().contains("gave up"), "{error}");
    assert!(to.store.verify(&orlop_images::Quiet).unwrap().is_sound());
}

#[test]
fn progress_of_a_few_bytes_is_none() {
    const SIZE: usize = 100_000;
    let documents = image_of(&noise(1, SIZE));
    let proxy = Proxy::start(free_port(), move |seen, _| {
        let name = seen.target.rsplit('/').next().unwrap();
        if let Some((_, kind, bytes)) = documents.iter().find(|document| document.0 == name) {
            return Reply::answer("200 OK", &[&format!("Content-Type: {kind}")], bytes.clone());
        }
        let range = seen.header("range").map(|range| range["bytes=".len()..].split('-').next().unwrap().to_owned());
        let at: usize = range.map_or(0, |at| at.parse().unwrap());
        let head = format!(
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {at}-{}/{SIZE}\r\nContent-Length: {}\r\n",
            SIZE - 1,
            SIZE - at
        );
        // Ten bytes of what is right, each time.
        let head = if at == 0 { format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n") } else { head };
        Reply::Answer(head, noise(1, SIZE)[at..at + 10].to_vec())
    });
    let error = pull(&Kept::new().store, &format!("{}/x:1", proxy.address)).unwrap_err();
    assert!(error.to_string().contains("gave up after 4 attempts"), "{error}");
    assert!(proxy.seen().len() <= 6, "{:?}", proxy.seen());
}

#[test]
fn heads_that_trickle_or_only_announce_an_answer_are_no_answers() {
    let begin = Instant::now();
    let proxy = Proxy::start(free_port(), |_, _| {
        Reply::Trickle(format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(1000)), Duration::from_millis(100))
    });
    let error = pull(&Kept::new().store, &format!("{}/x:1", proxy.address)).unwrap_err();
    assert!(error.kind() == Kind::Timeout && error.to_string().contains("it stalled"), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
    let head = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000) + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n";
    let proxy = Proxy::start(free_port(), move |_, _| Reply::Answer(head.clone(), b"{}".to_vec()));
    let error = pull(&Kept::new().store, &format!("{}/x:1", proxy.address)).unwrap_err();
    assert!(error.to_string().contains("only heads that announce one"), "{error}");
}

#[test]
fn sizes_that_contradict_each_other_are_refused() {
    let manifest = image_of(b"layer")[0].2.clone();
    let digest = Digest::of(&manifest);
    let architecture = Platform::host().architecture;
    let index = format!(
        "{{\"schemaVersion\":2,\"manifests\":[{{\"mediaType\":\"{}\",\"digest\":\"{digest}\",\"size\":7,\
         \"platform\":{{\"os\":\"linux\",\"architecture\":\"{architecture}\"}}}}]}}",
        MediaType::OCI_MANIFEST
    );
    let documents = [
        ("1".to_owned(), MediaType::OCI_INDEX, index.into_bytes()),
        (digest.to_string(), MediaType::OCI_MANIFEST, manifest.clone()),
    ];
    let error = try_pull(&documents).unwrap_err();
    assert!(error.to_string().contains("where the index says 7"), "{error}");
    let text = String::from_utf8(manifest).unwrap();
    let layer = text.split("\"layers\":[").nth(1).unwrap().trim_end_matches("]}");
    let two = text.replace(layer, &format!("{layer},{}", layer.replace("\"size\":5", "\"size\":6")));
    refused(MediaType::OCI_MANIFEST, two, "one blob with two sizes");
}

#[test]
fn words_of_a_registry_steer_no_terminal() {
    let escape = "{\"schemaVersion\":2,\"mediaType\":\"\\u001b]0;x\\u0007\\u009b2J\\u202e\\n\",\"manifests\":[]}";
    refused("text/plain", escape, "calls itself \\u{1b}]0;x\\u{7}\\u{9b}2J\\u{202e}\\n");
    let proxy = Proxy::start(free_port(), |_, _| {
        Reply::answer("401 Unauthorized", &["WWW-Authenticate: Bearer realm=\"\u{9b}2J\""], "{}")
    });
    let error = pull(&Kept::new().store, &format!("{}/x:1", proxy.address)).unwrap_err();
    assert!(error.to_string().contains("authenticate with \\u{9b}2J of"), "{error:?}");
}
