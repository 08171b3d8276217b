//! Black-box tests of runc-compatible runtimes.
