//! Every config that a real engine wrote loads.

use std::fs;
use std::path::PathBuf;

use orlop::config;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/engine-configs")
}

#[test]
fn every_file_written_by_an_engine_loads() {
    let mut count = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let bytes = fs::read(&path).unwrap();
        let result = if name.ends_with(".process.json") {
            config::load_process(&bytes).map(drop)
        } else if name.ends_with(".resources.json") {
            continue;
        } else {
            config::load(&bytes).map(drop)
        };
        assert!(result.is_ok(), "{name}: {result:?}");
        count += 1;
    }
    assert!(count > 30, "only {count} files were read");
}
