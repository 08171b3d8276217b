//! Every promise of SECURITY.md names a test, and every test that it names is there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Where the tests are.
const FOLDERS: &[&str] = &[
    "integration/tests",
    "runtime-core",
    "runtime-cli",
    "cgroups",
    "seccomp",
    "images/src",
    "images/tests",
    "shim/src",
    "shim/tests",
];

/// The sections whose rows and points are promises, each with at least one test.
const SECTIONS: &[&str] =
    &["## What is trusted", "## How containers are kept apart from the host", "## Past vulnerabilities"];

/// Fails with the promises that name no test, and with the names that no test has.
pub(crate) fn check(workspace: &Path) -> Result<(), String> {
    let path = workspace.join("SECURITY.md");
    let text = fs::read_to_string(&path).map_err(|error| format!("read {}: {error}", path.display()))?;
    let mut defined = BTreeSet::new();
    for folder in FOLDERS {
        collect(&workspace.join(folder), &mut defined)?;
    }
    let promises = promises(&text)?;
    let bare: Vec<&str> = promises.iter().filter(|promise| names(promise).is_empty()).copied().collect();
    if !bare.is_empty() {
        return Err(format!("SECURITY.md promises without a test:\n{}", bare.join("\n")));
    }
    let promised: BTreeSet<&str> = promises.iter().flat_map(|promise| names(promise)).collect();
    let missing: Vec<&str> = promised.into_iter().filter(|name| !defined.contains(*name)).collect();
    println!("SECURITY.md: {} promises, each with a test", promises.len());
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!("SECURITY.md names tests that are not there: {}", missing.join(", ")))
    }
}

/// The part of each promise that names its tests: the last column of a row, the last parentheses of a point.
fn promises(text: &str) -> Result<Vec<&str>, String> {
    let mut found = Vec::new();
    for section in SECTIONS {
        let (_, rest) = text.split_once(section).ok_or_else(|| format!("SECURITY.md has no section {section:?}"))?;
        let body = rest.split("\n## ").next().unwrap_or_default();
        // The first two lines of a table are its head.
        let rows = body.lines().filter(|line| line.starts_with('|')).skip(2);
        found.extend(rows.filter_map(|line| line.trim_end_matches('|').rsplit('|').next()));
        let points = body.lines().filter(|line| line.starts_with("- "));
        found.extend(points.map(|line| line.rfind(" (`").and_then(|at| line.get(at..)).unwrap_or(line)));
    }
    Ok(found)
}

/// The names in backquotes that are those of tests, which always have several words.
fn names(promise: &str) -> Vec<&str> {
    promise.split('`').skip(1).step_by(2).filter(|word| is_name(word)).collect()
}

fn is_name(word: &str) -> bool {
    word.contains('_') && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Adds the names of all functions in the Rust files of `folder`.
fn collect(folder: &Path, defined: &mut BTreeSet<String>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("read {}: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            collect(&path, defined)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).map_err(failed)?;
            defined.extend(functions(&text).map(str::to_owned));
        }
    }
    Ok(())
}

fn functions(text: &str) -> impl Iterator<Item = &str> {
    text.split("fn ")
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_last_column_and_the_last_parentheses() {
        let text = "## What is trusted\n| a | tests |\n|---|---|\n| by `open_at` | `is_held`, `other_one` |\n| none | – |\n\
                    ## How containers are kept apart from the host\n- **So** (`sys_call`) it is (`first_one`, `second_one`).\n\
                    - nothing `exec` here\n## Past vulnerabilities and tests\n| a | tests |\n|---|---|\n| x | `cve_1` |\n## More\n";
        let found: Vec<Vec<&str>> = promises(text).unwrap().into_iter().map(names).collect();
        let none: Vec<&str> = Vec::new();
        let expected =
            [vec!["is_held", "other_one"], none.clone(), vec!["first_one", "second_one"], none, vec!["cve_1"]];
        assert_eq!(found, expected);
        let code = "fn one() {}\n    pub(crate) fn two<T>(x: T) {}\nlet f = 1;";
        assert_eq!(functions(code).collect::<Vec<_>>(), ["one", "two"]);
    }
}
