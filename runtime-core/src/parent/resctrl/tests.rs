#![allow(clippy::disallowed_methods, reason = "tests look at the file system as a user would")]

use super::*;

/// A tree with resctrl's files. A new class has none, unlike the kernel's, so the test makes them.
struct Fake(PathBuf);

impl Fake {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("orlop-resctrl-{}-{name}", std::process::id()));
        let fake = Self(root);
        for (path, content) in [
            ("schemata", "    L3:0=fffff;1=fffff\n    MB:0=100;1=100\n"),
            ("info/L3/cbm_mask", "fffff\n"),
            ("info/L3/min_cbm_bits", "1\n"),
            ("info/L3/num_closids", "16\n"),
            ("info/MB/bandwidth_gran", "10\n"),
            ("info/MB/delay_linear", "1\n"),
            ("info/MB/min_bandwidth", "10\n"),
            ("info/MB/num_closids", "8\n"),
            ("info/L3_MON/mon_features", "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n"),
        ] {
            fake.put(path, content);
        }
        fake
    }

    fn put(&self, path: &str, content: &str) {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn get(&self, path: &str) -> String {
        std::fs::read_to_string(self.0.join(path)).unwrap()
    }

    fn plan(&self, config: &IntelRdt<'_>) -> IntelRdtRecord {
        Resctrl { root: self.0.clone() }.plan(&ContainerId::new("web").unwrap(), config).unwrap()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

fn config(json: &'static str) -> IntelRdt<'static> {
    serde_json::from_str(json).unwrap()
}

fn pid() -> HostPid {
    HostPid::new(77).unwrap()
}

#[test]
fn a_container_gets_the_class_that_its_config_asks_for() {
    let fake = Fake::new("create");
    let own =
        config(r#"{"l3CacheSchema":"L3:0=f","memBwSchema":"MB:0=20","schemata":["L2:0=1"],"enableMonitoring":true}"#);
    let record = fake.plan(&own);
    assert!(
        record.owned
            && record.path.ends_with("/web")
            && record.monitoring_path.as_deref().unwrap().ends_with("/web/mon_groups/web")
    );
    for file in ["web/schemata", "web/tasks", "web/mon_groups/web/tasks"] {
        fake.put(file, "");
    }
    create(&record, &own, pid()).unwrap();
    assert_eq!(fake.get("web/schemata"), "L3:0=f\nMB:0=20\nL2:0=1\n");
    assert_eq!((fake.get("web/tasks").as_str(), fake.get("web/mon_groups/web/tasks").as_str()), ("77", "77"));

    let named = config(r#"{"closID":"gold"}"#);
    let record = fake.plan(&named);
    assert!(!record.owned);
    let error = create(&record, &named, pid()).unwrap_err();
    assert_eq!(error.field(), Some("/linux/intelRdt/closID"));
    assert!(!fake.0.join("gold").exists());
    fake.put("gold/tasks", "");
    create(&record, &named, pid()).unwrap();
    remove(&record).unwrap();
    assert!(fake.0.join("gold/tasks").exists(), "a class of another's stays");
}

#[test]
fn a_failure_leaves_no_class() {
    let fake = Fake::new("failure");
    let own = config(r#"{"l3CacheSchema":"L3:0=f"}"#);
    let record = fake.plan(&own);
    let error = create(&record, &own, pid()).unwrap_err();
    assert!(error.to_string().contains("write \"L3:0=f\" to "), "{error}");
    assert_eq!(error.field(), Some("/linux/intelRdt/l3CacheSchema"));
    assert!(!fake.0.join("web").exists());
    remove(&record).unwrap();
}

#[test]
fn a_class_has_the_name_of_a_directory() {
    let resctrl = Resctrl { root: "/r".into() };
    for name in ["a/b", "..", ".", "info", "mon_data"] {
        let config = IntelRdt {
            clos_id: Some(name.into()),
            schemata: vec![],
            l3_cache_schema: None,
            mem_bw_schema: None,
            enable_monitoring: false,
        };
        assert_eq!(
            resctrl.plan(&ContainerId::new("web").unwrap(), &config).unwrap_err().field(),
            Some("/linux/intelRdt/closID")
        );
    }
}

#[test]
fn an_update_changes_what_is_there_and_nothing_else() {
    let fake = Fake::new("update");
    let id = ContainerId::new("web").unwrap();
    let mut record = Record::intent(&id);
    assert!(check_update(&record, None, Some("")).unwrap().is_none());
    let error = check_update(&record, Some("L3:0=f"), None).unwrap_err();
    assert!(error.to_string().contains("updating a non-existent Intel RDT configuration is not supported"), "{error}");
    record.intel_rdt = Some(fake.plan(&config("{}")));
    fake.put("web/schemata", "");
    check_update(&record, Some("L3:0=f"), Some("MB:0=30")).unwrap().unwrap().apply().unwrap();
    assert_eq!(fake.get("web/schemata"), "L3:0=f\nMB:0=30\n");
    for (l3, mb) in [(Some("MB:0=1"), None), (Some("L3:0=f\nMB:0=1"), None), (None, Some("0=1"))] {
        assert_eq!(check_update(&record, l3, mb).unwrap_err().kind(), Kind::InvalidArgument);
    }
    std::fs::remove_dir_all(fake.0.join("info/MB")).unwrap();
    let error = check_update(&record, None, Some("MB:0=1")).unwrap_err();
    assert!(error.to_string().contains("Intel RDT/MBA: memory bandwidth schema is not enabled"), "{error}");
}

#[test]
fn statistics_read_as_runc_prints_them() {
    let fake = Fake::new("stats");
    let mut record = fake.plan(&config("{}"));
    fake.put("web/schemata", "    L3:0=f;1=f\n    MB:0=20;1=20\n");
    for (path, value) in [("mon_L3_01", "2\n"), ("mon_L3_00", "1\n")] {
        for file in ["mbm_total_bytes", "mbm_local_bytes", "llc_occupancy"] {
            fake.put(&format!("web/mon_data/{path}/{file}"), value);
        }
    }
    let expected = r#"{"l3_cache_info":{"cbm_mask":"fffff","min_cbm_bits":1,"num_closids":16},"l3_cache_schema_root":"L3:0=fffff;1=fffff","l3_cache_schema":"L3:0=f;1=f","mem_bw_info":{"bandwidth_gran":10,"delay_linear":1,"min_bandwidth":10,"num_closids":8},"mem_bw_schema_root":"MB:0=100;1=100","mem_bw_schema":"MB:0=20;1=20","schemata":["L3:0=f;1=f","MB:0=20;1=20"],"mbm_stats":[{"mbm_total_bytes":1,"mbm_local_bytes":1},{"mbm_total_bytes":2,"mbm_local_bytes":2}],"cmt_stats":[{"llc_occupancy":1},{"llc_occupancy":2}]}"#;
    assert_eq!(serde_json::to_string(&stats(&record)).unwrap(), expected);
    record.monitoring_path = Some(text(&fake.0.join("web/mon_groups/web")));
    assert_eq!(stats(&record).mbm_stats, Some(vec![]));
    let nowhere = IntelRdtRecord { path: "/no/such/tree/web".into(), monitoring_path: None, owned: true };
    assert_eq!(serde_json::to_string(&stats(&nowhere)).unwrap(), "{}");
}
