//! Any mutation of a valid config either is a config, or is refused with an error that names a field (or says that it is not
//! JSON); nothing panics. The mutations are the same in every run; `ORLOP_MUTATIONS` sets how many are tried per file.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::manual_is_multiple_of,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::path::PathBuf;

use orlop::config::{self, CheckOptions};
use serde_json::{Value, json};

/// A small generator of numbers that are the same in every run (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn value(&mut self) -> Value {
        let values = [
            json!(null),
            json!(true),
            json!(0),
            json!(-1),
            json!(1),
            json!(4_294_967_295_u64),
            json!(4_294_967_296_u64),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(0.5),
            json!(""),
            json!("x"),
            json!("/"),
            json!("../../x"),
            json!("a\u{0}b"),
            json!("9876543210-1,,"),
            json!("x".repeat(300)),
            json!([]),
            json!([null]),
            json!({}),
            json!({"": {"a/b~c": []}}),
            json!("SCMP_ACT_KILL"),
            json!("idmap=uids=0-0-0#@1-1-1;gids=@0-4294967295-4294967295"),
        ];
        values[self.below(values.len())].clone()
    }
}

/// The pointers of all values below `value`.
fn pointers(value: &Value, prefix: &str, all: &mut Vec<String>) {
    let mut go = |key: &str, value: &Value| {
        let pointer = format!("{prefix}/{}", key.replace('~', "~0").replace('/', "~1"));
        all.push(pointer.clone());
        pointers(value, &pointer, all);
    };
    match value {
        Value::Object(object) => object.iter().for_each(|(key, value)| go(key, value)),
        Value::Array(list) => list.iter().enumerate().for_each(|(index, value)| go(&index.to_string(), value)),
        _ => {}
    }
}

fn mutate(config: &mut Value, numbers: &mut Numbers) {
    let mut all = Vec::new();
    pointers(config, "", &mut all);
    if all.is_empty() {
        return;
    }
    let pointer = all[numbers.below(all.len())].clone();
    let other = all[numbers.below(all.len())].clone();
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    match numbers.below(4) {
        0 => *config.pointer_mut(&pointer).unwrap() = numbers.value(),
        1 => match config.pointer_mut(parent).unwrap() {
            Value::Object(object) => drop(object.remove(&last.replace("~1", "/").replace("~0", "~"))),
            Value::Array(list) => drop(list.remove(last.parse().unwrap())),
            _ => unreachable!("only objects and lists have something below them"),
        },
        2 => {
            let value = config.pointer(&other).unwrap().clone();
            *config.pointer_mut(&pointer).unwrap() = value;
        }
        _ => match config.pointer_mut(&pointer).unwrap() {
            Value::Array(list) if !list.is_empty() => {
                let again = list[numbers.below(list.len())].clone();
                list.push(again);
            }
            Value::Object(object) => drop(object.insert("surprise".into(), numbers.value())),
            Value::Number(number) => *number = numbers.next().into(),
            value => *value = numbers.value(),
        },
    }
}

/// What happens to a file: refused with a pointer, refused as no JSON, or taken.
fn try_config(bytes: &[u8], is_json: bool) {
    let options = CheckOptions { rootless: bytes.len() % 2 == 0, no_pivot: bytes.len() % 3 == 0 };
    let result = config::load(bytes).and_then(|config| {
        assert_eq!(config.has_unknown_fields, !config::unknown_fields(bytes).is_empty());
        config::check(&config, options)
    });
    let text = String::from_utf8_lossy(bytes);
    if let Err(error) = result {
        assert_eq!(error.kind(), orlop::Kind::InvalidConfig, "{error}\n{text}");
        let message = error.to_string();
        assert!(!message.contains('\n'), "{message}");
        let pointer = error.field().is_some_and(|pointer| pointer.starts_with('/'));
        assert!(pointer || !is_json && message.starts_with("load config: not "), "{message}\n{text}");
    }
    drop(orlop::validate_config(bytes, &orlop::ValidateOptions::default().strict(true)));
}

#[test]
fn a_mutated_config_is_taken_or_refused_with_a_pointer() {
    let rounds: usize = std::env::var("ORLOP_MUTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/engine-configs");
    let mut names: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| path.file_name().unwrap().to_str().unwrap().matches('.').count() == 1);
    names.sort();
    assert!(names.len() > 30);
    let mut numbers = Numbers(20);
    for path in names {
        let bytes = fs::read(path).unwrap();
        let config: Value = serde_json::from_slice(&bytes).unwrap();
        for _ in 0..rounds {
            let mut changed = config.clone();
            for _ in 0..=numbers.below(3) {
                mutate(&mut changed, &mut numbers);
            }
            try_config(changed.to_string().as_bytes(), true);
            let mut broken = bytes.clone();
            let place = numbers.below(broken.len());
            match numbers.below(3) {
                0 => broken.truncate(place),
                1 => broken[place] = u8::try_from(numbers.below(256)).unwrap(),
                _ => drop(broken.remove(place)),
            }
            try_config(&broken, false);
        }
    }
}
