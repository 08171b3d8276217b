//! `orlop`: a runc-compatible OCI container runtime.
fn main() {}
