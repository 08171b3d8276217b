//! What a registry asks for: the `WWW-Authenticate` header of RFC 9110.

/// One way to authenticate that was offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// User and password with every request.
    Basic,
    /// A token from elsewhere.
    Bearer {
        /// Where tokens are given out.
        realm: String,
        /// For whom the token is.
        service: Option<String>,
        /// What it must allow.
        scope: Option<String>,
    },
    /// One that Orlop does not know, by its name.
    Other(String),
}

impl Challenge {
    /// Reads one header value, which may hold several challenges. What is malformed ends the list.
    #[must_use]
    pub fn parse(value: &str) -> Vec<Self> {
        let mut found = Vec::new();
        let mut rest = value;
        while let Some((scheme, after)) = scheme(rest) {
            let (parameters, after) = parameters(after);
            found.push(Self::new(scheme, parameters));
            rest = after;
        }
        found
    }

    fn new(scheme: &str, parameters: Vec<(String, String)>) -> Self {
        let get = |name: &str| {
            parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
        };
        match (scheme.to_ascii_lowercase().as_str(), get("realm")) {
            ("basic", _) => Self::Basic,
            ("bearer", Some(realm)) => Self::Bearer { realm, service: get("service"), scope: get("scope") },
            _ => Self::Other(scheme.chars().take(32).collect()),
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn token(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|byte| !is_token(byte)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

fn scheme(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = token(text.trim_start_matches([' ', '\t', ',']));
    if name.is_empty() { None } else { Some((name, rest)) }
}

/// Reads `name=value` pairs until what follows is another scheme. The rest of the text begins there.
fn parameters(text: &str) -> (Vec<(String, String)>, &str) {
    let mut pairs = Vec::new();
    let mut rest = text;
    loop {
        let start = rest.trim_start_matches([' ', '\t', ',']);
        let (name, after) = token(start);
        let Some(after) = after.trim_start().strip_prefix('=').filter(|_| !name.is_empty()) else {
            return (pairs, start);
        };
        let after = after.trim_start();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => match unquote(quoted) {
                Some(found) => found,
                None => return (pairs, ""),
            },
            None => {
                let (value, after) = token(after);
                (value.to_owned(), after)
            }
        };
        pairs.push((name.to_owned(), value));
        rest = after;
    }
}

/// A quoted string whose opening quote has been taken.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(chars.next()?.1),
            _ => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_of_registries_are_understood() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        };
        for (text, expected) in [
            (
                "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"repository:a/b:pull,push\"",
                vec![bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:a/b:pull,push"),
                )],
            ),
            ("Basic realm=\"basic-realm\"", vec![Challenge::Basic]),
            ("BASIC", vec![Challenge::Basic]),
            (
                "Negotiate, bearer realm = \"r\\\"x\" , service=s, Basic realm=x",
                vec![Challenge::Other("Negotiate".to_owned()), bearer("r\"x", Some("s"), None), Challenge::Basic],
            ),
            ("Bearer", vec![Challenge::Other("Bearer".to_owned())]),
            ("Bearer realm=\"unclosed", vec![Challenge::Other("Bearer".to_owned())]),
            ("", vec![]),
            ("\"", vec![]),
            ("=,=", vec![]),
        ] {
            assert_eq!(Challenge::parse(text), expected, "{text}");
        }
    }
}
