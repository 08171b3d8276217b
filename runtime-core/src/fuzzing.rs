//! Entry points for the fuzz targets (folder `fuzz`) to private readers. Compiled only with `--cfg fuzzing`.

use std::fs;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::LazyLock;

use orlop_init::wire;

use crate::base::{ContainerId, Kind};
use crate::parent::launch::{BLOCK_FILE, InitBlock, failure, killed_at_execve};
use crate::state::Record;

/// The bytes of a state file: what is read is written, and read the same; what is not is refused by name.
pub fn state(bytes: &[u8]) {
    let id = ContainerId::new("fuzzed").expect("an id");
    match Record::from_json(bytes, &id) {
        Ok(record) => {
            let written = record.to_json().expect("what was read can be written");
            let again = Record::from_json(&written, &id).expect("what was written can be read");
            assert_eq!(again.to_json().expect("again"), written);
        }
        Err(error) => {
            assert_eq!(error.kind(), Kind::State);
            assert!(error.to_string().contains("state.json of fuzzed"), "{error}");
        }
    }
}

/// A passwd file.
pub fn passwd(text: &str) {
    for uid in [0, 1000, u32::MAX] {
        if let Some(home) = crate::parent::passwd::home_field(text, uid) {
            assert!(!home.is_empty() && text.contains(&home));
        }
    }
}

/// A datagram of rtnetlink.
pub fn netlink(bytes: &[u8]) {
    crate::parent::net_devices::decode_all(bytes);
}

/// A message of CRIU; or its log and the descriptors of its images.
pub fn criu(bytes: &[u8]) {
    crate::parent::criu::decode_all(bytes);
}

/// The file of a shared block. Where the first byte is odd, the words at its beginning are made right, or nearly none would be looked into.
pub fn shared_block(bytes: &[u8]) {
    static DIR: LazyLock<PathBuf> =
        LazyLock::new(|| std::env::var_os("ORLOP_FUZZ_DIR").map_or_else(std::env::temp_dir, PathBuf::from));
    let Some((mode, rest)) = bytes.split_first() else { return };
    let mut block = rest.to_vec();
    if mode & 1 == 1 {
        block.resize(block.len().next_multiple_of(8).max(size_of::<wire::Header>()), 0);
        let size = u32::try_from(block.len()).expect("inputs are small");
        let record = u32::try_from(size_of::<wire::Record>()).expect("so are records");
        for (place, word) in block.chunks_exact_mut(4).zip([wire::MAGIC, wire::VERSION, record, size]) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
    }
    fs::write(DIR.join(BLOCK_FILE), &block).expect("a file");
    let dir = fs::File::open(&*DIR).expect("the directory");
    match InitBlock::open(dir.as_fd()) {
        // All of it, as `start` and reports do.
        Ok(block) => {
            let _ =
                (block.failed(), block.take_forked(), block.awaits_listener(), block.listener(), block.waiting_mount());
            let _ = (block.report(), block.detail(), block.command());
            drop(failure(&block));
            drop(killed_at_execve(&block));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
