//! Archives: those of others are loaded, ours are loaded by others, and hostile ones are refused.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking and prints why it is skipped"
)]

#[path = "registry/image.rs"]
#[allow(dead_code, reason = "shared with the tests of registries")]
mod image;
#[path = "registry/server.rs"]
#[allow(dead_code, reason = "shared with the tests of registries")]
mod server;

use std::path::Path;
use std::process::Command;

use orlop_images::archive::{ImportOptions, import, load, load_source, save};
use orlop_images::layer::tar;
use orlop_images::{Compression, Quiet};

use crate::image::{Kept, image, output, program};

/// A layer with one small file.
fn layer(text: &str) -> Vec<u8> {
    archive(&[("hello", tar::Kind::File { size: text.len() as u64, pieces: None }, text.as_bytes())])
}

fn archive(files: &[(&str, tar::Kind, &[u8])]) -> Vec<u8> {
    let mut writer = tar::Writer::new(Vec::new());
    for (name, kind, bytes) in files {
        let entry = tar::Entry {
            path: name.as_bytes().to_vec(),
            kind: kind.clone(),
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: tar::Time::default(),
            atime: None,
            xattrs: Vec::new(),
        };
        let mut bytes = *bytes;
        writer.entry(&entry, &mut bytes).unwrap();
    }
    writer.finish().unwrap()
}

fn file(bytes: &[u8]) -> tar::Kind {
    tar::Kind::File { size: bytes.len() as u64, pieces: None }
}

fn skopeo(test: &str) -> bool {
    let there = Command::new("skopeo").arg("--version").output().is_ok();
    if !there {
        println!("SKIP {test}: skopeo is not installed");
    }
    there
}

#[test]
fn what_is_saved_is_loaded_the_same() {
    let (from, to) = (Kept::new(), Kept::new());
    let entry = image(&from.store, "a/app:1", &[layer("one"), layer("two")]);
    let mut saved = Vec::new();
    save(&from.store, std::slice::from_ref(&entry), &mut saved).unwrap();
    let loaded = load(&to.store, &mut saved.as_slice(), None).unwrap();
    assert_eq!(loaded, std::slice::from_ref(&entry));
    assert!(to.store.verify(&Quiet).unwrap().is_sound());
    let mut again = Vec::new();
    save(&to.store, &loaded, &mut again).unwrap();
    assert_eq!(saved, again, "the same images make the same archive");
    let path = from.scratch.path().join("saved.tar");
    output(program(&from.state()).args(["save", "-o", path.to_str().unwrap(), "a/app:1"]));
    assert_eq!(std::fs::read(&path).unwrap(), saved);
    let other = Kept::new();
    let printed = output(program(&other.state()).args(["load", "-i", path.to_str().unwrap()]));
    assert_eq!(printed, format!("docker.io/a/app:1@{}\n", entry.descriptor.digest));
    assert!(
        load(&other.store, &mut saved.as_slice(), Some("b")).unwrap_err().to_string().contains("no image called b")
    );
}

#[test]
fn skopeo_loads_ours_in_every_form_and_we_load_its() {
    if !skopeo("skopeo_loads_ours_in_every_form_and_we_load_its") {
        return;
    }
    let from = Kept::new();
    let entry = image(&from.store, "a/app:1", &[layer("one"), layer("two")]);
    let whole = from.store.image(&entry).unwrap();
    let dir = from.scratch.path();
    let mut saved = std::fs::File::create(dir.join("ours.tar")).unwrap();
    save(&from.store, std::slice::from_ref(&entry), &mut saved).unwrap();
    let at = |name: &str| dir.join(name).display().to_string();
    let copy = |from: &str, to: &str| output(Command::new("skopeo").args(["copy", "--insecure-policy", from, to]));
    for (number, source) in [
        format!("docker-archive:{}:a/app:1", at("ours.tar")),
        format!("oci-archive:{}:docker.io/a/app:1", at("ours.tar")),
        format!("oci:{}:docker.io/a/app:1", from.store.layout().path().display()),
    ]
    .iter()
    .enumerate()
    {
        for target in [
            format!("docker-archive:{}:docker.io/a/app:1", at(&format!("docker{number}.tar"))),
            format!("oci-archive:{}:docker.io/a/app:1", at(&format!("oci{number}.tar"))),
            format!("oci:{}:docker.io/a/app:1", at(&format!("layout{number}"))),
        ] {
            copy(source, &target);
            let to = Kept::new();
            let entries = load_source(&to.store, &target.parse().unwrap()).unwrap();
            assert_eq!(entries.len(), 1, "{target}");
            let loaded = to.store.image(&entries[0]).unwrap();
            assert_eq!(loaded.reference.as_ref().unwrap().to_string(), "docker.io/a/app:1", "{target}");
            let diff_ids =
                |image: &orlop_images::Image| image.layers.iter().map(|layer| layer.diff_id).collect::<Vec<_>>();
            assert_eq!(diff_ids(&loaded), diff_ids(&whole), "{target}");
            assert!(to.store.verify(&Quiet).unwrap().is_sound(), "{target}");
        }
    }
}

#[test]
fn podman_loads_ours() {
    let test = "podman_loads_ours";
    let from = Kept::new();
    let entry = image(&from.store, "localhost/a/app:1", &[layer("one"), layer("two")]);
    let dir = from.scratch.path();
    let path = dir.join("ours.tar");
    save(&from.store, std::slice::from_ref(&entry), &mut std::fs::File::create(&path).unwrap()).unwrap();
    let podman = |words: &[&str]| {
        let mut command = Command::new("podman");
        command.args(["--storage-driver=vfs", "--root", &dir.join("p").display().to_string()]);
        command.args(["--runroot", &dir.join("r").display().to_string()]).args(words);
        command.output()
    };
    match podman(&["info"]) {
        Err(error) => return println!("SKIP {test}: podman: {error}"),
        Ok(output) if !output.status.success() => {
            let text = String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned();
            return println!("SKIP {test}: podman does not work here: {text}");
        }
        Ok(_) => {}
    }
    let loaded = podman(&["load", "-i", path.to_str().unwrap()]).unwrap();
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    assert!(String::from_utf8_lossy(&loaded.stdout).contains("localhost/a/app:1"), "{loaded:?}");
}

