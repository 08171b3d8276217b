//! Root file systems out of layers.
