//! Who may pull, and who gets to see the token.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::{Arc, Mutex};

use orlop_images::Kind;
use orlop_images::registry::{Hosts, Keyring};

use crate::image::{Kept, image, noise, output, plain_registry, program, pull, pull_with, push, registry};
use crate::proxy::{Proxy, Reply, Seen};
use crate::server::{Scratch, Server};

/// The Base64 of `me:secret`.
const BASIC: &str = "Basic bWU6c2VjcmV0";

/// What a registry with a token service does that knows one user.
fn guarded(seen: &Seen) -> Reply {
    let host = seen.header("host").unwrap();
    if seen.target.starts_with("/token") {
        assert!(seen.target.contains("service=test") && seen.target.contains("scope=repository:x:pull"), "{seen:?}");
        return match seen.header("authorization") {
            Some(BASIC) => Reply::answer("200 OK", &[], "{\"token\":\"t0ken\",\"expires_in\":300}"),
            _ => Reply::answer("401 Unauthorized", &[], "{}"),
        };
    }
    match seen.header("authorization") {
        Some("Bearer t0ken") => Reply::Forward,
        _ => {
            let challenge = format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"test\"");
            Reply::answer("401 Unauthorized", &[&challenge], "{}")
        }
    }
}

/// A server with the image `x:1`.
fn filled(test: &str) -> Option<Server> {
    let server = Server::start(test)?;
    let from = Kept::new();
    let name = format!("{}/x:1", server.address);
    let entry = image(&from.store, &name, &[noise(1, 1000)]);
    push(&from.store, &plain_registry(), &entry, &name).unwrap();
    Some(server)
}

/// A file of credentials for the host at `address`.
fn keyring(scratch: &Scratch, text: &str) -> Keyring {
    let path = scratch.path().join("auth.json");
    std::fs::write(&path, text).unwrap();
    Keyring::of_file(path)
}

