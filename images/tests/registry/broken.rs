//! Registries that are busy, slow, or lie.

use std::time::{Duration, Instant};

use orlop_images::base::Dir;
use orlop_images::snapshot::{LayersOptions, Snapshots};
use orlop_images::{Cancel, Digest, Kind, Quiet, Step};

use crate::image::{Kept, image, noise, plain_registry, pull, push};
use crate::proxy::{Proxy, Reply, Seen};
use crate::server::Server;

const SIZE: usize = 1_000_000;

/// Pulls an image of one layer through a proxy that misbehaves as `decide` says.
fn through(
    server: &Server,
    decide: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
) -> (orlop_images::Result<orlop_images::Image>, Proxy, Kept) {
    let from = Kept::new();
    let name = format!("{}/x:1", server.address);
    let entry = image(&from.store, &name, &[noise(1, SIZE)]);
    push(&from.store, &plain_registry(), &entry, &name).unwrap();
    let (to, proxy) = (Kept::new(), Proxy::start(server.address, decide));
    let pulled = pull(&to.store, &format!("{}/x:1", proxy.address));
    assert!(to.store.verify(&Quiet).unwrap().is_sound());
    (pulled, proxy, to)
}

#[test]
fn a_busy_registry_is_asked_again_after_the_time_it_says() {
    let Some(server) = Server::start("a_busy_registry_is_asked_again_after_the_time_it_says") else { return };
    let begin = Instant::now();
    let (pulled, ..) = through(&server, |_, count| match count {
        0 => Reply::answer("429 Too Many Requests", &["Retry-After: 1"], ""),
        2 => Reply::answer("503 Service Unavailable", &[], "<html>busy</html>"),
        4 => Reply::answer("500 Internal Server Error", &[], "{}"),
        _ => Reply::Forward,
    });
    pulled.unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(1), "it did not wait");
}

#[test]
fn a_registry_that_stays_busy_is_given_up() {
    let Some(server) = Server::start("a_registry_that_stays_busy_is_given_up") else { return };
    let (pulled, proxy, _) = through(&server, |_, _| {
        Reply::answer(
            "429 Too Many Requests",
            &[],
            "{\"errors\":[{\"code\":\"TOOMANYREQUESTS\",\"message\":\"slow\\ndown\"}]}",
        )
    });
    let error = pulled.unwrap_err();
    assert_eq!((error.kind(), proxy.seen().len()), (Kind::Network, 4));
    let text = error.to_string();
    assert!(text.contains("429: TOOMANYREQUESTS: slowdown") && text.contains("gave up after 4 attempts"), "{text}");
}

#[test]
fn a_stall_is_noticed_and_gone_on_with() {
    let Some(server) = Server::start("a_stall_is_noticed_and_gone_on_with") else { return };
    let begin = Instant::now();
    let (pulled, proxy, _) = through(&server, |seen, _| {
        if seen.fetches_blob() && seen.header("range").is_none() { Reply::Stall(400_000) } else { Reply::Forward }
    });
    // The config stalls at its end, too, if it is shorter; both were fetched again.
    pulled.unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(1500) && begin.elapsed() < Duration::from_secs(20));
    assert!(proxy.seen().iter().any(|seen| seen.header("range") == Some("bytes=400000-999999")));
}

#[test]
fn lies_about_lengths_and_ranges_are_told() {
    let Some(server) = Server::start("lies_about_lengths_and_ranges_are_told") else { return };
    let (pulled, ..) = through(&server, |seen, _| match seen.fetches_blob() {
        true => Reply::answer("200 OK", &["Content-Type: application/octet-stream"], vec![0; 77]),
        false => Reply::Forward,
    });
    let error = pulled.unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidContent);
    assert!(error.to_string().contains("the registry says it has 77 bytes, the manifest says"), "{error}");
    // A body that is shorter than its own length says breaks off each time, and brings nothing.
    let (pulled, ..) = through(&server, |seen, _| match seen.fetches_blob() {
        true => Reply::Answer(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n"), Vec::new()),
        false => Reply::Forward,
    });
    assert!(pulled.is_err());
    // Without a length, a body that is too long is cut off, and what came is compared.
    let (pulled, ..) = through(&server, |seen, _| match seen.fetches_blob() {
        true => Reply::Answer("HTTP/1.1 200 OK\r\n".to_owned(), vec![b'x'; SIZE + 5]),
        false => Reply::Forward,
    });
    let error = pulled.unwrap_err();
    assert!(error.to_string().contains("another digest"), "{error}");
}

