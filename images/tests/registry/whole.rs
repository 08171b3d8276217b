//! What works when nothing breaks.

use std::process::Command;

use crate::image::{Kept, image, noise, output, plain_registry, program, pull, push};
use crate::proxy::{Proxy, Reply};
use crate::server::Server;

#[test]
fn what_was_pushed_is_pulled_the_same() {
    let Some(server) = Server::start("what_was_pushed_is_pulled_the_same") else { return };
    let (from, to) = (Kept::new(), Kept::new());
    let layers = [noise(1, 3_000_000), noise(2, 10), noise(1, 3_000_000), noise(3, 20_000_000)];
    let name = format!("{}/team/app:1", server.address);
    let entry = image(&from.store, &name, &layers);
    push(&from.store, &plain_registry(), &entry, &name).unwrap();
    let pulled = pull(&to.store, &name).unwrap();
    assert_eq!(pulled.manifest.digest, entry.descriptor.digest);
    assert_eq!(pulled.layers.len(), 4);
    assert!(to.store.verify(&orlop_images::Quiet).unwrap().is_sound());
    // By digest as well, from what is there and from the registry.
    let pinned = format!("{}/team/app@{}", server.address, entry.descriptor.digest);
    assert!(to.store.find(&pinned.parse().unwrap()).unwrap().is_some());
    assert_eq!(pull(&Kept::new().store, &pinned).unwrap().manifest.digest, entry.descriptor.digest);
}

#[test]
fn only_what_is_new_is_sent_and_neighbours_lend_their_layers() {
    let Some(server) = Server::start("only_what_is_new_is_sent_and_neighbours_lend_their_layers") else { return };
    let kept = Kept::new();
    let proxy = Proxy::start(server.address, |_, _| Reply::Forward);
    let (base, new) = (noise(1, 1_000_000), noise(2, 500_000));
    let name = |path: &str| format!("{}/{path}", proxy.address);
    let first = image(&kept.store, &name("a/base:1"), std::slice::from_ref(&base));
    push(&kept.store, &plain_registry(), &first, &name("a/base:1")).unwrap();
    let before = proxy.seen().len();
    let second = image(&kept.store, &name("a/base:2"), &[base.clone(), new.clone()]);
    push(&kept.store, &plain_registry(), &second, &name("a/base:2")).unwrap();
    let sent: Vec<_> = proxy.seen().split_off(before).into_iter().filter(|seen| seen.method == "PATCH").collect();
    assert_eq!(sent.len(), 2, "the new layer and the config: {sent:?}");
    // In another repository of the same registry nothing is sent at all.
    let before = proxy.seen().len();
    push(&kept.store, &plain_registry(), &second, &name("b/other:1")).unwrap();
    let seen = proxy.seen().split_off(before);
    assert!(seen.iter().all(|seen| seen.method != "PATCH"), "{seen:?}");
    assert!(seen.iter().any(|seen| seen.target.contains("mount=sha256") && seen.target.contains("from=a/base")));
    assert_eq!(pull(&Kept::new().store, &name("b/other:1")).unwrap().manifest.digest, second.descriptor.digest);
    // And nothing is fetched that is there.
    let again = proxy.served();
    pull(&kept.store, &name("a/base:2")).unwrap();
    assert_eq!(proxy.served(), again);
}

