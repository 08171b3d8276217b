//! The archive of a layer, as it is and with right checksums: what is read is within the limits, and what the writer writes of it
//! is read the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop_images::layer::Limits;
use orlop_images::layer::tar::{Entry, Kind, Reader, Writer};

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    let mut fixed = bytes.to_vec();
    for block in fixed.chunks_exact_mut(512) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    read(&fixed);
});

fn read(bytes: &[u8]) {
    let mut limits = Limits::default();
    limits.apparent = 1 << 30;
    let mut reader = Reader::new(bytes, limits);
    let (mut entries, mut apparent, mut content) = (0, 0, 0);
    while let Ok(Some(entry)) = reader.entry() {
        entries += 1;
        if let Kind::File { size, pieces } = &entry.kind {
            apparent += size;
            let ends: Vec<u64> = pieces.iter().flatten().map(|(at, length)| at + length).collect();
            assert!(ends.iter().all(|end| end <= size) && ends.is_sorted());
        }
        loop {
            match reader.chunk().map(<[u8]>::len) {
                Ok(0) | Err(_) => break,
                Ok(length) => {
                    content += length;
                    reader.consume(length);
                }
            }
        }
        again(&entry);
    }
    assert!(entries <= bytes.len() / 512 && apparent <= limits.apparent && content <= bytes.len());
}

/// What the writer takes comes back as it was, contents aside.
fn again(entry: &Entry) {
    let entry = match &entry.kind {
        Kind::File { .. } => Entry { kind: Kind::File { size: 0, pieces: None }, ..entry.clone() },
        _ => entry.clone(),
    };
    let mut archive = Vec::new();
    let mut writer = Writer::new(&mut archive);
    if writer.entry(&entry, &mut std::io::empty()).is_err() || writer.finish().is_err() {
        return;
    }
    // An old archive says by a slash that a file is a directory.
    let Ok(Some(back)) = Reader::new(&archive[..], Limits::default()).entry() else { return };
    assert_eq!((back.uid, back.gid, &back.mtime), (entry.uid, entry.gid, &entry.mtime));
}