#[test]
fn a_registry_without_ranges_sends_the_whole_again() {
    let Some(server) = Server::start("a_registry_without_ranges_sends_the_whole_again") else { return };
    let whole = noise(1, SIZE);
    let (pulled, proxy, _) = through(&server, move |seen, _| {
        if !seen.fetches_blob() {
            return Reply::Forward;
        }
        match seen.header("range") {
            Some(_) => Reply::answer("200 OK", &[], whole.clone()),
            None if seen.target.contains(&orlop_images::Digest::of(&whole).to_string()) => Reply::Cut(500_000),
            None => Reply::Forward,
        }
    });
    pulled.unwrap();
    assert_eq!(proxy.seen().iter().filter(|seen| seen.header("range").is_some()).count(), 1);
}

#[test]
fn html_is_called_html() {
    let Some(server) = Server::start("html_is_called_html") else { return };
    let page = "<!DOCTYPE html><title>Log in</title>";
    let (pulled, ..) = through(&server, move |_, _| Reply::answer("200 OK", &["Content-Type: text/html"], page));
    assert!(pulled.unwrap_err().to_string().contains("it is HTML: a proxy or a login page"));
    let (pulled, ..) = through(&server, move |_, _| Reply::answer("403 Forbidden", &["Content-Type: text/html"], page));
    let error = pulled.unwrap_err();
    assert!(error.kind() == Kind::Denied && error.to_string().contains("it sends HTML"), "{error}");
    let (pulled, ..) = through(&server, move |seen, _| match seen.fetches_blob() {
        true => Reply::answer("200 OK", &["Content-Type: text/html; charset=utf-8"], page),
        false => Reply::Forward,
    });
    assert!(pulled.unwrap_err().to_string().contains("HTML"));
}

#[test]
fn a_damaged_blob_is_found_and_fetched_again() {
    let Some(server) = Server::start("a_damaged_blob_is_found_and_fetched_again") else { return };
    let (pulled, proxy, to) = through(&server, |_, _| Reply::Forward);
    let image = pulled.unwrap();
    let digest = image.layers[0].blob.digest;
    let path = to.store.layout().path().join("blobs/sha256").join(digest.hex());
    let unpack = || {
        let state = Dir::make(Step::OpenStore, &to.state()).unwrap();
        let blob = |digest: &Digest| to.store.blob(digest);
        let snapshots = Snapshots::open(&state).unwrap();
        snapshots.layers().unpack(&image, &blob, &LayersOptions::default(), &Quiet, &Cancel::new()).unwrap_err()
    };
    // It is no archive: that is no fault of the store.
    assert_ne!(unpack().kind(), Kind::Damaged);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[500_000] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let error = unpack();
    assert!(error.kind() == Kind::Damaged && error.to_string().contains(&digest.to_string()), "{error}");
    let found = to.store.verify(&Quiet).unwrap();
    assert_eq!((found.damaged.as_slice(), found.incomplete.len()), ([digest].as_slice(), 1));
    let name = format!("{}/x:1", proxy.address);
    pull(&to.store, &name).unwrap();
    assert!(to.store.verify(&Quiet).unwrap().is_sound());
    // One that has become shorter is seen without hashing all others.
    std::fs::write(&path, &bytes[..100]).unwrap();
    pull(&to.store, &name).unwrap();
    assert!(to.store.verify(&Quiet).unwrap().is_sound());
    // So is a config.
    let config = to.store.layout().path().join("blobs/sha256").join(image.config_blob.digest.hex());
    let mut bytes = std::fs::read(&config).unwrap();
    bytes[3] ^= 1;
    std::fs::write(&config, bytes).unwrap();
    pull(&to.store, &name).unwrap();
    assert!(to.store.verify(&Quiet).unwrap().is_sound());
}

#[test]
fn a_cancelled_pull_ends_soon_and_keeps_what_it_has() {
    let Some(server) = Server::start("a_cancelled_pull_ends_soon_and_keeps_what_it_has") else { return };
    let (from, to) = (Kept::new(), Kept::new());
    let name = format!("{}/x:1", server.address);
    let entry = image(&from.store, &name, &[noise(1, SIZE)]);
    push(&from.store, &plain_registry(), &entry, &name).unwrap();
    let registry = plain_registry();
    let cancel = registry.options().cancel.clone();
    let proxy = Proxy::start(server.address, move |seen, _| {
        if !seen.fetches_blob() {
            return Reply::Forward;
        }
        let cancel = cancel.clone();
        Reply::Watch(std::sync::Arc::new(move |passed| {
            if passed > 200_000 {
                cancel.cancel();
                std::thread::sleep(Duration::from_secs(2));
            }
        }))
    });
    let begin = Instant::now();
    let error = crate::image::pull_with(&to.store, &registry, &format!("{}/x:1", proxy.address)).unwrap_err();
    assert_eq!(error.kind(), Kind::Cancelled, "{error}");
    assert!(begin.elapsed() < Duration::from_millis(1900), "{:?}", begin.elapsed());
    assert!(std::fs::read_dir(to.store.layout().path().join("ingest")).unwrap().count() > 0);
    assert_eq!(to.store.prune(&[], true).unwrap().unfinished, 1);
}