#[test]
fn a_token_is_got_with_the_credentials_and_used_until_it_ends() {
    let Some(server) = filled("a_token_is_got_with_the_credentials_and_used_until_it_ends") else { return };
    let (scratch, to) = (Scratch::new(), Kept::new());
    let proxy = Proxy::start(server.address, |seen, _| guarded(seen));
    let name = format!("{}/x:1", proxy.address);
    let error = pull(&to.store, &name).unwrap_err();
    assert_eq!(error.kind(), Kind::Denied);
    let text = format!("{{\"auths\":{{\"{}\":{{\"auth\":\"{}\"}}}}}}", proxy.address, &BASIC["Basic ".len()..]);
    let client = registry(keyring(&scratch, &text), Hosts::default());
    let before = proxy.seen().len();
    pull_with(&to.store, &client, &name).unwrap();
    let seen = proxy.seen().split_off(before);
    assert_eq!(seen.iter().filter(|seen| seen.target.starts_with("/token")).count(), 1, "{seen:?}");
    let text = text.replace("bWU6", "bWU7");
    let error = pull_with(&to.store, &registry(keyring(&scratch, &text), Hosts::default()), &name).unwrap_err();
    assert!(error.kind() == Kind::InvalidContent || error.kind() == Kind::Denied, "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[test]
fn helpers_are_asked_and_an_identity_token_is_exchanged() {
    let Some(server) = filled("helpers_are_asked_and_an_identity_token_is_exchanged") else { return };
    let (scratch, to) = (Scratch::new(), Kept::new());
    let proxy = Proxy::start(server.address, |seen, _| match seen.method.as_str() {
        "POST" if seen.target == "/token" => Reply::answer("200 OK", &[], "{\"access_token\":\"t0ken\"}"),
        _ => guarded(seen),
    });
    let helper = scratch.path().join("docker-credential-test");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" = get ] && [ \"$(cat)\" = {} ] || exit 1\necho '{{\"Username\":\"<token>\",\"Secret\":\"id\"}}'\n",
        proxy.address
    );
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let auth = scratch.path().join("config.json");
    std::fs::write(&auth, format!("{{\"credHelpers\":{{\"{}\":\"test\"}}}}", proxy.address)).unwrap();
    let path = format!("{}:{}", scratch.path().display(), std::env::var("PATH").unwrap());
    let name = format!("{}/x:1", proxy.address);
    let mut command = program(&to.state());
    output(command.env("PATH", path).env("DOCKER_CONFIG", scratch.path()).args(["pull", "-q", &name]));
}

#[test]
fn another_host_never_sees_the_token() {
    let Some(server) = filled("another_host_never_sees_the_token") else { return };
    let (scratch, to) = (Scratch::new(), Kept::new());
    let storage = Arc::new(Proxy::start(server.address, |_, _| Reply::Forward));
    let elsewhere = storage.address;
    let proxy = Proxy::start(server.address, move |seen, _| match guarded(seen) {
        Reply::Forward if seen.fetches_blob() => {
            Reply::answer("307 Temporary Redirect", &[&format!("Location: http://{elsewhere}{}", seen.target)], "")
        }
        reply => reply,
    });
    let text = format!("{{\"auths\":{{\"{}\":{{\"auth\":\"{}\"}}}}}}", proxy.address, &BASIC["Basic ".len()..]);
    let client = registry(keyring(&scratch, &text), Hosts::default());
    pull_with(&to.store, &client, &format!("{}/x:1", proxy.address)).unwrap();
    let seen = storage.seen();
    assert!(seen.len() >= 2 && seen.iter().all(|seen| seen.header("authorization").is_none()), "{seen:?}");
    assert!(proxy.seen().iter().any(|seen| seen.fetches_blob() && seen.header("authorization").is_some()));
}

#[test]
fn redirects_end() {
    let Some(server) = filled("redirects_end") else { return };
    let proxy = Proxy::start(server.address, |_, _| Reply::answer("302 Found", &["Location: /v2/x/manifests/1"], ""));
    let error = pull(&Kept::new().store, &format!("{}/x:1", proxy.address)).unwrap_err();
    assert!(error.to_string().contains("redirected more than 5 times"), "{error}");
    assert_eq!(proxy.seen().len(), 6);
}

#[test]
fn mirrors_come_first_and_are_passed_over_when_they_fail() {
    let Some(server) = filled("mirrors_come_first_and_are_passed_over_when_they_fail") else { return };
    let (scratch, to) = (Scratch::new(), Kept::new());
    let empty = Proxy::start(server.address, |_, _| Reply::answer("404 Not Found", &[], "{}"));
    let mirror = Arc::new(Mutex::new(0));
    let count = Arc::clone(&mirror);
    let mirror = Proxy::start(server.address, move |_, _| {
        *count.lock().unwrap() += 1;
        Reply::Forward
    });
    let text = format!(
        "[[registry]]\nprefix = \"registry.invalid\"\nlocation = \"registry.invalid\"\n\
         [[registry.mirror]]\nlocation = \"{}\"\ninsecure = true\n[[registry.mirror]]\nlocation = \"{}\"\n",
        empty.address, mirror.address
    );
    let conf = scratch.path().join("registries.conf");
    std::fs::write(&conf, text).unwrap();
    let mut command = program(&to.state());
    let printed = output(command.env("CONTAINERS_REGISTRIES_CONF", &conf).args(["pull", "registry.invalid/x:1"]));
    assert!(printed.starts_with("registry.invalid/x:1@sha256:"), "{printed}");
    assert!(!empty.seen().is_empty() && mirror.seen().len() >= 3);
}

#[test]
fn certificates_are_checked_against_those_of_certs_d() {
    let test = "certificates_are_checked_against_those_of_certs_d";
    let scratch = Scratch::new();
    let dir = scratch.path();
    let mut openssl = Command::new("openssl");
    openssl.current_dir(dir).args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
    openssl.args(["-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=localhost"]);
    openssl.args(["-addext", "subjectAltName=DNS:localhost"]);
    match openssl.output() {
        Err(_) => {
            println!("SKIP {test}: openssl is not installed");
            return;
        }
        Ok(made) => assert!(made.status.success(), "{made:?}"),
    }
    let tls = format!("  tls: {{certificate: {0}/cert.pem, key: {0}/key.pem}}\n", dir.display());
    let Some(server) = Server::start_with(test, &tls) else { return };
    let host = format!("localhost:{}", server.address.port());
    let (from, to) = (Kept::new(), Kept::new());
    let name = format!("{host}/tls:1");
    image(&from.store, &name, &[noise(1, 5_000_000)]);
    let refused = program(&from.state()).args(["push", "-q", &name]).output().unwrap();
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("its certificate is not valid"), "{text}");
    let trusted = dir.join("containers/certs.d").join(&host);
    std::fs::create_dir_all(&trusted).unwrap();
    std::fs::copy(dir.join("cert.pem"), trusted.join("ca.crt")).unwrap();
    output(program(&from.state()).env("XDG_CONFIG_HOME", dir).args(["push", "-q", &name]));
    output(program(&to.state()).env("XDG_CONFIG_HOME", dir).args(["pull", "-q", &name]));
    assert!(to.store.verify(&orlop_images::Quiet).unwrap().is_sound());
}
