//! Layers with whiteouts, links and devices, unpacked into a directory: nothing beside it changes, whatever is said.
#![no_main]

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use orlop_images::layer::{self, Blob, Ids, Limits, Meaning, Name, Options, OverlayXattrs, Squash};
use orlop_images::{Cancel, Compression, Digest};

fuzz_target!(|bytes: &[u8]| {
    let mut archive = bytes.to_vec();
    for block in archive.chunks_exact_mut(512) {
        // Contents stay as they are: what has no mark of a header is none.
        if &block[257..262] == b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    let place = std::env::var_os("ORLOP_FUZZ_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let place = place.join(format!("layer-{}", std::process::id()));
    let root = place.join("layer");
    std::fs::create_dir_all(&root).unwrap();
    let canary = place.join("canary");
    std::fs::write(&canary, "untouched").unwrap();
    unpack(&archive, &root);
    assert_eq!(std::fs::read(&canary).unwrap(), b"untouched");
    let beside: Vec<_> = std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(beside.len(), 2, "{beside:?}");
    std::fs::remove_dir_all(&place).unwrap();
    names(bytes);
});

fn unpack(archive: &[u8], root: &std::path::Path) {
    let mut limits = Limits::default();
    limits.apparent = 1 << 20;
    let root = OwnedFd::from(std::fs::File::open(root).unwrap());
    let options = Options { limits, ids: Ids::of_this_process(Squash::ToSelf).unwrap(), xattrs: OverlayXattrs::User };
    let digest = Digest::of(archive);
    let (size, compression) = (archive.len() as u64, Compression::None);
    let blob = Blob { bytes: archive, digest, size, compression, diff_id: digest };
    if let Ok(unpacked) = layer::unpack(blob, root, &options, &Cancel::new(), &|_| {}) {
        assert!(unpacked.size <= limits.apparent && unpacked.entries <= archive.len() as u64 / 512);
    }
}

/// A name leads to one place below the root, and a whiteout to one beside it.
fn names(bytes: &[u8]) {
    let Ok(name) = Name::parse(bytes, &Limits::default()) else { return };
    assert!(name.components().iter().all(|part| !part.is_empty() && part != b"." && part != b".."));
    if let Ok(Meaning::Whiteout(hidden)) = name.clone().meaning() {
        assert_eq!(hidden.components().len(), name.components().len());
        assert!(hidden.components().iter().all(|part| !part.is_empty() && part != b"." && part != b".."));
    }
}
