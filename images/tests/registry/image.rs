//! Images for the tests, stores to keep them, and the program.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use orlop_images::model::{ImageConfig, Limits, Manifest, MediaType, RootFs};
use orlop_images::registry::{Hosts, Keyring, Options, Patience, Registry};
use orlop_images::store::{Entry, Store};
use orlop_images::{Cancel, Descriptor, Digest, Reference};

use crate::server::Scratch;

/// A store in a directory of its own.
pub(crate) struct Kept {
    pub(crate) scratch: Scratch,
    pub(crate) store: Store,
}

impl Kept {
    pub(crate) fn new() -> Self {
        let scratch = Scratch::new();
        let store = Store::open(&scratch.path().join("state"), &Cancel::new()).unwrap();
        Self { scratch, store }
    }

    pub(crate) fn state(&self) -> std::path::PathBuf {
        self.scratch.path().join("state")
    }
}

/// Bytes that no compression makes shorter, the same for the same seed.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Puts an image with these layers into the store, and gives it the name.
pub(crate) fn image(store: &Store, name: &str, layers: &[Vec<u8>]) -> Entry {
    let blobs: Vec<Descriptor> = layers.iter().map(|layer| store.add(MediaType::OCI_LAYER, layer).unwrap()).collect();
    let config = ImageConfig {
        architecture: orlop_images::Platform::host().architecture,
        os: "linux".to_owned(),
        rootfs: RootFs { diff_ids: layers.iter().map(|layer| Digest::of(layer)).collect(), ..RootFs::default() },
        ..ImageConfig::default()
    };
    let config = store.add(MediaType::OCI_CONFIG, &serde_json::to_vec(&config).unwrap()).unwrap();
    let manifest = Manifest { media_type: MediaType::new(MediaType::OCI_MANIFEST), config, layers: blobs };
    let descriptor = store.add(MediaType::OCI_MANIFEST, &manifest.to_json()).unwrap();
    let entry = Entry { reference: Some(name.parse().unwrap()), descriptor, index: None };
    store.name(entry.clone()).unwrap();
    entry
}

/// A client that loses patience soon.
pub(crate) fn registry(keyring: Keyring, hosts: Hosts) -> Registry {
    Registry::new(Options {
        hosts,
        keyring,
        limits: Limits::default(),
        patience: Patience { attempts: 4, pause: Duration::from_millis(150), longest: Duration::from_secs(3) },
        connect: Duration::from_secs(5),
        idle: Duration::from_millis(1500),
        cancel: Cancel::new(),
    })
}

/// The same, without credentials and mirrors.
pub(crate) fn plain_registry() -> Registry {
    registry(Keyring::default(), Hosts::default())
}

pub(crate) fn pull(store: &Store, name: &str) -> orlop_images::Result<orlop_images::Image> {
    pull_with(store, &plain_registry(), name)
}

pub(crate) fn pull_with(store: &Store, registry: &Registry, name: &str) -> orlop_images::Result<orlop_images::Image> {
    let reference: Reference = name.parse()?;
    orlop_images::transfer::pull(store, registry, &reference, &Default::default(), &orlop_images::Quiet)
}

pub(crate) fn push(store: &Store, registry: &Registry, entry: &Entry, name: &str) -> orlop_images::Result<()> {
    let reference: Reference = name.parse()?;
    orlop_images::transfer::push(store, registry, entry, &reference, &Default::default(), &orlop_images::Quiet)
}

/// The program, with a state directory, and nothing of the user's settings.
pub(crate) fn program(state: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orlop-image"));
    command.arg("--root").arg(state).env("HOME", "/nonexistent").env_remove("REGISTRY_AUTH_FILE");
    command.env_remove("XDG_CONFIG_HOME").env_remove("DOCKER_CONFIG").env_remove("HTTP_PROXY").env_remove("http_proxy");
    command
}

/// Its standard output, if it succeeds.
pub(crate) fn output(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{command:?}: {status}\n{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}
