//! Regular expressions for `kill --regex` and `delete --regex`, which crun has: extended ones of POSIX, as far as [`regex_lite`] knows
//! them. Its time is bounded by expression and text, unlike that of a C library's.

/// A compiled expression.
#[derive(Debug)]
pub(crate) struct Pattern(regex_lite::Regex);

impl Pattern {
    /// Compiles `text`; the error says what is wrong with it, on one line.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        regex_lite::Regex::new(text).map(Self).map_err(|error| error.to_string().replace('\n', " "))
    }

    /// Whether a part of `text` matches.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
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
        let classes = Pattern::new("^[[:alpha:]]{3}[[:digit:]]?$").unwrap();
        assert!(classes.is_match("web1") && classes.is_match("web") && !classes.is_match("we"));
        let refused = Pattern::new("(").unwrap_err();
        assert!(!refused.is_empty() && !refused.contains('\n'));
    }

    #[test]
    fn no_expression_takes_for_ever() {
        let pattern = Pattern::new("^(a+)+$").unwrap();
        assert!(!pattern.is_match(&format!("{}b", "a".repeat(1000))));
    }
}
