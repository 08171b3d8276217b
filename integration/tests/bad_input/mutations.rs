//! The property of bad input: whatever is changed in a valid config, it runs, or is refused with the field that is wrong; nothing
//! hangs, crashes or is left.
//!
//! `ORLOP_MUTATIONS` sets how many are tried (120), `ORLOP_SEED` where the row of them starts: a failure names its seed.

use orlop_integration::{Container, Flavor, Output, Sandbox, case};
use serde_json::{Value, json};

use crate::nothing_left;

/// Values of every type, and those at the edges of what types and kernels take.
const STRANGE: &str = r#"[null, true, false, 0, 1, -1, 0.5, 65536, 4294967295, 4294967296, 18446744073709551615, -9223372036854775808,
    1e300, "", "text", "/", "/proc/self/fd", "..", "a/../../b", "\u0000", "\n", " ", "0", "-1", "0-", "0-99999", "\ud83d\ude00",
    [], [null], [[]], [""], ["bind", "ro"], {}, {"": null}, {"type": "pid"}, {"path": "/nonexistent"}]"#;

/// A pseudo-random row that is the same for the same start (xorshift).
struct Row(u64);

impl Row {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit).unwrap()).unwrap()
    }

    fn one<'v, T>(&mut self, values: &'v [T]) -> &'v T {
        &values[self.below(values.len())]
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A config in which nearly every section says something.
fn full(c: &Container<'_>) -> Value {
    c.args(&["/bin/true"]);
    let hook = json!([{"path": "/bin/true", "args": ["true"], "env": ["A=b"], "timeout": 5}]);
    c.set("/hooks", json!({"createRuntime": hook, "startContainer": hook, "poststop": hook}));
    c.set("/annotations", json!({"org.example": "x", "run.oci.hooks.stdout": "/dev/null"}));
    c.set("/process/oomScoreAdj", json!(100))
        .set("/process/user", json!({"uid": 1, "gid": 2, "umask": 18, "additionalGids": [3]}));
    c.set("/process/scheduler", json!({"policy": "SCHED_BATCH", "nice": 3}));
    c.set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 4}));
    c.set("/process/execCPUAffinity", json!({"initial": "0", "final": "0"}));
    c.push("/linux/namespaces", json!({"type": "time"}))
        .set("/linux/timeOffsets", json!({"boottime": {"secs": 5, "nanosecs": 6}}));
    c.set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1", "kernel.msgmax": "4096"}));
    c.set(
        "/linux/devices",
        json!([{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 0, "gid": 0}]),
    );
    c.set("/linux/resources/pids", json!({"limit": 50}));
    c.set("/linux/resources/memory", json!({"limit": 67_108_864, "reservation": 33_554_432}));
    c.set("/linux/resources/cpu", json!({"shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0", "mems": "0"}));
    c.set("/linux/rootfsPropagation", json!("private"));
    c.set(
        "/linux/seccomp",
        json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "flags": [], "syscalls": [
            {"names": ["kexec_load"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
             "args": [{"index": 0, "value": 1, "valueTwo": 0, "op": "SCMP_CMP_EQ"}]}]}),
    );
    c.config(Clone::clone)
}

/// Every place in the config but the root's path, by which a mutation could make the host's own root the container's.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    if !at.is_empty() && at != "/root/path" && at != "/root" {
        out.push(at.to_owned());
    }
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| places(value, &format!("{at}/{}", key.replace('/', "~1")), out));
        }
        Value::Array(list) => list.iter().enumerate().for_each(|(n, value)| places(value, &format!("{at}/{n}"), out)),
        _ => {}
    }
}

/// One change, and what it was.
fn mutate(config: &mut Value, all: &[String], strange: &[Value], row: &mut Row) -> String {
    let place = row.one(all);
    let Some(old) = config.pointer(place).cloned() else { return String::new() };
    match row.below(6) {
        0 => {
            orlop_integration::spec::remove(config, place);
            format!("{place} removed")
        }
        1 => {
            let from = row.one(all);
            let value = config.pointer(from).cloned().unwrap_or_default();
            orlop_integration::spec::set(config, place, value);
            format!("{place} = what is at {from}")
        }
        2 if old.is_array() => {
            let item = old.pointer("/0").cloned().unwrap_or_default();
            orlop_integration::spec::set(config, &format!("{place}/-"), item);
            format!("{place}: its first item twice")
        }
        3 => {
            let value = near(&old, row);
            let text = format!("{place} = {value}, near {old}");
            orlop_integration::spec::set(config, place, value);
            text
        }
        _ => {
            let value = row.one(strange);
            orlop_integration::spec::set(config, place, value.clone());
            format!("{place} = {value}")
        }
    }
}

/// A value of the same type that is not quite it.
fn near(old: &Value, row: &mut Row) -> Value {
    match old {
        Value::Number(number) => {
            let number = number.as_i64().unwrap_or(0);
            json!(row.one(&[number.wrapping_add(1), number.wrapping_sub(1), number.wrapping_mul(1000), !number]))
        }
        Value::String(text) => {
            let cut = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
            let cut = &text[..cut];
            json!(row.one(&[
                cut.to_owned(),
                format!("{text}x"),
                text.to_lowercase(),
                text.to_uppercase(),
                format!("{text}/..")
            ]))
        }
        Value::Bool(value) => json!(!value),
        other => other.clone(),
    }
}

#[case(seconds(900))]
fn mutations_of_a_valid_config(t: &Sandbox) {
    let (rounds, start) = (number("ORLOP_MUTATIONS", 120), number("ORLOP_SEED", 0x9e37_79b9_7f4a_7c15));
    let strange: Vec<Value> = serde_json::from_str(STRANGE).unwrap();
    let c = t.container("a");
    let original = full(&c);
    let _ = c.run().ok();
    let mut all = Vec::new();
    places(&original, "", &mut all);
    let mut row = Row(start.max(1));
    let (mut ran, mut refused) = (0, 0);
    for _ in 0..rounds {
        let seed = row.0;
        let mut config = original.clone();
        let mut changes = vec![mutate(&mut config, &all, &strange, &mut row)];
        if row.below(4) == 0 {
            changes.push(mutate(&mut config, &all, &strange, &mut row));
        }
        c.edit(|spec| *spec = config);
        let what = format!("ORLOP_SEED={seed}: {}", changes.join("; "));
        let out = c.run();
        judge(t, &out, &what);
        if out.code == 0 {
            ran += 1
        } else {
            refused += 1
        }
        // Whoever runs with the pid namespace of the host may leave nothing either.
        nothing_left(t, &what);
    }
    // The row goes both ways, or it would not test much.
    assert!(rounds < 100 || ran > 5 && refused > 5, "{ran} ran and {refused} were refused");
}

#[track_caller]
fn judge(t: &Sandbox, out: &Output, what: &str) {
    assert!(out.code < 1000 && !out.stderr.contains("panicked at"), "{what}: {} {}", out.code, out.stderr);
    if t.is(Flavor::Orlop) && out.code == 1 && out.logged_error().is_some() {
        let names_place =
            out.stderr.contains("(config /") || out.stderr.contains("load config") || out.stderr.contains(": exec ");
        assert!(names_place, "{what}: names no field: {}", out.stderr);
    }
}
