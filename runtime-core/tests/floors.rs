//! The floors of `src/`: a file imports from floors below its own, or from its own without a circle. A file that declares modules
//! stands on them, so none of them imports from it. What is unsafe is below `base::sys`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// From the ground up; the doors for fuzz targets are on top.
const FLOORS: [&str; 7] = ["base", "config", "state", "plan", "parent", "verbs", "fuzzing"];

type Module = Vec<String>;

#[test]
fn imports_point_downwards() {
    let sources = sources();
    let mut faults = Vec::new();
    let mut edges: BTreeMap<&Module, BTreeSet<Module>> = BTreeMap::new();
    for (module, text) in &sources {
        if text.contains("unsafe ") && module[..2.min(module.len())].join("::") != "base::sys" {
            faults.push(format!("{} has unsafe code, which belongs below base::sys", module.join("::")));
        }
        for path in paths(module, text) {
            let Some(to) = FLOORS.iter().position(|floor| *floor == path[0]) else {
                faults.push(format!("{} takes {} through the crate's root", module.join("::"), path.join("::")));
                continue;
            };
            if FLOORS.iter().position(|floor| *floor == module[0]).unwrap() < to {
                faults.push(format!("{} takes {} from above", module.join("::"), path.join("::")));
            }
            let file = (1..=path.len()).rev().map(|length| &path[..length]).find(|path| sources.contains_key(*path));
            edges.entry(module).or_default().extend(file.filter(|file| file != module).map(<[String]>::to_vec));
        }
    }
    let mut done = BTreeSet::new();
    for module in sources.keys() {
        visit(module, &edges, &mut Vec::new(), &mut done, &mut faults);
    }
    assert!(sources.len() > 80, "only {} files were found", sources.len());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Looks for circles below `module`.
fn visit(
    module: &Module,
    edges: &BTreeMap<&Module, BTreeSet<Module>>,
    above: &mut Vec<Module>,
    done: &mut BTreeSet<Module>,
    faults: &mut Vec<String>,
) {
    if let Some(start) = above.iter().position(|other| other == module) {
        let circle: Vec<_> = above[start..].iter().chain([module]).map(|module| module.join("::")).collect();
        faults.push(format!("a circle: {}", circle.join(" -> ")));
    } else if done.insert(module.clone()) {
        above.push(module.clone());
        for next in edges.get(module).into_iter().flatten() {
            visit(next, edges, above, done, faults);
        }
        above.pop();
    } else if above.len() > 64 {
        faults.push("too deep".into());
    }
}

/// The files of the crate by module, without comments and tests.
fn sources() -> BTreeMap<Module, String> {
    let (mut sources, mut folders) = (BTreeMap::new(), vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")]);
    let root = folders[0].clone();
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_stem().unwrap();
            if path.is_dir() {
                folders.push(path);
            } else if !["lib", "tests", "fixture"].iter().any(|other| name == *other) {
                let module = path.strip_prefix(&root).unwrap().with_extension("");
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("\nmod tests {").next().unwrap().lines();
                let code = code.map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n");
                sources.insert(module.iter().map(|part| part.to_str().unwrap().to_owned()).collect(), code);
            }
        }
    }
    sources
}

/// The paths within the crate that a file names: what it declares, what it imports, and what it writes out.
fn paths(module: &Module, text: &str) -> Vec<Module> {
    let child = |name: &str| [module.as_slice(), &[name.to_owned()]].concat();
    let mut found: Vec<Module> = text
        .replace("#[cfg(test)]\nmod ", "")
        .lines()
        .filter_map(|line| line.trim().strip_suffix(';')?.rsplit_once("mod ").map(|(_, name)| child(name)))
        .collect();
    for (at, _) in text.match_indices("crate::").chain(text.match_indices("super::")) {
        if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let end = text[at..].find(';').map_or(text.len(), |length| at + length);
        let is_import = text[..at].trim_end().ends_with("use");
        for tree in flatten(if is_import { &text[at..end] } else { word(&text[at..]) }) {
            let mut parts = tree.split("::").map(|part| part.split(" as ").next().unwrap().trim());
            let mut path = Module::new();
            match parts.next() {
                Some("super") => path.extend_from_slice(&module[..module.len() - 1]),
                _ => assert!(tree.starts_with("crate"), "{tree}"),
            }
            for part in parts.filter(|part| *part != "self") {
                if part == "super" { drop(path.pop()) } else { path.push(part.to_owned()) }
            }
            found.push(path);
        }
    }
    found
}

/// The path that `text` begins with.
fn word(text: &str) -> &str {
    text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).next().unwrap().trim_end_matches(':')
}

/// `a::{b, c::{d, e}}` is `a::b`, `a::c::d` and `a::c::e`.
fn flatten(tree: &str) -> Vec<String> {
    let Some((head, rest)) = tree.split_once('{') else { return vec![tree.trim().to_owned()] };
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in rest.trim_end().strip_suffix('}').unwrap_or(rest).chars() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if c == ',' && depth == 0 { parts.push(String::new()) } else { parts.last_mut().unwrap().push(c) }
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| flatten(part)).map(|part| format!("{}{part}", head.trim())).collect()
}