#[test]
fn the_program_pulls_lists_tags_removes_and_verifies() {
    let Some(server) = Server::start("the_program_pulls_lists_tags_removes_and_verifies") else { return };
    let (from, to) = (Kept::new(), Kept::new());
    let name = format!("{}/web:1", server.address);
    let entry = image(&from.store, &name, &[noise(7, 100_000)]);
    let sent = output(program(&from.state()).args(["push", "--json", "-q", &name]));
    assert!(sent.contains(&entry.descriptor.digest.to_string()), "{sent}");
    let state = to.state();
    assert_eq!(output(program(&state).args(["pull", &name])), format!("{name}@{}\n", entry.descriptor.digest));
    output(program(&state).args(["tag", &name, "mine"]));
    assert_eq!(output(program(&state).args(["list", "-q"])), format!("{name}\nmine:latest\n"));
    let listed: serde_json::Value =
        serde_json::from_str(&output(program(&state).args(["list", "--json", "mine"]))).unwrap();
    assert_eq!(listed[0]["size"], 100_000);
    let shown = output(program(&state).args(["inspect", "--json", "mine"]));
    assert!(shown.contains("\"diffId\""), "{shown}");
    let id = listed[0]["id"].as_str().unwrap()["sha256:".len()..][..12].to_owned();
    assert!(output(program(&state).args(["inspect", &id])).contains("Platform:"));
    assert!(output(program(&state).arg("verify")).contains("3 blobs"));
    assert_eq!(output(program(&state).args(["remove", "mine"])), "docker.io/library/mine:latest\n");
    assert!(output(program(&state).args(["prune"])).starts_with("0 blobs"));
    output(program(&state).args(["remove", &id]));
    assert_eq!(output(program(&state).args(["list", "-q"])), "");
    assert!(output(program(&state).arg("verify")).contains("0 blobs"));
    let missing = program(&state).args(["inspect", "mine"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("there is no such image in the store"));
}

#[test]
fn skopeo_reads_our_store_and_we_read_what_it_pushes() {
    let test = "skopeo_reads_our_store_and_we_read_what_it_pushes";
    let Some(server) = Server::start(test) else { return };
    if Command::new("skopeo").arg("--version").output().is_err() {
        println!("SKIP {test}: skopeo is not installed");
        return;
    }
    let (from, to) = (Kept::new(), Kept::new());
    let name = format!("{}/skopeo/app:1", server.address);
    let entry = image(&from.store, &name, &[noise(1, 100_000), noise(2, 200_000)]);
    let layout = format!("oci:{}:{name}", from.store.layout().path().display());
    output(Command::new("skopeo").args(["copy", "--dest-tls-verify=false", &layout, &format!("docker://{name}")]));
    // It compresses what is not compressed, so the layers are compared by what they are uncompressed.
    let diff_ids = |image: &orlop_images::Image| image.layers.iter().map(|layer| layer.diff_id).collect::<Vec<_>>();
    assert_eq!(diff_ids(&pull(&to.store, &name).unwrap()), diff_ids(&from.store.image(&entry).unwrap()));
    // As Docker's kinds of manifest, too.
    let docker = format!("{}/skopeo/app:docker", server.address);
    output(Command::new("skopeo").args([
        "copy",
        "--format=v2s2",
        "--dest-tls-verify=false",
        &layout,
        &format!("docker://{docker}"),
    ]));
    let pulled = pull(&to.store, &docker).unwrap();
    assert!(pulled.manifest.media_type.as_str().contains("docker.distribution"), "{:?}", pulled.manifest);
    assert!(to.store.verify(&orlop_images::Quiet).unwrap().is_sound());
}

#[test]
fn four_processes_fetch_each_layer_once() {
    let Some(server) = Server::start("four_processes_fetch_each_layer_once") else { return };
    let (from, to) = (Kept::new(), Kept::new());
    let name = format!("{}/shared:1", server.address);
    let layers: Vec<_> = (0..6).map(|seed| noise(seed, 2_000_000)).collect();
    let entry = image(&from.store, &name, &layers);
    push(&from.store, &plain_registry(), &entry, &name).unwrap();
    let proxy = Proxy::start(server.address, |_, _| Reply::Forward);
    let name = format!("{}/shared:1", proxy.address);
    let children: Vec<_> = (0..4).map(|_| program(&to.state()).args(["pull", "-q", &name]).spawn().unwrap()).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert!(to.store.verify(&orlop_images::Quiet).unwrap().is_sound());
    let config = 1000;
    let whole: u64 = layers.iter().map(|layer| layer.len() as u64).sum();
    // Configs are small and may be fetched by each.
    assert!(proxy.served() < whole + 4 * config, "{} of {whole} bytes were served", proxy.served());
    assert_eq!(to.store.entries().unwrap().len(), 1);
}
