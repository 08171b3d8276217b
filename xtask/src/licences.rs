//! Licences, sources and versions of what is depended on, by the rules of deny.toml: what `cargo deny check bans licenses sources`
//! looks at, for machines without it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

/// Fails with what is not allowed.
pub(crate) fn check(workspace: &Path) -> Result<(), String> {
    let path = workspace.join("deny.toml");
    let rules = fs::read_to_string(&path).map_err(|error| format!("read {}: {error}", path.display()))?;
    let allowed = strings_of(&rules, "allow");
    if allowed.is_empty() {
        return Err("deny.toml allows no licence: it has another form than this check reads".to_owned());
    }
    let mut wrong = BTreeSet::new();
    for target in strings_of(&rules, "targets") {
        let metadata = metadata(&target)?;
        wrong.extend(problems(&metadata, &allowed)?);
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.into_iter().collect::<Vec<_>>().join("\n")) }
}

/// The strings of the array `name = [ … ]`, one on each line.
fn strings_of(rules: &str, name: &str) -> BTreeSet<String> {
    let start = format!("{name} = [");
    let lines = rules.lines().skip_while(|line| *line != start).skip(1).take_while(|line| *line != "]");
    lines.filter_map(|line| Some(line.trim().strip_prefix('"')?.split_once('"')?.0.to_owned())).collect()
}

fn metadata(target: &str) -> Result<Value, String> {
    let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform", target];
    let output = crate::cargo().args(arguments).output().map_err(|error| format!("cannot execute cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))
}

fn problems(metadata: &Value, allowed: &BTreeSet<String>) -> Result<Vec<String>, String> {
    let mut wrong = Vec::new();
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let packages = metadata.get("packages").and_then(Value::as_array).ok_or("cargo metadata: no packages")?;
    // Only what the target needs: the list of packages has those of other platforms too.
    let nodes =
        metadata.pointer("/resolve/nodes").and_then(Value::as_array).ok_or("cargo metadata: nothing resolved")?;
    let used: BTreeSet<&str> = nodes.iter().filter_map(|node| node.get("id")?.as_str()).collect();
    for package in packages {
        let text = |name: &str| package.get(name).and_then(Value::as_str);
        let (name, version) = (text("name").unwrap_or_default(), text("version").unwrap_or_default());
        let Some(source) = text("source").filter(|_| text("id").is_some_and(|id| used.contains(id))) else { continue };
        versions.entry(name).or_default().insert(version);
        if !source.starts_with("registry+") {
            wrong.push(format!("{name} {version}: comes from {source}"));
        }
        match text("license") {
            Some(licence) if is_allowed(licence, allowed) => {}
            licence => wrong.push(format!("{name} {version}: licence {}", licence.unwrap_or("not given"))),
        }
    }
    let twice = versions.iter().filter(|(_, versions)| versions.len() > 1);
    wrong.extend(twice.map(|(name, versions)| {
        format!("{name}: several versions, {}", Vec::from_iter(versions.iter().copied()).join(", "))
    }));
    Ok(wrong)
}

/// Whether an SPDX expression can be met with the allowed licences alone. `/` is an old way to write OR.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    any(&mut words, allowed).unwrap_or(false) && words.peek().is_none()
}

type Words<'w> = std::iter::Peekable<std::str::SplitWhitespace<'w>>;

fn any(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Option<bool> {
    let mut met = all(words, allowed)?;
    while words.next_if_eq(&"OR").is_some() {
        met |= all(words, allowed)?;
    }
    Some(met)
}

fn all(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Option<bool> {
    let mut met = one(words, allowed)?;
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, allowed)?;
    }
    Some(met)
}

fn one(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Option<bool> {
    let word = words.next()?;
    if word == "(" {
        let met = any(words, allowed)?;
        return words.next_if_eq(&")").map(|_| met);
    }
    let name = match words.next_if_eq(&"WITH") {
        Some(_) => format!("{word} WITH {}", words.next()?),
        None => word.to_owned(),
    };
    Some(allowed.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed() -> BTreeSet<String> {
        strings_of(
            "x = 1\nallow = [\n    \"MIT\",\n    \"Zlib\", # why\n    \"Apache-2.0 WITH LLVM-exception\",\n]\n\"GPL\"\n",
            "allow",
        )
    }

    #[test]
    fn an_expression_is_met_by_what_is_allowed_or_not() {
        assert_eq!(allowed().len(), 3);
        for (expression, met) in [
            ("MIT", true),
            ("GPL", false),
            ("MIT OR GPL", true),
            ("GPL/MIT", true),
            ("MIT AND GPL", false),
            ("(MIT OR GPL) AND Zlib", true),
            ("MIT AND (GPL OR BSD)", false),
            ("Apache-2.0", false),
            ("Apache-2.0 WITH LLVM-exception OR GPL", true),
            ("", false),
            ("MIT OR", false),
            ("(MIT", false),
            ("MIT Zlib", false),
        ] {
            assert_eq!(is_allowed(expression, &allowed()), met, "{expression}");
        }
    }

    #[test]
    fn another_source_a_licence_and_two_versions_are_told() {
        let package = |name: &str, version: &str, source: &str, licence: &str| {
            let id = format!("{name}-{version}");
            serde_json::json!({ "id": id, "name": name, "version": version, "source": source, "license": licence })
        };
        let packages = [
            package("good", "1", "registry+x", "MIT"),
            package("good", "2", "registry+x", "MIT"),
            package("odd", "1", "git+x", "GPL"),
            package("elsewhere", "1", "git+x", "GPL"),
        ];
        let nodes: Vec<Value> =
            ["good-1", "good-2", "odd-1"].iter().map(|id| serde_json::json!({ "id": id })).collect();
        let metadata = serde_json::json!({ "packages": packages, "resolve": { "nodes": nodes } });
        let wrong = problems(&metadata, &allowed()).unwrap();
        assert_eq!(wrong, ["odd 1: comes from git+x", "odd 1: licence GPL", "good: several versions, 1, 2"]);
    }
}
