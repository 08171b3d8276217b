//! Carries images between registries and the store.
