//! What one layer may hold before it is refused.

/// Bounds on a layer. The defaults are far above any honest one; each is there against a layer that is made to exhaust
/// something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Entries of the archive. Each may cost an inode.
    pub entries: u64,
    /// Bytes of the archive once it is decompressed.
    pub archive: u64,
    /// Bytes of all files together as they appear, holes included.
    pub apparent: u64,
    /// How many bytes one byte of the blob may become, once the archive is larger than [`Limits::ratio_from`]. That of
    /// gzip is 1032 at most by its format.
    pub ratio: u64,
    /// Up to here nobody looks at the ratio.
    pub ratio_from: u64,
    /// Bytes of a name, and of a link's target.
    pub path: usize,
    /// Components of a name.
    pub depth: usize,
    /// Bytes of the extended header before one entry.
    pub header: u64,
    /// Pieces of one sparse file.
    pub pieces: usize,
    /// Bytes of the window that a zstd frame asks for, as a power of two.
    pub window_log: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 4_000_000,
            archive: 1 << 40,
            apparent: 1 << 42,
            ratio: 2000,
            ratio_from: 256 << 20,
            path: 4095,
            depth: 256,
            header: 1 << 20,
            pieces: 65_536,
            window_log: 27,
        }
    }
}
