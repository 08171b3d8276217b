//! Credentials: Docker's config.json, auth.json of Podman and Skopeo, and credential helpers.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::base::{Error, Kind, Result, Step};
use crate::registry::base64;

/// How long a helper may take; it may ask a person.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest answer of a helper, and the longest file.
const LONGEST: u64 = 1 << 20;

/// What a registry is told.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user and a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A token for the token service, which Docker calls an identity token.
    Identity(String),
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Password { user, .. } => write!(f, "Password({user:?}, …)"),
            Self::Identity(_) => f.write_str("Identity(…)"),
        }
    }
}

/// One file of credentials.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    auths: Option<BTreeMap<String, Entry>>,
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// What a helper prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// The files that are looked through, the first that knows the registry wins.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    files: Vec<PathBuf>,
    /// The file was named by the caller, so it must be there.
    named: bool,
}

impl Keyring {
    /// Only this file.
    #[must_use]
    pub fn of_file(path: PathBuf) -> Self {
        Self { files: vec![path], named: true }
    }

    /// The files of the environment: `$REGISTRY_AUTH_FILE` alone if it is set, else Podman's and Docker's places.
    #[must_use]
    pub fn of_environment() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        if let Some(path) = set("REGISTRY_AUTH_FILE") {
            return Self::of_file(path);
        }
        let home = set("HOME");
        let under_home = |path: &str| home.as_ref().map(|home| home.join(path));
        let files = [
            set("XDG_RUNTIME_DIR").map(|dir| dir.join("containers/auth.json")),
            nix::unistd::geteuid().is_root().then(|| PathBuf::from("/run/containers/0/auth.json")),
            set("XDG_CONFIG_HOME").map(|dir| dir.join("containers/auth.json")),
            under_home(".config/containers/auth.json"),
            set("DOCKER_CONFIG").map(|dir| dir.join("config.json")).or_else(|| under_home(".docker/config.json")),
        ];
        Self { files: files.into_iter().flatten().collect(), named: false }
    }

    /// What is known for `repository` on `host`, if anything.
    pub fn find(&self, host: &str, repository: &str) -> Result<Option<Credentials>> {
        for path in &self.files {
            let Some(file) = self.read(path)? else { continue };
            if let Some(found) = file.find(path, host, repository)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn read(&self, path: &Path) -> Result<Option<File>> {
        let shown = path.display().to_string();
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !self.named => return Ok(None),
            Err(error) => return Err(Error::io(Step::ReadConfig, &error).object_is(shown)),
        };
        let mut text = Vec::new();
        file.take(LONGEST)
            .read_to_end(&mut text)
            .map_err(|error| Error::io(Step::ReadConfig, &error).object_is(&shown))?;
        if text.trim_ascii().is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(&text).map(Some).map_err(|error| {
            Error::new(Kind::InvalidContent, Step::ReadConfig).object_is(shown).reason_is(error.to_string())
        })
    }
}

impl File {
    fn find(&self, path: &Path, host: &str, repository: &str) -> Result<Option<Credentials>> {
        let keys = keys(host);
        let helper = self.cred_helpers.iter().flatten().find(|(key, _)| keys.iter().any(|each| each == *key));
        if let Some((key, helper)) = helper {
            return ask(helper, key);
        }
        if let Some(store) = self.creds_store.as_deref().filter(|store| !store.is_empty()) {
            for key in &keys {
                if let Some(found) = ask(store, key)? {
                    return Ok(Some(found));
                }
            }
        }
        let Some(auths) = &self.auths else { return Ok(None) };
        // The most specific entry first: host/a/b, host/a, then the ways of writing the host.
        let mut name = format!("{host}/{repository}");
        let mut names = Vec::new();
        while name.len() > host.len() {
            names.push(name.clone());
            name.truncate(name.rfind('/').unwrap_or_default());
        }
        let entry = names.iter().chain(&keys).find_map(|name| auths.get(name));
        entry.map_or(Ok(None), |entry| entry.credentials(path, host))
    }
}

/// The names under which a host may be filed.
fn keys(host: &str) -> Vec<String> {
    let hosts = match host {
        "docker.io" => vec!["index.docker.io", "docker.io", "registry-1.docker.io"],
        host => vec![host],
    };
    let forms = ["https://HOST/v1/", "HOST", "https://HOST", "https://HOST/", "https://HOST/v2/", "http://HOST"];
    hosts.iter().flat_map(|host| forms.map(|form| form.replace("HOST", host))).collect()
}

