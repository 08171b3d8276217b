//! What runs inside a new container until the container's own command takes over.
//!
//! The runtime does all the thinking: it writes a [`wire::Header`], a list of [`wire::Op`]s and their strings into one block of
//! shared memory, and executes this crate's program (`main.rs`) from a sealed memfd in the new process. The program carries out the
//! operations in order and reports by number: how far it is, and which operation failed with which errno. It never allocates, locks, formats, logs, looks anything up or calls a C library, so it is as small as a process can be, and the binary
//! that made the container is never reachable from within it.
//!
//! This crate has two users: the build script of the library `orlop` compiles `main.rs` into the program, and the library itself links
//! the crate for [`wire`] and [`Block`].
#![no_std]
#![allow(
    unsafe_code,
    reason = "system calls and the shared block are what this crate is for; each use argues its case"
)]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "system calls take and give machine words of 64 bits, which hold what the narrower types do"
)]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("Orlop runs on 64-bit Linux only");

mod abi;
mod bind;
mod block;
mod classic;
mod console;
mod copy;
mod executor;
mod failure;
mod foreign_procfs;
mod identity;
mod join;
mod mounts;
mod network;
mod place;
mod resolve;
mod run;
mod serve;
mod sys;
pub mod wire;

pub use block::{Block, NotABlock};
pub use network::NewNetwork;
pub use run::run;
