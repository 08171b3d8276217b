//! `orlop-image`: container images without a daemon.

fn main() {}
