//! The command line, as containerd and the `flag` package of Go write it.

use std::ffi::OsString;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Start,
    Delete,
    Info,
    Version,
}

/// The command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) action: Action,
    pub(crate) namespace: String,
    pub(crate) id: String,
    /// Where containerd serves its gRPC interface.
    pub(crate) address: String,
    /// The program that publishes events where there is no ttrpc interface to do it.
    pub(crate) publish_binary: String,
    /// The bundle, with `delete`.
    pub(crate) bundle: String,
    pub(crate) debug: bool,
}

/// Reads the command line, without the program's name.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Arguments, String> {
    let mut given = Arguments {
        action: Action::Version,
        namespace: String::new(),
        id: String::new(),
        address: String::new(),
        publish_binary: String::new(),
        bundle: String::new(),
        debug: false,
    };
    let mut action = None;
    let mut words = words.map(|word| word.into_string().map_err(|word| format!("{}: not UTF-8", word.display())));
    while let Some(word) = words.next().transpose()? {
        let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
            action = Some(action_named(&word)?);
            break;
        };
        let (name, attached) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        match name {
            "v" | "version" => return Ok(Arguments { action: Action::Version, ..given }),
            "info" => action = Some(Action::Info),
            "debug" => given.debug = attached.is_none_or(|value| value != "false"),
            _ => {
                let place = match name {
                    "namespace" => &mut given.namespace,
                    "id" => &mut given.id,
                    "address" => &mut given.address,
                    "publish-binary" => &mut given.publish_binary,
                    "bundle" => &mut given.bundle,
                    _ => return Err(format!("flag -{name} is not known")),
                };
                let value = attached.map_or_else(|| words.next().transpose(), |value| Ok(Some(value)))?;
                *place = value.ok_or_else(|| format!("flag -{name} needs a value"))?;
            }
        }
    }
    if let Some(word) = words.next().transpose()? {
        return Err(format!("{word:?} is too much: one action is done"));
    }
    given.action = action.ok_or("no action is given: start, delete, -info or -v; containerd calls this program")?;
    let needs_names = matches!(given.action, Action::Start | Action::Delete);
    if needs_names && (given.namespace.is_empty() || given.id.is_empty()) {
        return Err("-namespace and -id must not be empty".to_owned());
    }
    Ok(given)
}

fn action_named(word: &str) -> Result<Action, String> {
    match word {
        "start" => Ok(Action::Start),
        "delete" => Ok(Action::Delete),
        _ => Err(format!("action {word:?} is not known: start or delete")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Arguments, String> {
        parse(text.split_whitespace().map(OsString::from))
    }

    #[test]
    fn flags_are_read_as_containerd_writes_them() {
        let start =
            of("-namespace k8s.io -address /run/c.sock -publish-binary /usr/bin/containerd -id a1 -debug start")
                .unwrap();
        assert_eq!(start.action, Action::Start);
        assert_eq!((start.namespace.as_str(), start.id.as_str()), ("k8s.io", "a1"));
        assert_eq!((start.address.as_str(), start.publish_binary.as_str()), ("/run/c.sock", "/usr/bin/containerd"));
        assert!(start.debug);
        let delete = of("--namespace=n --id=b --bundle=/b delete").unwrap();
        assert_eq!((delete.action, delete.bundle.as_str(), delete.debug), (Action::Delete, "/b", false));
        assert_eq!(of("-v").unwrap().action, Action::Version);
        assert_eq!(of("-info").unwrap().action, Action::Info);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, message) in [
            ("", "no action"),
            ("-socket x start", "-socket"),
            ("-namespace n -id", "needs a value"),
            ("-namespace n start", "-id"),
            ("-namespace n -id i run", "\"run\""),
            ("-namespace n -id i start more", "\"more\""),
        ] {
            let error = of(text).unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
