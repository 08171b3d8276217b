//! Writes `src/tables/data.rs`: the number of every Linux system call on every architecture.
//!
//! The source is the kernel's own user headers, as Debian packs them for all architectures at once:
//!
//! ```text
//! apt-get download linux-libc-dev && dpkg -x linux-libc-dev_*.deb headers
//! cargo run -p orlop-seccomp --example generate-tables -- src/tables/data.rs headers [older-headers …]
//! ```
//!
//! A header missing in the first tree is taken from the next one: Linux 7 has no 31-bit s390 any more, older kernels do.

#![allow(clippy::disallowed_methods, reason = "arguments of a program with the standard library's start")]
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// One column of the table: the constant's name, the headers below `usr/lib/linux/uapi`, what is subtracted.
struct Column {
    name: &'static str,
    headers: &'static [&'static str],
    bases: &'static [(&'static str, u32)],
}

const COLUMNS: [Column; 18] = [
    column("X86_64", &["x86/asm/unistd_64.h"]),
    column("X86", &["x86/asm/unistd_32.h"]),
    // Numbers without the x32 bit, which the compiler adds.
    column("X32", &["x86/asm/unistd_x32.h"]),
    column("ARM", &["arm/asm/unistd-eabi.h", "arm/asm/unistd.h"]),
    column("AARCH64", &["arm64/asm/unistd_64.h"]),
    mips("MIPS", &["mips/asm/unistd_o32.h"], 4000),
    mips("MIPS64", &["mips/asm/unistd_n64.h"], 5000),
    mips("MIPS64N32", &["mips/asm/unistd_n32.h"], 6000),
    column("PPC", &["powerpc/asm/unistd_32.h"]),
    column("PPC64", &["powerpc/asm/unistd_64.h"]),
    column("RISCV64", &["riscv/asm/unistd_64.h"]),
    column("S390", &["s390/asm/unistd_32.h"]),
    column("S390X", &["s390/asm/unistd_64.h"]),
    column("LOONGARCH64", &["loongarch/asm/unistd_64.h"]),
    column("M68K", &["m68k/asm/unistd_32.h"]),
    column("SH", &["sh/asm/unistd_32.h"]),
    column("PARISC", &["parisc/asm/unistd_32.h"]),
    column("PARISC64", &["parisc/asm/unistd_64.h"]),
];

const fn column(name: &'static str, headers: &'static [&'static str]) -> Column {
    Column { name, headers, bases: &[("__X32_SYSCALL_BIT", 0), ("__NR_SYSCALL_BASE", 0), ("__ARM_NR_BASE", 0xf000)] }
}

const fn mips(name: &'static str, headers: &'static [&'static str], base: u32) -> Column {
    // The base differs per ABI, so a slice literal per ABI keeps this a constant.
    let bases: &'static [(&'static str, u32)] = match base {
        4000 => &[("__NR_Linux", 4000)],
        5000 => &[("__NR_Linux", 5000)],
        _ => &[("__NR_Linux", 6000)],
    };
    Column { name, headers, bases }
}

fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let Some((output, trees)) = arguments.split_first().filter(|(_, trees)| !trees.is_empty()) else {
        return fail("usage: generate-tables OUTPUT HEADERS [OLDER-HEADERS …]");
    };
    match generate(trees)
        .and_then(|text| std::fs::write(output, text).map_err(|e| format!("{}: {e}", output.display())))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(&message),
    }
}

#[expect(clippy::print_stderr, reason = "a program's own error text")]
fn fail(message: &str) -> ExitCode {
    eprintln!("generate-tables: {message}");
    ExitCode::FAILURE
}

fn generate(trees: &[PathBuf]) -> Result<String, String> {
    let mut table: BTreeMap<String, [u16; COLUMNS.len()]> = BTreeMap::new();
    let mut sources = Vec::new();
    for (index, column) in COLUMNS.iter().enumerate() {
        let tree = trees
            .iter()
            .find(|tree| column.headers.iter().all(|h| header(tree, h).is_file()))
            .ok_or_else(|| format!("no tree has the headers of {}", column.name))?;
        sources.push(format!("{} {}", column.name, version(tree)?));
        for path in column.headers {
            let path = header(tree, path);
            let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            for (name, number) in numbers(&text, column) {
                let row = table.entry(name).or_insert([u16::MAX; COLUMNS.len()]);
                if let Some(slot) = row.get_mut(index) {
                    *slot = number;
                }
            }
        }
    }
    render(&table, &sources)
}

