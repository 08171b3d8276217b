//! docs/spec-conformance.md is complete: every field of a config, every mount option that the runtime itself carries out, every
//! annotation it knows and every flag of the command line has a row there, and every test that a row names exists.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::manual_is_multiple_of,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// A row of a table: what is in its first column, expanded, and the tests named in its last.
struct Row {
    keys: Vec<String>,
    tests: Vec<String>,
    /// Why no test can show it on any machine that tests run on.
    needs: bool,
}

/// `a{b,c}d` is `abd` and `acd`.
fn expand(text: &str) -> Vec<String> {
    let Some((head, rest)) = text.split_once('{') else { return vec![text.to_owned()] };
    let (choices, tail) = rest.split_once('}').unwrap_or_else(|| panic!("{text}: no closing brace"));
    let tails = expand(tail);
    choices.split(',').flat_map(|choice| tails.iter().map(move |tail| format!("{head}{choice}{tail}"))).collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(project().join("docs/spec-conformance.md")).unwrap();
    let cells = |line: &str| -> Option<Vec<String>> {
        let inner = line.strip_prefix("| `")?.strip_suffix(" |")?;
        Some(format!("`{inner}").split(" | ").map(|cell| cell.trim().to_owned()).collect())
    };
    let mut rows = Vec::new();
    for line in text.lines() {
        let Some(cells) = cells(line) else { continue };
        let [key, _what, tests] = &cells[..] else { panic!("not three columns: {line}") };
        let keys = quoted(key).iter().flat_map(|key| expand(key)).collect();
        rows.push(Row { keys, tests: quoted(tests), needs: tests.starts_with("needs ") });
    }
    rows
}

fn sources(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            sources(&path, all);
        } else if name.ends_with(".rs") {
            all.push(path);
        }
    }
}

/// The tests of one file: functions after `#[test]` or `#[case…]`.
fn tests_in(text: &str) -> Vec<String> {
    let marks = ["#[test]", "#[case]", "#[case("];
    let after = marks.iter().flat_map(|mark| text.split(mark).skip(1));
    after.filter_map(|rest| rest.split("fn ").nth(1)?.split('(').next()).map(str::to_owned).collect()
}

/// All tests of the project as `file::name`, the file being its folder where it has no name of its own.
fn all_tests() -> BTreeSet<String> {
    let mut files = Vec::new();
    for folder in ["runtime-core", "runtime-cli", "cgroups", "seccomp", "integration"] {
        sources(&project().join(folder), &mut files);
    }
    let mut tests = BTreeSet::new();
    for path in files {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let stem = match stem {
            "main" | "tests" | "lib" => path.parent().unwrap().file_name().unwrap().to_str().unwrap(),
            stem => stem,
        };
        for name in tests_in(&fs::read_to_string(&path).unwrap()) {
            tests.insert(format!("{stem}::{name}"));
        }
    }
    tests
}

/// The flags of the command line as `COMMAND --flag`, from the blocks of text that the program itself reads.
fn flags() -> BTreeSet<String> {
    let mut files = Vec::new();
    sources(&project().join("runtime-cli/src"), &mut files);
    let mut flags = BTreeSet::new();
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        // Two pairs of commands have a part of their blocks in common.
        let pairs = [("verbs/launch.rs", ["create", "run"]), ("verbs/criu.rs", ["checkpoint", "restore"])];
        let both = pairs.into_iter().filter(|(file, _)| path.ends_with(file)).flat_map(|(_, commands)| commands);
        let shared = both.map(|command| (command.to_owned(), text.as_str()));
        let own = text.split("command! {").skip(1).filter_map(|block| Some((command_name(block)?, block)));
        for (command, block) in own.chain(shared) {
            flags.extend(block.lines().filter_map(flag_of).map(|flag| format!("{command} {flag}")));
        }
    }
    flags
}

/// The name in the first line of a block: `"create: ID`.
fn command_name(block: &str) -> Option<String> {
    let line = block.trim_start().strip_prefix('"')?;
    let name = line.split_once(':')?.0;
    name.chars().all(|c| c.is_ascii_lowercase() || c == ' ').then(|| name.to_owned())
}

/// The long flag of a line of a block: `BUNDLE = "-b, --bundle DIR | …`.
fn flag_of(line: &str) -> Option<String> {
    let (_, line) = line.split_once(" = \"")?;
    if !line.starts_with('-') || !(line.contains(" | ") || line.contains(" ! ")) {
        return None;
    }
    let word = line.split_whitespace().find(|word| word.starts_with("--"))?;
    Some(word.to_owned())
}

#[test]
fn every_field_option_annotation_and_flag_has_its_row() {
    let mut wanted: BTreeSet<String> = orlop::config::field_patterns().into_iter().collect();
    let specials = orlop::config::mount_options::MOUNT_OPTIONS.iter();
    wanted.extend(specials.map(|(name, _)| format!("option {name}")));
    wanted.extend(orlop::config::ANNOTATIONS.iter().map(|(name, _)| format!("annotation {name}")));
    let flags = flags();
    assert!(flags.len() > 60, "only {} flags were found in the command line's source: {flags:?}", flags.len());
    wanted.extend(flags);
    let mut found = BTreeSet::new();
    for key in rows().into_iter().flat_map(|row| row.keys) {
        assert!(found.insert(key.clone()), "two rows for {key}");
    }
    let missing: Vec<_> = wanted.difference(&found).collect();
    let stale: Vec<_> = found.difference(&wanted).collect();
    assert!(missing.is_empty(), "without a row in docs/spec-conformance.md: {missing:#?}");
    assert!(stale.is_empty(), "rows of docs/spec-conformance.md for what does not exist: {stale:#?}");
}

#[test]
fn every_test_that_a_row_names_exists() {
    let all = all_tests();
    assert!(all.len() > 200, "only {} tests were found", all.len());
    let mut wrong = Vec::new();
    for row in rows() {
        if row.tests.is_empty() && !row.needs {
            wrong.push(format!("{:?}: no test", row.keys));
        }
        wrong
            .extend(row.tests.iter().filter(|test| !all.contains(*test)).map(|test| format!("{:?}: {test}", row.keys)));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
