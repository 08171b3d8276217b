//! The protocol of registries.
