//! Whatever comes over a shim's socket, in whatever pieces: the same frames are read, and what was read as a message is written again as
//! one that reads the same.
#![no_main]
#![allow(dead_code, reason = "a part of the program's messages")]

#[macro_use]
#[path = "../../shim/src/proto/mod.rs"]
mod proto;
#[path = "../../shim/src/ttrpc/mod.rs"]
mod ttrpc;

use std::fmt::Debug;

use libfuzzer_sys::fuzz_target;
use proto::bootstrap::{BootstrapParams, RuntimeInfo};
use proto::event::ForwardRequest;
use proto::options::{CheckpointOptions, RuncOptions, RuntimeOptions};
use proto::task::{
    CheckpointTaskRequest, CloseIORequest, CreateTaskRequest, ExecProcessRequest, KillRequest, ProcessRequest,
    ResizePtyRequest, ShutdownRequest, UpdateTaskRequest,
};
use proto::{Any, Message, decode, encode};
use ttrpc::{Decoder, Incoming};

fuzz_target!(|bytes: &[u8]| {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let whole = frames(bytes.chunks(bytes.len().max(1)));
    let pieces = frames(bytes.chunks(usize::from(*piece).max(1)));
    assert_eq!(whole, pieces);
    for incoming in whole {
        match incoming {
            Incoming::Request { request, .. } => {
                reads_the_same(&request);
                every_message(&request.payload);
            }
            Incoming::Response { response, .. } => reads_the_same(&response),
            Incoming::Refused { .. } => {}
        }
    }
    every_message(bytes);
});

fn frames<'b>(pieces: impl Iterator<Item = &'b [u8]>) -> Vec<Incoming> {
    let mut decoder = Decoder::default();
    let mut all = Vec::new();
    for piece in pieces {
        decoder.feed(piece);
        while let Some(incoming) = decoder.next() {
            all.push(incoming);
        }
    }
    all
}

fn every_message(bytes: &[u8]) {
    message::<CreateTaskRequest>(bytes);
    message::<ExecProcessRequest>(bytes);
    message::<ProcessRequest>(bytes);
    message::<KillRequest>(bytes);
    message::<UpdateTaskRequest>(bytes);
    message::<CheckpointTaskRequest>(bytes);
    message::<ResizePtyRequest>(bytes);
    message::<CloseIORequest>(bytes);
    message::<ShutdownRequest>(bytes);
    message::<BootstrapParams>(bytes);
    message::<RuntimeInfo>(bytes);
    message::<ForwardRequest>(bytes);
    message::<RuncOptions>(bytes);
    message::<RuntimeOptions>(bytes);
    message::<CheckpointOptions>(bytes);
    message::<Any>(bytes);
}

fn message<M: Message + PartialEq + Debug>(bytes: &[u8]) {
    if let Ok(message) = decode::<M>(bytes) {
        reads_the_same(&message);
    }
}

fn reads_the_same<M: Message + PartialEq + Debug>(message: &M) {
    assert_eq!(decode::<M>(&encode(message)).as_ref(), Ok(message));
}
