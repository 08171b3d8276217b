//! Container images without a daemon: from a reference to a running container.
//!
//! The library pulls and pushes images, keeps them in a store that is an OCI image layout, unpacks their layers, and makes
//! bundles that the `orlop` library runs. The program `orlop-image` is this library with a command line.
//!
//! # Floors
//! A module imports only from those below it in this list, never from one beside or above it:
//!
//! | module | owns | imports |
//! |---|---|---|
//! | `cli` (of the program) | one file per command: arguments, printing | everything |
//! | [`supervise`] | containers: their records, start, watcher and log | `base`, `layer`, `network`, `snapshot`, the runtime |
//! | [`bundle`] | an image's config as a runtime-spec config | `base`, `userns`, `model`, `snapshot` |
//! | [`network`] | bridges, addresses, published ports; knows nothing of images | `base` |
//! | [`snapshot`] | root file systems out of layers | `base`, `model`, `layer` |
//! | [`layer`] | decompression, tar, the confined unpacker | `base`, `model` |
//! | [`store`] | images and blobs on disk | `base`, `reference`, `model` |
//! | [`registry`] | the protocol of registries; hands bytes on, keeps nothing | `base`, `reference`, `model` |
//! | [`model`] | manifests, indexes, configs, platforms, as checked types | `base`, `reference` |
//! | [`reference`](mod@reference) | names of images, as Docker writes them | `base` |
//! | [`userns`] | the user namespace of an ordinary user | `base` |
//! | [`base`] | errors, digests, progress, cancellation | |
//!
//! What joins a registry and the store (`pull`, `push`) lies in [`transfer`], above both; what joins files and the store
//! (`load`, `save`, `import`) in [`archive`], above the store and `layer`.

pub mod archive;
pub mod base;
pub mod bundle;
pub mod layer;
pub mod model;
pub mod network;
pub mod reference;
pub mod registry;
pub mod snapshot;
pub mod store;
pub mod supervise;
pub mod transfer;
pub mod userns;

pub use base::{Cancel, Digest, Error, Event, Hasher, Kind, Progress, Quiet, Result, Step};
pub use model::{Compression, Descriptor, Image, Layer, Platform};
pub use reference::{Reference, Source};
