//! The `oci-spec` crate as a second opinion on what engines' configs say. Needs the feature of that name.
#![cfg(feature = "oci-spec")]

use std::fs;
use std::path::PathBuf;

use oci_spec::runtime::{LinuxNamespaceType, LinuxSchedulerFlag, Spec};
use orlop::config::{self, Config};

/// The lines of a config's debug form, sorted: the crate does not keep the order of maps.
fn lines(config: &Config<'_>) -> Vec<String> {
    let text = format!("{config:#?}");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn both_read_the_same_from_every_engines_config() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/engine-configs");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.matches('.').count() != 1 {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let spec: Spec = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let theirs = Config::try_from(&spec).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(lines(&theirs), lines(&config::load(text.as_bytes()).unwrap()), "{name}");
        count += 1;
    }
    assert!(count > 30, "only {count} files were read");
}

#[test]
fn both_read_the_same_from_our_default_configs() {
    for rootless in [None, Some((1000, 1000))] {
        for cgroup_namespace in [false, true] {
            let text = config::default_config(config::DefaultConfig { rootless, cgroup_namespace });
            let spec: Spec = serde_json::from_str(&text).unwrap();
            let theirs = Config::try_from(&spec).unwrap();
            assert_eq!(lines(&theirs), lines(&config::load(text.as_bytes()).unwrap()));
            // Values said once more, by its own accessors.
            let process = spec.process().as_ref().unwrap();
            assert_eq!(process.args().as_ref().unwrap(), &["sh"]);
            assert_eq!(process.no_new_privileges(), Some(true));
            let namespaces = spec.linux().as_ref().unwrap().namespaces().as_ref().unwrap();
            let has = |wanted| namespaces.iter().any(|namespace| namespace.typ() == wanted);
            assert_eq!(has(LinuxNamespaceType::User), rootless.is_some());
            assert_eq!(has(LinuxNamespaceType::Cgroup), cgroup_namespace);
        }
    }
}

#[test]
fn the_crates_default_is_a_valid_config() {
    let text = config::config_json(&Spec::default()).unwrap();
    let config = config::load(text.as_bytes()).unwrap();
    assert!(!config.has_unknown_fields, "{:?}", config::unknown_fields(text.as_bytes()));
    assert!(config::check(&config, config::CheckOptions::default()).is_ok());
}

#[test]
fn scheduler_flags_get_the_names_of_the_specification() {
    let mut spec = Spec::default();
    let mut process = spec.process().clone().unwrap();
    let scheduler = oci_spec::runtime::SchedulerBuilder::default()
        .policy(oci_spec::runtime::LinuxSchedulerPolicy::SchedOther)
        .flags(vec![LinuxSchedulerFlag::SchedResetOnFork])
        .build()
        .unwrap();
    process.set_scheduler(Some(scheduler));
    spec.set_process(Some(process));
    let config = Config::try_from(&spec).unwrap();
    let flags = config.process.unwrap().scheduler.unwrap().flags;
    assert_eq!(flags, [config::SchedulerFlag::ResetOnFork]);
}
