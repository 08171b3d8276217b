//! Linux control groups for container runtimes.
