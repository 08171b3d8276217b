//! What is taken from a registry or an archive before it is refused.

/// Bounds on what others say. The defaults are far above any honest image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The size of a manifest or an index, in bytes. Registries themselves stop at 4 MiB.
    pub manifest: u64,
    /// The size of an image config, in bytes.
    pub config: u64,
    /// How many entries an index may have.
    pub entries: usize,
    /// How deep indexes may be nested.
    pub depth: usize,
    /// How many layers an image may have. The kernel's overlayfs takes 500.
    pub layers: usize,
    /// The size of one layer as it is stored, in bytes.
    pub layer: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { manifest: 4 << 20, config: 8 << 20, entries: 1024, depth: 4, layers: 500, layer: 1 << 40 }
    }
}
