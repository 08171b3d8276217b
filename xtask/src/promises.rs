//! Every test that SECURITY.md names must be there: the document is a list of promises.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Where the tests are.
const FOLDERS: &[&str] =
    &["integration/tests", "runtime-core", "runtime-cli", "cgroups", "seccomp", "images/src", "images/tests"];

/// Fails with the names that no test has.
pub(crate) fn check(workspace: &Path) -> Result<(), String> {
    let path = workspace.join("SECURITY.md");
    let text = fs::read_to_string(&path).map_err(|error| format!("read {}: {error}", path.display()))?;
    let promised = names(&text);
    if promised.is_empty() {
        return Err("SECURITY.md names no test: its table has another form than this check reads".to_owned());
    }
    let mut defined = BTreeSet::new();
    for folder in FOLDERS {
        collect(&workspace.join(folder), &mut defined)?;
    }
    let missing: Vec<&str> = promised.difference(&defined).map(String::as_str).collect();
    println!("SECURITY.md names {} tests", promised.len());
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!("SECURITY.md names tests that are not there: {}", missing.join(", ")))
    }
}

/// The names in backquotes in the last column of the table of past vulnerabilities.
fn names(text: &str) -> BTreeSet<String> {
    let table = text.split_once("## Past vulnerabilities").map_or("", |(_, table)| table);
    let cells = table
        .lines()
        .filter(|line| line.starts_with('|'))
        .filter_map(|line| line.trim_end_matches('|').rsplit('|').next());
    let quoted = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    quoted.filter(|name| is_name(name)).map(str::to_owned).collect()
}

fn is_name(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
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
    fn names_come_from_the_last_column_of_the_table_alone() {
        let text = "`not_this`\n## Past vulnerabilities and tests\n| a | tests |\n|---|---|\n\
                    | CVE by `openat2` | `cve_1_is_held`, `other` |\n| none | – |\nand `not_that`\n";
        assert_eq!(names(text).into_iter().collect::<Vec<_>>(), ["cve_1_is_held", "other"]);
        let code = "fn one() {}\n    pub(crate) fn two<T>(x: T) {}\nlet f = 1;";
        assert_eq!(functions(code).collect::<Vec<_>>(), ["one", "two"]);
    }
}
