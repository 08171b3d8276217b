//! Paths of the config.

/// A path with `.`, `..` and doubled slashes worked out, absolute: links are not looked at, the lookup is confined anyway.
pub(crate) fn clean(path: &str) -> String {
    if is_clean(path.as_bytes()) {
        return path.to_owned();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let mut cleaned = String::with_capacity(path.len() + 1);
    for part in &parts {
        cleaned.push('/');
        cleaned.push_str(part);
    }
    if cleaned.is_empty() { "/".into() } else { cleaned }
}

/// As nearly every path is. One with a hidden file in it is looked at more closely.
fn is_clean(path: &[u8]) -> bool {
    let unclean = |pair: &[u8]| matches!(pair, [b'/', b'/' | b'.']);
    path.starts_with(b"/") && !path.ends_with(b"/") && !path.windows(2).any(unclean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_without_leaving_the_root() {
        for (path, cleaned) in [
            ("/a//b/./c/", "/a/b/c"),
            ("../../x", "/x"),
            ("/a/../..", "/"),
            ("", "/"),
            ("dev/pts", "/dev/pts"),
            ("/a/.b", "/a/.b"),
            ("/a/b/", "/a/b"),
            ("/", "/"),
            ("/a/..", "/"),
        ] {
            assert_eq!(clean(path), cleaned, "{path:?}");
        }
    }
}
