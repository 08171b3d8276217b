//! Every config that a real engine wrote loads, is right, and has no field that is not known.

use std::fs;
use std::path::PathBuf;

use orlop::config;

#[test]
fn every_file_written_by_an_engine_loads_and_is_right() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/engine-configs");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = fs::read(&path).unwrap();
        let warnings = if name.ends_with(".process.json") {
            let process = config::load_process(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            config::check_process(&process)
        } else if name.ends_with(".resources.json") {
            config::load_resources(&bytes).map(|_| Vec::new())
        } else {
            let config = config::load(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(!config.has_unknown_fields, "{name}: {:?}", config::unknown_fields(&bytes));
            config::check(&config, config::CheckOptions::default())
        };
        let warnings = warnings.unwrap_or_else(|error| panic!("{name}: {error}"));
        // That Podman asks for ambient capabilities without making them inheritable.
        if name == "podman4-2.json" {
            assert!(warnings.iter().all(|warning| warning.pointer == "/process/capabilities/ambient"), "{warnings:?}");
        } else {
            assert_eq!(warnings, [], "{name}");
        }
        count += 1;
    }
    assert!(count > 30, "only {count} files were read");
}

/// Everything that `create` decides before it makes anything; the sources of mounts are on other machines.
#[test]
fn every_config_written_by_an_engine_plans() {
    if !nix::unistd::geteuid().is_root() {
        println!(
            "SKIP every_config_written_by_an_engine_plans: needs root, a rootless container needs a user namespace"
        );
        return;
    }
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/engine-configs");
    let runtime = orlop::Runtime::new(std::env::temp_dir().join("orlop-never-made"));
    let id = orlop::ContainerId::new("planned").unwrap();
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.matches('.').count() != 1 {
            continue;
        }
        let options = orlop::CreateOptions::default().config(path);
        let planned = orlop::plan(&runtime, &id, &options).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(planned.operations.len() > 20, "{name}: {planned}");
        count += 1;
    }
    assert!(count > 30, "only {count} files were planned");
    assert!(!runtime.root.try_exists().unwrap());
}
