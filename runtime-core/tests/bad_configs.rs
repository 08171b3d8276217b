//! Configs that are wrong, each in one way, and the exact message for each: `data/bad-configs.json`.
//!
//! An entry has either the `text` of a file or a `patch` (RFC 6902, operations `add` and `remove`) of the default config.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::manual_is_multiple_of,
    reason = "a test fails by panicking"
)]

use orlop::config::{self, CheckOptions, DefaultConfig};
use serde_json::Value;

const TABLE: &str = include_str!("data/bad-configs.json");

/// Applies one operation of RFC 6902.
fn apply(config: &mut Value, operation: &Value) {
    let path = operation["path"].as_str().unwrap();
    let (parent, last) = path.rsplit_once('/').unwrap();
    let parent = config.pointer_mut(parent).unwrap_or_else(|| panic!("{path}: no parent"));
    match (operation["op"].as_str().unwrap(), parent) {
        ("add", Value::Object(object)) => drop(object.insert(last.to_owned(), operation["value"].clone())),
        ("add", Value::Array(list)) if last == "-" => list.push(operation["value"].clone()),
        ("remove", Value::Object(object)) => drop(object.remove(last).unwrap_or_else(|| panic!("{path}: not there"))),
        (op, _) => panic!("{path}: {op} is not possible"),
    }
}

fn text_of(entry: &Value) -> String {
    if let Some(text) = entry["text"].as_str() {
        return text.to_owned();
    }
    let mut config = serde_json::from_str(&config::default_config(DefaultConfig::default())).unwrap();
    for operation in entry["patch"].as_array().unwrap() {
        apply(&mut config, operation);
    }
    config.to_string()
}

/// The message for a file, from loading or checking it.
fn message(text: &str, rootless: bool) -> Option<String> {
    let options = CheckOptions { rootless, no_pivot: false };
    let result = config::load(text.as_bytes()).and_then(|config| config::check(&config, options));
    result.err().map(|error| error.to_string())
}

#[test]
fn every_wrong_config_has_its_exact_message() {
    let table: Vec<Value> = serde_json::from_str(TABLE).unwrap();
    assert!(table.len() >= 60, "only {} entries", table.len());
    let mut wrong = Vec::new();
    for entry in &table {
        let found = message(&text_of(entry), entry["rootless"] == true);
        if found.as_deref() != entry["message"].as_str() {
            wrong.push(format!("{}\n  expected {}\n  found    {found:?}", entry["name"], entry["message"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the patches change is right without them.
#[test]
fn the_config_that_is_patched_is_right() {
    assert_eq!(message(&config::default_config(DefaultConfig::default()), false), None);
}