impl Entry {
    fn credentials(&self, path: &Path, host: &str) -> Result<Option<Credentials>> {
        let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = some(&self.identitytoken) {
            return Ok(Some(Credentials::Identity(token)));
        }
        if let (Some(user), Some(password)) = (some(&self.username), some(&self.password)) {
            return Ok(Some(Credentials::Password { user, password }));
        }
        let Some(auth) = some(&self.auth) else { return Ok(None) };
        let text = base64::decode(auth.trim()).and_then(|bytes| String::from_utf8(bytes).ok());
        match text.as_deref().and_then(|text| text.trim_end_matches('\0').split_once(':')) {
            Some((user, password)) => {
                Ok(Some(Credentials::Password { user: user.to_owned(), password: password.to_owned() }))
            }
            None => Err(Error::new(Kind::InvalidContent, Step::Credentials)
                .object_is(host)
                .reason_is(format!("its auth in {} is not the Base64 of USER:PASSWORD", path.display()))),
        }
    }
}

/// Asks `docker-credential-NAME` for what it has for `server`.
fn ask(name: &str, server: &str) -> Result<Option<Credentials>> {
    let program = format!("docker-credential-{name}");
    let failed = |reason: String| {
        let error = Error::new(Kind::Command, Step::Credentials).object_is(server);
        error.reason_is(format!("{program}: {reason}"))
    };
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return Err(failed("not the name of a helper".to_owned()));
    }
    let mut command = Command::new(&program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    // The name of a server fits into the pipe; a helper that reads nothing has closed it, and its answer tells.
    let sent = child.stdin.take().map(|mut input| input.write_all(server.as_bytes()));
    let output = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = output.map(|output| output.take(LONGEST).read_to_end(&mut text));
        (text, matches!(read, Some(Ok(_))))
    });
    let begin = Instant::now();
    let status = loop {
        match child.try_wait().map_err(|error| failed(error.to_string()))? {
            Some(status) => break status,
            None if begin.elapsed() > PATIENCE => {
                child.kill().and_then(|()| child.wait()).map_err(|error| failed(error.to_string()))?;
                return Err(failed("no answer within 60 s".to_owned()).kind_is(Kind::Timeout));
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let (text, complete) = reader.join().map_err(|_| failed("its output cannot be read".to_owned()))?;
    if !status.success() {
        // Helpers say this, and only this, when they know nothing of a server.
        let said = String::from_utf8_lossy(&text);
        if said.contains("credentials not found") {
            return Ok(None);
        }
        return Err(failed(format!("{status}: {}", said.lines().next().unwrap_or_default())));
    }
    if !complete || matches!(sent, Some(Err(_))) {
        return Err(failed("it broke off".to_owned()));
    }
    let answer: Answer = serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
    Ok(match answer.username.as_str() {
        "<token>" => Some(Credentials::Identity(answer.secret)),
        "" => None,
        _ => Some(Credentials::Password { user: answer.username, password: answer.secret }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, host: &str, repository: &str) -> Result<Option<Credentials>> {
        serde_json::from_str::<File>(text).unwrap().find(Path::new("/config.json"), host, repository)
    }

    fn password(user: &str, password: &str) -> Credentials {
        Credentials::Password { user: user.to_owned(), password: password.to_owned() }
    }

    #[test]
    fn entries_are_found_under_every_name_of_a_host() {
        let coded = base64::encode(b"me:pa:ss");
        for key in ["https://index.docker.io/v1/", "docker.io", "registry-1.docker.io"] {
            let text = format!("{{\"auths\":{{\"{key}\":{{\"auth\":\"{coded}\"}}}}}}");
            assert_eq!(find(&text, "docker.io", "library/x").unwrap(), Some(password("me", "pa:ss")), "{key}");
            assert_eq!(find(&text, "h:1", "x").unwrap(), None);
        }
        let text = r#"{"auths":{"h:1":{"username":"a","password":"b"},"h:1/team":{"identitytoken":"t"}}}"#;
        assert_eq!(find(text, "h:1", "team/x").unwrap(), Some(Credentials::Identity("t".to_owned())));
        assert_eq!(find(text, "h:1", "other/x").unwrap(), Some(password("a", "b")));
        assert_eq!(find(text, "h:1", "teamx").unwrap(), Some(password("a", "b")));
        assert_eq!(find("{}", "h", "x").unwrap(), None);
    }

    #[test]
    fn what_is_wrong_in_a_file_is_an_error_that_shows_no_secret() {
        let error = find(r#"{"auths":{"h":{"auth":"c2VjcmV0"}}}"#, "h", "x").unwrap_err().to_string();
        assert_eq!(error, "get credentials for h: its auth in /config.json is not the Base64 of USER:PASSWORD");
        assert!(!format!("{:?}", password("u", "hunter2")).contains("hunter2"));
        let error = find(r#"{"credHelpers":{"h":"../../x"}}"#, "h", "x").unwrap_err();
        assert!(error.to_string().contains("not the name of a helper"), "{error}");
        let error = find(r#"{"credsStore":"orlop-missing"}"#, "h", "x").unwrap_err();
        assert!(error.to_string().contains("docker-credential-orlop-missing"), "{error}");
    }
}
