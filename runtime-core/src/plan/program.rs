//! The program of a container's init, as it is put together: operations, and the strings and arrays they refer to.

use std::fmt::Write as _;
use std::marker::PhantomData;

use orlop_init::wire::{Header, List, Op, Plain, Record, Str, bytes_of};

/// Offset in the shared block of the first byte of [`Program::data`]: right after the header.
pub(crate) const DATA_AT: usize = size_of::<Header>().next_multiple_of(16);

/// Operations in order, with their data laid out as the block will have it.
#[derive(Debug, Default)]
pub(crate) struct Program {
    /// What is done.
    pub(crate) ops: Vec<Record>,
    /// Strings and arrays; offsets count from [`DATA_AT`] bytes before.
    pub(crate) data: Vec<u8>,
    /// Candidates for the command.
    pub(crate) programs: Vec<Str>,
    /// Its arguments.
    pub(crate) argv: Vec<Str>,
    /// Its environment.
    pub(crate) envp: Vec<Str>,
}

impl Program {
    pub(crate) fn with_capacity(data: usize) -> Self {
        Self { ops: Vec::with_capacity(96), data: Vec::with_capacity(data), ..Self::default() }
    }

    fn here(&self) -> u32 {
        // A plan of 4 GiB cannot come from a config: `Encoded` checks the size.
        u32::try_from(DATA_AT + self.data.len()).unwrap_or(u32::MAX)
    }

    /// Stores a string and the NUL after it.
    pub(crate) fn str(&mut self, text: impl AsRef<[u8]>) -> Str {
        self.parts(&[text.as_ref()])
    }

    /// Stores several pieces as one string.
    pub(crate) fn parts(&mut self, parts: &[&[u8]]) -> Str {
        let at = self.here();
        for part in parts {
            self.data.extend_from_slice(part);
        }
        let len = self.here() - at;
        self.data.push(0);
        Str { at, len }
    }

    /// Stores formatted text.
    pub(crate) fn format(&mut self, text: std::fmt::Arguments<'_>) -> Str {
        struct Sink<'p>(&'p mut Vec<u8>);
        impl std::fmt::Write for Sink<'_> {
            fn write_str(&mut self, text: &str) -> std::fmt::Result {
                self.0.extend_from_slice(text.as_bytes());
                Ok(())
            }
        }
        let at = self.here();
        // Writing to a vector does not fail.
        let written = Sink(&mut self.data).write_fmt(text);
        debug_assert!(written.is_ok());
        let len = self.here() - at;
        self.data.push(0);
        Str { at, len }
    }

    /// Stores an array of plain values.
    pub(crate) fn list<T: Plain + Copy>(&mut self, items: &[T]) -> List<T> {
        if items.is_empty() {
            return List::default();
        }
        while !(DATA_AT + self.data.len()).is_multiple_of(align_of::<T>()) {
            self.data.push(0);
        }
        let at = self.here();
        self.data.extend_from_slice(bytes_of(items));
        List { at, len: u32::try_from(items.len()).unwrap_or(u32::MAX), of: PhantomData }
    }

    /// Adds an operation that comes from the config field `field` (a JSON pointer; none: from no field in particular).
    pub(crate) fn push(&mut self, field: Str, op: Op) {
        self.ops.push(Record { field, op });
    }

    /// The text at `text`.
    #[cfg(test)]
    pub(crate) fn text(&self, text: Str) -> &str {
        View { bytes: &self.data, bias: DATA_AT }.text(text)
    }

    /// The program's strings, for those who describe it.
    pub(crate) fn view(&self) -> View<'_> {
        View { bytes: &self.data, bias: DATA_AT }
    }
}

/// The bytes of a block or of a program's data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) bytes: &'a [u8],
    /// Offset in the shared block of `bytes[0]`.
    pub(crate) bias: usize,
}

impl<'a> View<'a> {
    pub(crate) fn bytes(self, at: u32, len: usize) -> &'a [u8] {
        let start = (at as usize).saturating_sub(self.bias);
        self.bytes.get(start..start.saturating_add(len)).unwrap_or(&[])
    }

    pub(crate) fn text(self, text: Str) -> &'a str {
        if !text.is_some() {
            return "";
        }
        std::str::from_utf8(self.bytes(text.at, text.len as usize)).unwrap_or("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_end_in_nul_and_arrays_are_aligned() {
        let mut program = Program::default();
        let name = program.str("abc");
        let gids = program.list(&[1u32, 2]);
        let limits = program.list(&[orlop_init::wire::Rlimit { resource: 7, pad: 0, soft: 1, hard: 2 }]);
        assert_eq!(program.text(name), "abc");
        assert_eq!(program.view().bytes(name.at, 4), b"abc\0");
        assert!(gids.at.is_multiple_of(4) && limits.at.is_multiple_of(8));
        assert_eq!(program.view().bytes(gids.at, 8), [1u32.to_ne_bytes(), 2u32.to_ne_bytes()].concat());
        let pointer = program.format(format_args!("/mounts/{}", 3));
        assert_eq!(program.text(pointer), "/mounts/3");
    }
}