fn header(tree: &Path, path: &str) -> PathBuf {
    tree.join("usr/lib/linux/uapi").join(path)
}

fn version(tree: &Path) -> Result<String, String> {
    let path = tree.join("usr/include/linux/version.h");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let part = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix("#define LINUX_VERSION_")?.strip_prefix(name)).map(str::trim)
    };
    match (part("MAJOR"), part("PATCHLEVEL"), part("SUBLEVEL")) {
        (Some(major), Some(minor), Some(patch)) => Ok(format!("{major}.{minor}.{patch}")),
        _ => Err(format!("{}: no version", path.display())),
    }
}

/// The `#define`s of one header: `123`, `(BASE + 123)` or another call's name.
fn numbers(text: &str, column: &Column) -> Vec<(String, u16)> {
    let mut found: Vec<(String, u16)> = Vec::new();
    for line in text.lines() {
        let mut words = line.trim().strip_prefix("#define").unwrap_or("").split_whitespace();
        let Some(symbol) = words.next() else { continue };
        let value: String = words.collect();
        let Some(name) = symbol.strip_prefix("__NR_").or_else(|| symbol.strip_prefix("__ARM_NR_")) else { continue };
        if matches!(name, "Linux" | "SYSCALL_BASE" | "OABI_SYSCALL_BASE" | "SYSCALL_MASK" | "BASE" | "syscalls")
            || ["Linux_", "reserved", "unused"].iter().any(|prefix| name.starts_with(prefix))
        {
            continue;
        }
        let value = value.trim_matches(['(', ')']);
        let (base, offset) = value.split_once('+').unwrap_or(("", value));
        let base = column.bases.iter().find(|(symbol, _)| *symbol == base).map_or(0, |(_, base)| *base);
        let number = match offset.strip_prefix("__NR_") {
            Some(alias) => found.iter().find(|(known, _)| known == alias).map(|(_, number)| *number),
            None => offset.parse::<u32>().ok().and_then(|offset| u16::try_from(base + offset).ok()),
        };
        if let Some(number) = number {
            found.push((name.to_owned(), number));
        }
    }
    found
}

fn render(table: &BTreeMap<String, [u16; COLUMNS.len()]>, sources: &[String]) -> Result<String, String> {
    let mut text =
        String::from("//! System call numbers, written by `examples/generate-tables.rs`; do not edit.\n//!\n");
    let failed = |_| "formatting failed".to_owned();
    writeln!(text, "//! Linux versions: {}.", sources.join(", ")).map_err(failed)?;
    text.push_str("#![cfg_attr(rustfmt, rustfmt_skip)]\n\n");
    writeln!(text, "/// How many names there are.\npub(super) const COUNT: usize = {};\n", table.len())
        .map_err(failed)?;
    let blob: String = table.keys().map(String::as_str).collect();
    text.push_str("/// All names in byte order, without separators.\npub(super) static NAMES: &str = concat!(\n");
    for name in table.keys() {
        writeln!(text, "    \"{name}\",").map_err(failed)?;
    }
    text.push_str(");\n\n/// Where each name starts in [`NAMES`], and where the last one ends.\n");
    let mut start = 0;
    let mut offsets: Vec<u16> = Vec::with_capacity(table.len() + 1);
    for name in table.keys() {
        offsets.push(u16::try_from(start).map_err(|_| "too many names".to_owned())?);
        start += name.len();
    }
    offsets.push(u16::try_from(blob.len()).map_err(|_| "too many names".to_owned())?);
    array(&mut text, "pub(super) static OFFSETS: [u16; COUNT + 1]", &offsets)?;
    for (index, column) in COLUMNS.iter().enumerate() {
        let numbers: Vec<u16> = table.values().filter_map(|row| row.get(index).copied()).collect();
        writeln!(text, "\n/// The numbers of {}, by name; 65535 where it has no such call.", column.name)
            .map_err(failed)?;
        array(&mut text, &format!("pub(super) static {}: [u16; COUNT]", column.name), &numbers)?;
    }
    Ok(text)
}

fn array(text: &mut String, head: &str, values: &[u16]) -> Result<(), String> {
    let failed = |_| "formatting failed".to_owned();
    writeln!(text, "{head} = [").map_err(failed)?;
    for line in values.chunks(16) {
        let line: Vec<String> = line.iter().map(u16::to_string).collect();
        writeln!(text, "    {},", line.join(", ")).map_err(failed)?;
    }
    text.push_str("];\n");
    Ok(())
}
