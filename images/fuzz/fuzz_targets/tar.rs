//! Reading an archive never panics, never loops, and never hands out more of a file than its entry says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop_images::layer::Limits;
use orlop_images::layer::tar::{Kind, Reader};

fuzz_target!(|bytes: &[u8]| {
    let mut reader = Reader::new(bytes, Limits::default());
    while let Ok(Some(entry)) = reader.entry() {
        let mut read = 0;
        while let Ok(chunk) = reader.chunk() {
            let length = chunk.len();
            if length == 0 {
                break;
            }
            read += length as u64;
            reader.consume(length);
        }
        if let Kind::File { size, pieces } = entry.kind {
            assert!(read <= size);
            let mut end = 0;
            for (offset, length) in pieces.unwrap_or_default() {
                assert!(offset >= end && offset + length <= size);
                end = offset + length;
            }
        }
    }
});
