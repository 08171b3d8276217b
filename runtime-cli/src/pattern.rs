//! POSIX extended regular expressions, by the C library: crun takes them for `kill --regex` and `delete --regex`.
#![allow(unsafe_code, reason = "regcomp(3) and regexec(3) work on a C structure")]

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::ptr::null_mut;

/// A compiled expression.
pub(crate) struct Pattern(Box<libc::regex_t>);

impl std::fmt::Debug for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pattern")
    }
}

impl Pattern {
    /// Compiles `text`; the error is the C library's message.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        let text = CString::new(text).map_err(|_| "it contains a zero byte".to_owned())?;
        // On the heap, since the C library may keep pointers into the structure: it must not move.
        let mut place: Box<MaybeUninit<libc::regex_t>> = Box::new(MaybeUninit::zeroed());
        // SAFETY: `place` is room for one structure, and `text` ends in a zero byte.
        let code = unsafe { libc::regcomp(place.as_mut_ptr(), text.as_ptr(), libc::REG_EXTENDED | libc::REG_NOSUB) };
        if code == 0 {
            // SAFETY: regcomp has filled the structure.
            return Ok(Self(unsafe { place.assume_init() }));
        }
        let mut message = [0_u8; 128];
        // SAFETY: writes at most as many bytes as the array has, with a zero byte at the end.
        unsafe { libc::regerror(code, place.as_ptr(), message.as_mut_ptr().cast(), message.len()) };
        let text = message.split(|&byte| byte == 0).next().unwrap_or_default();
        Err(String::from_utf8_lossy(text).into_owned())
    }

    /// Whether a part of `text` matches.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        let Ok(text) = CString::new(text) else { return false };
        // SAFETY: the structure was compiled; without a place for matches (count 0) the pointer is not used.
        unsafe { libc::regexec(&*self.0, text.as_ptr(), 0, null_mut(), 0) == 0 }
    }
}

impl Drop for Pattern {
    fn drop(&mut self) {
        // SAFETY: the structure was compiled and is freed once.
        unsafe { libc::regfree(&mut *self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_extended_ones_and_match_anywhere() {
        let pattern = Pattern::new("^web[0-9]+(-a|-b)$").unwrap();
        assert!(pattern.is_match("web12-a") && !pattern.is_match("web-a") && !pattern.is_match("xweb1-a"));
        assert!(Pattern::new("eb").unwrap().is_match("web1"));
        assert!(!Pattern::new("(").unwrap_err().is_empty());
    }
}
