use super::*;

/// A manager that answers from a list, and keeps what it was asked.
#[derive(Default)]
struct Fake {
    answers: Vec<(&'static str, std::result::Result<Vec<Value>, Failure>)>,
    result: &'static str,
    asked: Vec<String>,
}

impl Manager for Fake {
    fn call(&mut self, method: &str, arguments: &[Value]) -> std::result::Result<Vec<Value>, Failure> {
        self.asked.push(format!("{method} {}", arguments.first().and_then(Value::as_str).unwrap_or_default()));
        match self.answers.iter().position(|(name, _)| *name == method) {
            Some(index) => self.answers.remove(index).1,
            None => Ok(Vec::new()),
        }
    }
    fn job(&mut self, job: &str) -> Result<String> {
        self.asked.push(format!("wait {job}"));
        Ok(self.result.to_owned())
    }
}

fn refused(name: &str) -> std::result::Result<Vec<Value>, Failure> {
    Err(Failure::Refused(format!("org.freedesktop.systemd1.{name}"), "no".to_owned()))
}

fn job() -> std::result::Result<Vec<Value>, Failure> {
    Ok(vec![Value::ObjectPath("/job/7".to_owned())])
}

fn unit() -> Unit {
    Unit { name: "x-c.scope".to_owned(), slice: "system.slice".to_owned(), user: false }
}

#[test]
fn a_failed_leftover_is_cleared_away_once() {
    let mut fake = Fake {
        answers: vec![("StartTransientUnit", refused("UnitExists")), ("StartTransientUnit", job())],
        result: "done",
        ..Fake::default()
    };
    start(&mut fake, &unit(), &[]).unwrap();
    let expected =
        ["StartTransientUnit x-c.scope", "ResetFailedUnit x-c.scope", "StartTransientUnit x-c.scope", "wait /job/7"];
    assert_eq!(fake.asked, expected);

    let exists = || ("StartTransientUnit", refused("UnitExists"));
    let mut fake = Fake { answers: vec![exists(), exists()], ..Fake::default() };
    assert_eq!(start(&mut fake, &unit(), &[]).unwrap_err().kind(), Kind::Busy);
}

#[test]
fn a_job_that_fails_is_an_error() {
    let mut fake = Fake { answers: vec![("StartTransientUnit", job())], result: "failed", ..Fake::default() };
    let error = start(&mut fake, &unit(), &[]).unwrap_err();
    assert_eq!(error.to_string(), "start the systemd unit x-c.scope: the job ended as \"failed\"");
    assert_eq!(fake.asked.last().unwrap(), "ResetFailedUnit x-c.scope");
}

#[test]
fn stopping_a_unit_that_is_gone_is_no_error() {
    let mut fake = Fake { answers: vec![("StopUnit", refused("NoSuchUnit"))], ..Fake::default() };
    stop_unit(&mut fake, &unit()).unwrap();
    let mut fake = Fake { answers: vec![("StopUnit", refused("AccessDenied"))], ..Fake::default() };
    assert_eq!(
        stop_unit(&mut fake, &unit()).unwrap_err().to_string(),
        "ask systemd x-c.scope: no (org.freedesktop.systemd1.AccessDenied)"
    );
}

#[test]
fn scopes_and_slices_are_started_with_runcs_properties() {
    let list = |unit: &Unit| start_properties(unit, 42, true, &[]).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        list(&unit()),
        [
            "Description=\"container x-c.scope\"",
            "Slice=\"system.slice\"",
            "Delegate=true",
            "PIDs=[42]",
            "MemoryAccounting=true",
            "CPUAccounting=true",
            "IOAccounting=true",
            "TasksAccounting=true",
            "DefaultDependencies=false"
        ]
    );
    let slice = Unit { name: "a-b.slice".to_owned(), ..unit() };
    assert!(list(&slice).contains(&"Wants=[\"system.slice\"]".to_owned()));
}

#[test]
fn annotations_become_properties() {
    let table = [
        ("org.systemd.property.TimeoutStopUSec", "uint64 123", Ok(Some("TimeoutStopUSec=123"))),
        ("org.systemd.property.TimeoutStopSec", "5", Ok(Some("TimeoutStopUSec=5000000"))),
        ("org.systemd.property.TimeoutStopSec", "1.5", Ok(Some("TimeoutStopUSec=1500000"))),
        ("org.systemd.property.CollectMode", "'inactive-or-failed'", Ok(Some("CollectMode=\"inactive-or-failed\""))),
        ("org.systemd.property.After", "['a.service']", Ok(Some("After=[\"a.service\"]"))),
        ("other.annotation", "x", Ok(None)),
        ("org.systemd.property.X", "1", Err(())),
        ("org.systemd.property.A-B-C", "1", Err(())),
        ("org.systemd.property.Description", "bare words", Err(())),
        ("org.systemd.property.TimeoutStopSec", "'soon'", Err(())),
        ("org.systemd.property.TimeoutStopSec", "-1", Err(())),
    ];
    for (key, text, expected) in table {
        let found = Property::from_annotation(key, text).map(|one| one.map(|one| one.to_string())).map_err(drop);
        assert_eq!(found, expected.map(|one: Option<&str>| one.map(str::to_owned)), "{key}={text}");
    }
}

#[test]
fn the_oom_policy_is_set_at_the_start() {
    let of = |json: &str| Property::for_start(&serde_json::from_str(json).unwrap()).map(|one| one.to_string());
    assert_eq!(of(r#"{"unified":{"memory.oom.group":"1"}}"#).as_deref(), Some("OOMPolicy=\"kill\""));
    assert_eq!(of(r#"{"unified":{"memory.oom.group":"0"}}"#).as_deref(), Some("OOMPolicy=\"continue\""));
    assert_eq!(of("{}"), None);
}

#[test]
fn versions_are_read() {
    for (text, expected) in [("257.5-1", 257), ("v245.4-1.fc32", 245), ("\"v241\"", 241), ("252-rc1", 252), ("x", 0)] {
        assert_eq!(version_number(text), expected, "{text}");
    }
}

#[test]
fn a_weight_ends_idleness() {
    let files = |json: &str| {
        let resources: Resources<'_> = serde_json::from_str(json).unwrap();
        let mounts = crate::writes::Mounts { v1: &|_| false, unified: true };
        let mut list = crate::writes::writes_for(&resources, mounts).unwrap();
        settle(&resources, &mut list);
        list.iter().map(|write| format!("{}={}", write.file, write.value)).collect::<Vec<_>>()
    };
    for (json, expected) in [
        (r#"{"pids":{"limit":1},"cpu":{"shares":1024}}"#, &["pids.max=1", "cpu.idle=0", "cpu.weight=100"][..]),
        (r#"{"unified":{"cpu.weight":"8"}}"#, &["cpu.idle=0", "cpu.weight=8"]),
        (r#"{"cpu":{"shares":1024,"idle":1}}"#, &["cpu.idle=1"]),
        (r#"{"unified":{"cpu.idle":"1","cpu.weight":"8"}}"#, &["cpu.idle=1"]),
        (r#"{"pids":{"limit":1}}"#, &["pids.max=1"]),
    ] {
        assert_eq!(files(json), expected, "{json}");
    }
}
