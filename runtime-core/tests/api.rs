//! What the library offers is listed in `api.txt`, so that a change of it shows in review.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a failed test may panic")]

use std::path::{Path, PathBuf};

#[test]
fn the_api_is_the_listed_one() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("src"), &mut files);
    // The doors for fuzz targets are no offer to anybody.
    files.retain(|file| !file.ends_with("src/fuzzing.rs"));
    files.sort();
    let mut listing = String::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let items = items(text.split("\nmod tests {").next().unwrap());
        if !items.is_empty() {
            listing.push_str(&format!("{}\n{}\n", file.strip_prefix(root).unwrap().display(), items.concat()));
        }
    }
    let path = root.join("api.txt");
    if std::env::var_os("ORLOP_UPDATE_API").is_some() {
        std::fs::write(&path, &listing).unwrap();
    }
    let listed = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = listing.lines().zip(listed.lines()).find(|(now, then)| now != then);
    assert!(
        listing == listed,
        "the API has changed: {differs:?}; if that is meant, run this test with ORLOP_UPDATE_API=1 and commit api.txt"
    );
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The public items of a file, each on one line; what is public and cannot be reached is an error of the compiler's lints.
fn items(text: &str) -> Vec<String> {
    let mut items = Vec::new();
    for (at, line) in text.lines().scan(0, |at, line| {
        let begin = *at;
        *at += line.len() + 1;
        Some((begin, line))
    }) {
        if line.trim_start().starts_with("pub ") && !line.contains('$') {
            let rest = &text[at..];
            let is_field = !["fn", "struct", "enum", "const", "trait", "type", "use", "mod", "unsafe"]
                .iter()
                .any(|word| line.trim_start()[4..].starts_with(&format!("{word} ")));
            let is_use = line.trim_start().starts_with("pub use");
            let end = if is_field {
                rest.find(",\n")
            } else {
                rest.find(if is_use { ";" } else { "{\n" }).into_iter().chain(rest.find(";\n")).min()
            };
            let item = rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest);
            let indent = if line.starts_with(' ') { "    " } else { "  " };
            items.push(format!("{indent}{}\n", item.split_whitespace().collect::<Vec<_>>().join(" ")));
        }
    }
    items
}
