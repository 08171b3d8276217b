//! Test programs as files, for machines that are not this one: a guest.

use serde_json::Value;

/// Prints the paths of the test programs, one a line.
pub(crate) fn print(target: &str, options: &[&str]) -> Result<(), String> {
    println!("{}", compile(target, options)?.join("\n"));
    Ok(())
}

/// Compiles the test programs that `options` of cargo select for `target`, and gives their paths.
pub(crate) fn compile(target: &str, options: &[&str]) -> Result<Vec<String>, String> {
    let arguments = ["test", "--quiet", "--no-run", "--locked", "--message-format=json", "--target", target];
    let mut cargo = crate::cargo();
    cargo.args(arguments).args(options).stderr(std::process::Stdio::inherit());
    let output = cargo.output().map_err(|error| format!("cannot execute cargo: {error}"))?;
    if !output.status.success() {
        return Err("the test programs cannot be compiled".to_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let paths: Vec<String> = text.lines().filter_map(path).collect();
    if paths.is_empty() {
        return Err("cargo has compiled no test program".to_owned());
    }
    Ok(paths)
}

/// The path in one of cargo's messages, if it is about a test program.
fn path(message: &str) -> Option<String> {
    let message: Value = serde_json::from_str(message).ok()?;
    if message.pointer("/profile/test") != Some(&Value::Bool(true)) {
        return None;
    }
    message.get("executable")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_test_programs_are_listed() {
        for (message, expected) in [
            (r#"{"reason":"compiler-artifact","profile":{"test":true},"executable":"/t/a"}"#, Some("/t/a")),
            (r#"{"reason":"compiler-artifact","profile":{"test":true},"executable":null}"#, None),
            (r#"{"reason":"compiler-artifact","profile":{"test":false},"executable":"/t/b"}"#, None),
            (r#"{"reason":"build-finished","success":true}"#, None),
            ("warning: x", None),
        ] {
            assert_eq!(path(message).as_deref(), expected, "{message}");
        }
    }
}
