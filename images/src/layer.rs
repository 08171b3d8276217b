//! Layers: decompression, tar, and unpacking inside one directory.
