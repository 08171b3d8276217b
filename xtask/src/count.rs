//! Adds up what a row of commands reports of its tests.
//!
//! The file has one line per step, with tabs between: `skip`, or the exit status and the file with the command's output. What a
//! command says of its own counts; one that counts nothing is one test, and so is a failure that no count tells of.

use std::fs;
use std::path::Path;

/// How many tests passed, failed, were skipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Prints what failed, once more, and the sum as the last line; an error when anything failed.
pub(crate) fn report(file: &Path) -> Result<(), String> {
    let read = |path: &Path| match fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => Err(format!("read {}: {error}", path.display())),
    };
    let mut sum = Counts::default();
    for line in read(file)?.lines() {
        let Some((status, output)) = line.split_once('\t') else {
            sum.skipped += 1;
            continue;
        };
        let output = read(Path::new(output))?;
        let counts = step(status == "0", &output);
        if counts.failed > 0 {
            println!("--- failed, by a command that ended with {status}:");
            failures(&output).iter().for_each(|line| println!("{line}"));
        }
        sum.add(counts);
    }
    println!("{} passed, {} failed, {} skipped", sum.passed, sum.failed, sum.skipped);
    if sum.failed == 0 { Ok(()) } else { Err(String::new()) }
}

/// What one command's output and success amount to.
fn step(succeeded: bool, output: &str) -> Counts {
    let mut counts = Counts::default();
    let (mut counted, mut whole) = (false, None);
    for line in output.lines() {
        if let Some(result) = line.strip_prefix("test result: ") {
            counts.add(numbers(result));
            counted = true;
        } else if let Some(total) = total(line) {
            whole = Some(total);
        } else if is_skip(line) {
            counts.skipped += 1;
        }
    }
    if let Some(whole) = whole {
        counts = whole;
    } else if !counted && succeeded {
        counts.passed = 1;
    }
    if !succeeded && counts.failed == 0 {
        counts.failed = 1;
    }
    counts
}

/// The lines that tell of failures, with what each says of its cause; the end of an output that has none.
fn failures(output: &str) -> Vec<&str> {
    /// A panic's message, or what a command printed.
    const LINES: usize = 15;
    let lines: Vec<&str> = output.lines().collect();
    let begins = |line: &str| line.starts_with("FAIL") || line.starts_with("---- ");
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if begins(line) {
            // A check's own words are indented; a test's go on to the next one's.
            let indented = line.starts_with("FAIL");
            let rest = lines.iter().skip(at + 1).take(LINES);
            found.push(*line);
            found.extend(rest.take_while(|line| !begins(line) && (!indented || line.starts_with([' ', '|']))));
        }
    }
    if found.is_empty() {
        found.extend(lines.iter().skip(lines.len().saturating_sub(LINES)));
    }
    found
}

/// The guest and the engines add up the programs that they run, skips included: `guest (qemu): 3 passed, 0 failed, 1 skipped`.
fn total(line: &str) -> Option<Counts> {
    let (name, rest) = line.split_once(": ")?;
    let ours = name.starts_with("guest") || name.starts_with("engines");
    (ours && rest.contains(" passed, ")).then(|| numbers(rest))
}

/// `SKIP name: reason`, or the same by a test that prints it where the harness has begun the line.
fn is_skip(line: &str) -> bool {
    let text = if line.starts_with("test ") { line.split_once(" ... ").map_or("", |(_, text)| text) } else { line };
    text.starts_with("SKIP ") || text.starts_with("SKIP:")
}

/// The numbers before the words `passed`, `failed`, `ignored` or `skipped`.
fn numbers(text: &str) -> Counts {
    let mut counts = Counts::default();
    let words: Vec<&str> = text.split([' ', ';', ',']).filter(|word| !word.is_empty()).collect();
    for pair in words.windows(2) {
        let [number, word] = pair else { continue };
        let number: u64 = number.parse().unwrap_or(0);
        match *word {
            "passed" => counts.passed += number,
            "failed" => counts.failed += number,
            "ignored" | "skipped" => counts.skipped += number,
            _ => {}
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_amounts_to_what_it_says() {
        for (succeeded, output, expected) in [
            (true, "", (1, 0, 0)),
            (false, "error: could not compile", (0, 1, 0)),
            (
                true,
                "test result: ok. 5 passed; 0 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.5s",
                (5, 0, 2),
            ),
            (
                false,
                "test result: ok. 5 passed; 0 failed; 0 ignored\ntest result: FAILED. 1 passed; 2 failed; 0 ignored",
                (6, 2, 0),
            ),
            // It crashed after its tests.
            (false, "test result: ok. 5 passed; 0 failed; 0 ignored", (5, 1, 0)),
            (
                true,
                "SKIP x: no y\ntest a::b ... SKIP c: no d\ntest result: ok. 3 passed; 0 failed; 0 ignored",
                (3, 0, 2),
            ),
            (true, "test x ... ok\nnot a SKIP x", (1, 0, 0)),
            (
                true,
                "SKIP a: b\ntest result: ok. 9 passed; 0 failed; 9 ignored\nguest (qemu): 30 passed, 0 failed, 4 skipped",
                (30, 0, 4),
            ),
            (true, "engines: 70 passed, 0 failed, 1 skipped", (70, 0, 1)),
        ] {
            let counts = step(succeeded, output);
            assert_eq!((counts.passed, counts.failed, counts.skipped), expected, "{output}");
        }
    }

    #[test]
    fn failures_are_shown_with_their_causes() {
        let output = "ok   a\nFAIL b\n     | wrong\nok   c\n---- d ----\npanicked\nwhy\n---- e ----\nx";
        assert_eq!(failures(output), ["FAIL b", "     | wrong", "---- d ----", "panicked", "why", "---- e ----", "x"]);
        assert_eq!(failures("error: could not compile"), ["error: could not compile"]);
        assert!(failures("").is_empty());
    }

    #[test]
    fn steps_are_added_up_and_a_failure_fails() {
        let folder = std::env::temp_dir().join(format!("orlop-xtask-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let good = write("good", "test result: ok. 2 passed; 0 failed; 0 ignored");
        let steps = write("steps", &format!("skip\n0\t{good}\n"));
        assert_eq!(report(Path::new(&steps)), Ok(()));
        let steps = write("steps", &format!("0\t{good}\n1\t{good}\n"));
        assert!(report(Path::new(&steps)).is_err());
        assert!(report(&folder.join("missing")).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