#[test]
fn the_old_form_of_docker_save_is_loaded_through_its_links() {
    let to = Kept::new();
    let (one, config) = (layer("one"), |diff: &[u8]| {
        format!(
            "{{\"os\":\"linux\",\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"{0}\",\"{0}\"]}}}}",
            orlop_images::Digest::of(diff)
        )
    });
    let text = config(&one);
    let manifest =
        "[{\"Config\":\"c.json\",\"RepoTags\":[\"old:1\",\"old:2\"],\"Layers\":[\"a/layer.tar\",\"b/layer.tar\"]}]";
    let make = |config: &str, manifest: &str| {
        archive(&[
            ("a/layer.tar", file(&one), &one),
            ("b/layer.tar", tar::Kind::Symlink(b"../a/layer.tar".to_vec()), b""),
            ("c.json", file(config.as_bytes()), config.as_bytes()),
            ("./manifest.json", file(manifest.as_bytes()), manifest.as_bytes()),
        ])
    };
    let bytes = make(&text, manifest);
    let entries = load(&to.store, &mut bytes.as_slice(), None).unwrap();
    let names: Vec<_> = entries.iter().map(|entry| entry.reference.as_ref().unwrap().familiar()).collect();
    assert_eq!(names, ["old:1", "old:2"]);
    assert_eq!(to.store.image(&entries[0]).unwrap().layers.len(), 2);
    // The same, compressed as a whole.
    let compressed = zstd::encode_all(bytes.as_slice(), 1).unwrap();
    assert_eq!(load(&Kept::new().store, &mut compressed.as_slice(), None).unwrap(), entries);
    let lying = make(&config(b"other"), manifest);
    let refused = load(&Kept::new().store, &mut lying.as_slice(), None).unwrap_err();
    assert!(refused.to_string().contains("of a layer that has another digest"), "{refused}");
}

#[test]
fn hostile_archives_are_refused_and_leave_nothing_outside() {
    let kept = Kept::new();
    let refused = |bytes: &[u8], reason: &str| {
        let mut bytes = bytes;
        let error = load(&kept.store, &mut bytes, None).unwrap_err();
        assert!(error.to_string().contains(reason), "{reason}: {error}");
    };
    let text: &[u8] = b"x";
    refused(b"", "neither index.json nor manifest.json");
    refused(&archive(&[("../../evil", file(text), text)]), "neither index.json nor manifest.json");
    assert!(!Path::new("/evil").try_exists().unwrap());
    refused(&archive(&[("a", file(text), text), ("./a", file(text), text)]), "twice");
    let name = format!("blobs/sha256/{}", orlop_images::Digest::of(b"other").hex());
    refused(&archive(&[(&name, file(text), text)]), "have the digest");
    refused(&archive(&[("index.json", file(b"[]"), b"[]")]), "not valid");
    let circle = [
        ("index.json", tar::Kind::Symlink(b"b".to_vec()), &b""[..]),
        ("b", tar::Kind::Symlink(b"index.json".to_vec()), b""),
    ];
    refused(&archive(&circle), "neither index.json nor manifest.json");
    let manifest = b"[{\"Config\":\"/etc/passwd\",\"Layers\":[]}]";
    refused(&archive(&[("manifest.json", file(manifest), manifest)]), "is not in it");
    let whole = archive(&[("manifest.json", file(manifest), manifest)]);
    refused(&whole[..700], "");
    refused(b"BZh91AY", "compressed by bzip2");
    refused(&archive(&[(&"x".repeat(5000), file(b""), b"")]), "a name of 5000 bytes");
    assert!(kept.store.entries().unwrap().is_empty());
    assert!(kept.store.verify(&Quiet).unwrap().is_sound());
    kept.store.prune(&[], true).unwrap();
    assert_eq!(std::fs::read_dir(kept.store.layout().path().join("blobs/sha256")).unwrap().count(), 0);
}

#[test]
fn a_root_file_system_becomes_an_image() {
    let kept = Kept::new();
    let plain = layer("hello");
    let compressed = zstd::encode_all(plain.as_slice(), 1).unwrap();
    let options = ImportOptions { reference: Some("tiny:1".parse().unwrap()), ..ImportOptions::default() };
    for (bytes, compression) in [(&plain, Compression::None), (&compressed, Compression::Zstd)] {
        let entry = import(&kept.store, &mut bytes.as_slice(), &options).unwrap();
        let image = kept.store.image(&entry).unwrap();
        assert_eq!(
            (image.layers[0].compression, image.layers[0].diff_id),
            (compression, orlop_images::Digest::of(&plain))
        );
    }
    let error = import(&kept.store, &mut &b"no archive at all"[..], &options).unwrap_err();
    assert!(error.to_string().contains("not a tar archive"), "{error}");
    let path = kept.scratch.path().join("rootfs.tar");
    std::fs::write(&path, &plain).unwrap();
    let mut command = program(&kept.state());
    output(command.args(["import", "-c", "CMD [\"/hello\"]", "-m", "made", path.to_str().unwrap(), "tiny:2"]));
    let shown = output(program(&kept.state()).args(["inspect", "tiny:2"]));
    assert!(shown.contains("Command:           \"/hello\""), "{shown}");
}
