//! Manifests, indexes, image configs and platforms, as types that have been checked.
//!
//! What a registry or an archive says is bounded, parsed and checked here; the rest of the library sees nothing else.

mod config;
mod descriptor;
mod image;
mod limits;
mod manifest;
mod media_type;
mod platform;

pub use config::{History, ImageConfig, Process, RootFs};
pub use descriptor::Descriptor;
pub use image::{Image, Layer};
pub use limits::Limits;
pub use manifest::{Index, Manifest, Parsed};
pub use media_type::{Compression, MediaType};
pub use platform::Platform;
