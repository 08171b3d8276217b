//! Transfers that are killed on the way, at ten points each.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use orlop_images::Quiet;

use crate::image::{Kept, image, noise, output, plain_registry, program, pull, push};
use crate::proxy::{Proxy, Reply, Seen};
use crate::server::{Server, Shared};

/// The layer that is on its way.
const SIZE: usize = 24_000_000;
/// What the sockets between client and proxy may hold.
const LOST: u64 = 6_000_000;

/// Waits for a point that a transfer is to reach.
fn wait(reached: &AtomicBool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !reached.load(Ordering::SeqCst) {
        assert!(Instant::now() < end, "the transfer did not get there");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_client_that_is_killed_goes_on_where_it_was() {
    let Some(server) = Server::start("a_client_that_is_killed_goes_on_where_it_was") else { return };
    let from = Kept::new();
    let name = format!("{}/big:1", server.address);
    let entry = image(&from.store, &name, &[noise(1, SIZE)]);
    push(&from.store, &plain_registry(), &entry, &name).unwrap();
    for tenth in 0..10_u64 {
        let to = Kept::new();
        let point = SIZE as u64 * (2 * tenth + 1) / 20;
        let reached = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&reached);
        let first = Proxy::start(server.address, move |seen, _| {
            let flag = Arc::clone(&flag);
            if !seen.fetches_blob() {
                return Reply::Forward;
            }
            Reply::Watch(Arc::new(move |passed| {
                if passed >= point {
                    flag.store(true, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_secs(3));
                }
            }))
        });
        let pulled = format!("{}/big:1", first.address);
        let mut child = program(&to.state()).args(["pull", "-q", &pulled]).spawn().unwrap();
        wait(&reached);
        // What has arrived by now is written within this time.
        std::thread::sleep(Duration::from_millis(100));
        child.kill().unwrap();
        child.wait().unwrap();
        let second = Proxy::start(server.address, |_, _| Reply::Forward);
        let again = format!("{}/big:1", second.address);
        output(program(&to.state()).args(["pull", "-q", &again]));
        assert!(to.store.verify(&Quiet).unwrap().is_sound());
        let resumed = second.seen().into_iter().find(|seen| seen.header("range").is_some());
        let resumed = resumed.unwrap_or_else(|| panic!("killed at {point}, it began anew: {:?}", second.seen()));
        let offset: u64 =
            resumed.header("range").unwrap()["bytes=".len()..].split('-').next().unwrap().parse().unwrap();
        assert!(offset > 0 && offset <= point + LOST, "at {point}: {offset}");
        // The layer once, less what was there, and the config.
        assert!(second.served() <= SIZE as u64 - offset + 1000, "at {point}, {} bytes were fetched", second.served());
    }
}

#[test]
fn a_server_that_is_killed_while_it_sends_is_gone_on_with() {
    let Some(server) = Server::start("a_server_that_is_killed_while_it_sends_is_gone_on_with") else { return };
    let from = Kept::new();
    let name = format!("{}/big:1", server.address);
    let entry = image(&from.store, &name, &[noise(1, SIZE)]);
    push(&from.store, &plain_registry(), &entry, &name).unwrap();
    let address = server.address;
    let server = Shared(Arc::new(Mutex::new(server)));
    for tenth in 0..10_u64 {
        let to = Kept::new();
        let point = SIZE as u64 * (2 * tenth + 1) / 20;
        let (server, once) = (Arc::clone(&server.0), Arc::new(AtomicBool::new(false)));
        let proxy = Proxy::start(address, move |seen, _| {
            let (server, once) = (Arc::clone(&server), Arc::clone(&once));
            if !seen.fetches_blob() || seen.header("range").is_some() {
                return Reply::Forward;
            }
            Reply::Watch(Arc::new(move |passed| {
                if passed >= point && !once.swap(true, Ordering::SeqCst) {
                    server.lock().unwrap().restart();
                }
            }))
        });
        pull(&to.store, &format!("{}/big:1", proxy.address)).unwrap();
        assert!(to.store.verify(&Quiet).unwrap().is_sound());
        let blobs: Vec<_> = proxy.seen().into_iter().filter(|seen| seen.fetches_blob()).collect();
        // The sockets hold up to ten million bytes, so when the server died near the end, the rest was on its way already.
        let resumed = blobs.iter().any(|seen| seen.header("range").is_some());
        assert!(resumed || tenth >= 5, "killed at {point}: {blobs:?}");
        assert!(proxy.served() < SIZE as u64 + 1000, "{} bytes were served", proxy.served());
    }
}

#[test]
fn connections_that_break_again_and_again_cost_nothing_but_themselves() {
    let Some(server) = Server::start("connections_that_break_again_and_again_cost_nothing_but_themselves") else {
        return;
    };
    let (from, to) = (Kept::new(), Kept::new());
    let name = format!("{}/big:1", server.address);
    let entry = image(&from.store, &name, &[noise(1, SIZE)]);
    push(&from.store, &plain_registry(), &entry, &name).unwrap();
    // Ten breaks are more than the attempts that may fail; but each brings something.
    let proxy = Proxy::start(server.address, |seen, _| {
        if seen.fetches_blob() { Reply::Cut(SIZE as u64 / 10 + 1) } else { Reply::Forward }
    });
    pull(&to.store, &format!("{}/big:1", proxy.address)).unwrap();
    assert!(to.store.verify(&Quiet).unwrap().is_sound());
    let ranges = proxy.seen().iter().filter(|seen| seen.header("range").is_some()).count();
    assert_eq!(ranges, 9);
    assert!(proxy.served() <= SIZE as u64 + 1000);
}

#[test]
fn an_upload_goes_on_after_the_server_or_the_client_was_killed() {
    let Some(server) = Server::start("an_upload_goes_on_after_the_server_or_the_client_was_killed") else { return };
    let from = Kept::new();
    let address = server.address;
    let server = Shared(Arc::new(Mutex::new(server)));
    for round in 0..10_u64 {
        // Three pieces of 16 MiB and a little; the server or the client dies before one of them.
        let layer = noise(100 + round, (48 << 20) + 5);
        let kill_client = round % 2 == 1;
        let piece = usize::try_from(round).unwrap() % 3;
        let patches = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let reached = Arc::new(AtomicBool::new(false));
        let (counter, shared, flag) = (Arc::clone(&patches), Arc::clone(&server.0), Arc::clone(&reached));
        let proxy = Proxy::start(address, move |seen, _| {
            let large = seen.header("content-length").is_some_and(|length| length.len() >= 8);
            if seen.method == "PATCH" && large && counter.fetch_add(1, Ordering::SeqCst) == piece {
                if kill_client {
                    flag.store(true, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_secs(2));
                } else {
                    shared.lock().unwrap().restart();
                }
            }
            Reply::Forward
        });
        let name = format!("{}/up:{round}", proxy.address);
        let entry = image(&from.store, &name, &[layer]);
        if kill_client {
            let mut child = program(&from.state()).args(["push", "-q", &name]).spawn().unwrap();
            wait(&reached);
            child.kill().unwrap();
            child.wait().unwrap();
        }
        push(&from.store, &plain_registry(), &entry, &name).unwrap();
        let to = Kept::new();
        assert_eq!(pull(&to.store, &name).unwrap().manifest.digest, entry.descriptor.digest);
        // Three pieces, the rest, and at most the one that broke off again; and all once more where the registry no longer knew of the
        // upload, since what the killed client had sent came after what the next one sent.
        let sent = patches.load(Ordering::SeqCst);
        let begun = proxy.seen().iter().filter(|seen| seen.method == "POST").count() - 1;
        assert!(begun <= 2 && sent <= 5 * begun, "round {round}: {sent} pieces were sent in {begun} uploads");
    }
}

/// 404 for a piece: the registry has another state of the upload, or none.
#[test]
fn an_upload_that_the_registry_does_not_know_is_begun_anew_and_not_for_ever() {
    let Some(server) = Server::start("an_upload_that_the_registry_does_not_know_is_begun_anew_and_not_for_ever") else {
        return;
    };
    let from = Kept::new();
    let unknown = || Reply::answer("404 Not Found", &[], r#"{"errors":[{"code":"BLOB_UPLOAD_INVALID"}]}"#);
    for (name, refused, forgets, uploads) in
        [("state", 1, false, 1), ("all", 1, true, 2), ("always", usize::MAX, true, 4)]
    {
        let pieces = std::sync::atomic::AtomicUsize::new(0);
        let refusals = std::sync::atomic::AtomicUsize::new(0);
        let proxy = Proxy::start(server.address, move |seen, _| {
            let large = seen.header("content-length").is_some_and(|length| length.len() >= 8);
            let second = seen.method == "PATCH" && large && pieces.fetch_add(1, Ordering::SeqCst) % 2 == 1;
            let asks = seen.method == "GET" && seen.target.contains("/blobs/uploads/");
            if second && refusals.fetch_add(1, Ordering::SeqCst) < refused || asks && forgets {
                return unknown();
            }
            Reply::Forward
        });
        let reference = format!("{}/{name}:1", proxy.address);
        let layer = noise(200 + uploads, (32 << 20) + 5);
        let entry = image(&from.store, &reference, &[layer]);
        let pushed = push(&from.store, &plain_registry(), &entry, &reference);
        assert_eq!(pushed.is_ok(), name != "always", "{name}: {pushed:?}");
        if let Err(error) = pushed {
            assert!(error.to_string().contains("BLOB_UPLOAD_INVALID"), "{error}");
        }
        let begun = |seen: &Seen| seen.method == "POST" && seen.target.contains("/blobs/uploads/");
        let begun = proxy.seen().iter().filter(|seen| begun(seen)).count() as u64;
        // One more is that of the image's config.
        assert!((uploads..=uploads + 1).contains(&begun), "{name}: {begun}");
    }
}
