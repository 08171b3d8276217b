//! The files of this crate import one way: none imports what imports it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The modules that each file names after `crate::`, by the names of the files; tests, and the doors for fuzzers, may name any.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let mut all = BTreeMap::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut directories = vec![src.clone()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
                continue;
            }
            let name = path.strip_prefix(&src).unwrap().with_extension("").to_str().unwrap().replace('/', "::");
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            let named: BTreeSet<String> = lines
                .flat_map(|line| line.split("crate::").skip(1))
                .filter_map(|rest| {
                    let path = rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':').next().unwrap();
                    let names: Vec<&str> = path.split("::").filter(|name| !name.is_empty()).collect();
                    // The longest beginning that is a file.
                    let files = (1..=names.len().min(2)).rev().map(|count| names[..count].join("/"));
                    files.into_iter().find(|file| src.join(file).with_extension("rs").is_file())
                })
                .map(|file| file.replace('/', "::"))
                .collect();
            if !["lib", "fuzzing", "parsers_never_panic"].contains(&name.as_str()) && !name.ends_with("tests") {
                all.insert(name, named);
            }
        }
    }
    for (name, modules) in &mut all {
        modules.remove(name);
    }
    all
}

#[test]
fn no_file_imports_what_imports_it() {
    let mut left = imports();
    assert!(left.len() > 20, "{}", left.len());
    // Whoever imports nothing that is left is a floor of its own; a circle never comes to that.
    while !left.is_empty() {
        let names: BTreeSet<String> = left.keys().cloned().collect();
        left.retain(|_, modules| modules.iter().any(|module| names.contains(module)));
        assert!(left.len() < names.len(), "a circle among {left:#?}");
    }
}
