//! Bundles of images: what the program makes of an image and of flags, as root and in a user namespace.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "a test fails by panicking")]

mod support;

use std::os::unix::fs::MetadataExt;
use std::process::{Command, Output};

use orlop_images::layer::tar::Kind;
use serde_json::{Value, json};
use support::layout::Layout;
use support::{Archive, Place};

/// An image with a user, a directory that belongs to it, and a volume.
fn image(place: &Place) {
    let mut base = Archive::new();
    base.directory("./").directory("etc").directory("data").file("data/seed", b"seed").directory("bin");
    base.file("etc/passwd", b"root:x:0:0::/root:/bin/sh\nweb:x:33:34::/srv/web:/bin/sh\n")
        .file("etc/group", b"log:x:4:web\n");
    base.file("bin/own", b"own").with(|entry| (entry.uid, entry.gid) = (33, 34));
    let config = json!({
        "User": "web", "Env": ["A=image", "broken"], "Entrypoint": ["/bin/own"], "Cmd": ["default"], "WorkingDir": "/srv/web/app",
        "Volumes": { "/data": {} }, "ExposedPorts": { "80/tcp": {} }, "StopSignal": "SIGQUIT",
        "Labels": { "who": "me", "run.oci.handler": "wasm" },
    });
    Layout::with_config(&place.path().join("state/images"), &[base.bytes()], &config);
}

fn orlop_image(place: &Place, in_user_namespace: bool, arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_orlop-image");
    let mut command = match in_user_namespace {
        false => Command::new(program),
        true => {
            let mut command = Command::new("unshare");
            command.args(["--user", "--map-root-user", program]);
            command
        }
    };
    command.arg("--root").arg(place.path().join("state")).args(arguments).current_dir(place.path()).output().unwrap()
}

fn bundle(place: &Place, arguments: &[&str]) -> Value {
    let output = orlop_image(place, false, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&std::fs::read(place.path().join("b/config.json")).unwrap()).unwrap()
}

fn fails(place: &Place, in_user_namespace: bool, arguments: &[&str]) -> String {
    let output = orlop_image(place, in_user_namespace, arguments);
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn the_image_and_the_flags_make_the_config() {
    if !support::is_root("the_image_and_the_flags_make_the_config") {
        return;
    }
    let place = Place::new();
    image(&place);
    let plain = bundle(&place, &["bundle", "-q", "latest", "b"]);
    assert_eq!(plain["process"]["args"], json!(["/bin/own", "default"]));
    assert_eq!(plain["process"]["user"], json!({ "uid": 33, "gid": 34, "additionalGids": [4] }));
    assert_eq!(plain["process"]["cwd"], "/srv/web/app");
    let env = plain["process"]["env"].as_array().unwrap();
    assert!(
        env.contains(&json!("A=image")) && env.contains(&json!("HOME=/srv/web")) && !env.contains(&json!("broken"))
    );
    assert_eq!(plain["process"]["capabilities"]["effective"], json!([]));
    assert_eq!(plain["process"]["capabilities"]["bounding"].as_array().unwrap().len(), 14);
    assert_eq!(plain["annotations"]["org.opencontainers.image.exposedPorts"], "80/tcp");
    assert_eq!(plain["annotations"]["org.opencontainers.image.stopSignal"], "SIGQUIT");
    assert_eq!(
        (plain["annotations"]["who"].as_str(), &plain["annotations"]["run.oci.handler"]),
        (Some("me"), &Value::Null)
    );
    // The volume begins as what the image has there, and the working directory is there.
    let data = plain["mounts"].as_array().unwrap().iter().find(|mount| mount["destination"] == "/data").unwrap();
    assert_eq!(std::fs::read(format!("{}/seed", data["source"].as_str().unwrap())).unwrap(), b"seed");
    let root = place.path().join("b/rootfs");
    assert_eq!(root.join("srv/web/app").metadata().unwrap().uid(), 0);
    assert_eq!(root.join("bin/own").metadata().unwrap().gid(), 34);
    assert!(fails(&place, false, &["bundle", "-q", "latest", "b"]).contains("there is one already"));
    std::fs::remove_dir_all(place.path().join("b")).unwrap();
    let flags = "bundle -q -u 0:5 -e A=flag -e N=1 -m 64m --cpus 1.5 --pids-limit 9 --read-only --cap-drop ALL --cap-add chown \
                 --security-opt no-new-privileges --security-opt seccomp=unconfined --ulimit nofile=5:6 --sysctl \
                 net.core.somaxconn=9 --tmpfs /run -v vol:/data --device /dev/null:/dev/n:r --hostname web.lan --add-host \
                 db:10.0.0.2 --dns 9.9.9.9 --entrypoint /bin/other -w /tmp/./x latest b more words";
    let set = bundle(&place, &flags.split_whitespace().collect::<Vec<_>>());
    assert_eq!(set["process"]["args"], json!(["/bin/other", "more", "words"]));
    assert_eq!(set["process"]["user"], json!({ "uid": 0, "gid": 5, "additionalGids": [] }));
    assert_eq!(set["process"]["capabilities"]["effective"], json!(["CAP_CHOWN"]));
    assert_eq!((&set["process"]["noNewPrivileges"], &set["root"]["readonly"]), (&json!(true), &json!(true)));
    assert_eq!(set["process"]["rlimits"], json!([{ "type": "RLIMIT_NOFILE", "soft": 5, "hard": 6 }]));
    assert_eq!((&set["process"]["cwd"], &set["hostname"]), (&json!("/tmp/x"), &json!("web.lan")));
    let resources = &set["linux"]["resources"];
    assert_eq!(resources["memory"], json!({ "limit": 64 << 20, "swap": 128 << 20 }));
    assert_eq!(
        (&resources["cpu"], &resources["pids"]),
        (&json!({ "quota": 150_000, "period": 100_000 }), &json!({ "limit": 9 }))
    );
    assert_eq!((&set["linux"]["seccomp"], &set["linux"]["sysctl"]["net.core.somaxconn"]), (&Value::Null, &json!("9")));
    assert_eq!(set["linux"]["devices"][0]["path"], "/dev/n");
    let env = set["process"]["env"].as_array().unwrap();
    assert!(env.contains(&json!("A=flag")) && env.contains(&json!("N=1")) && env.contains(&json!("HOSTNAME=web.lan")));
    let read = |name: &str| std::fs::read_to_string(place.path().join("b").join(name)).unwrap();
    assert!(read("hosts").contains("10.0.0.2\tdb\n") && read("resolv.conf") == "nameserver 9.9.9.9\n");
    assert_eq!(std::fs::read(place.path().join("state/volumes/vol/seed")).unwrap(), b"seed");
}

#[test]
fn what_is_wrong_is_named() {
    if !support::is_root("what_is_wrong_is_named") {
        return;
    }
    let place = Place::new();
    image(&place);
    for (arguments, text) in [
        (
            &["bundle", "-u", "nobody", "latest", "b"][..],
            "make bundle user \"nobody\": the image's /etc/passwd has no nobody",
        ),
        (&["bundle", "-u", "4294967296", "latest", "b"], "4294967296 is not a number from 0 to 4294967294"),
        (&["bundle", "--gpus", "all", "latest", "b"], "unknown flag --gpus"),
        (&["bundle", "-m", "much", "latest", "b"], "make bundle --memory: \"much\" is no size"),
        (&["bundle", "-v", "/none:/x:Z", "latest", "b"], "SELinux labels are not set here"),
        (
            &["bundle", "--mount", "type=bind,source=/none/at/all,target=/x", "latest", "b"],
            "/none/at/all: no such file",
        ),
        (&["bundle", "--entrypoint", "", "latest", "b"], "the image names no command"),
        (&["bundle", "none", "b"], "none"),
    ] {
        let error = fails(&place, false, arguments);
        assert!(error.contains(text), "{arguments:?}: {error}");
        drop(std::fs::remove_dir_all(place.path().join("b")));
    }
}

#[test]
fn passwd_files_of_the_image_are_hostile() {
    if !support::is_root("passwd_files_of_the_image_are_hostile") {
        return;
    }
    let bundle = |change: &dyn Fn(&mut Archive), user: &str| {
        let place = Place::new();
        let mut base = Archive::new();
        base.directory("./").directory("etc").file("canary", b"root:x:0:0::/:\n");
        change(&mut base);
        Layout::with_config(&place.path().join("state/images"), &[base.bytes()], &json!({ "Cmd": ["x"] }));
        let output = orlop_image(&place, false, &["bundle", "-q", "-u", user, "latest", "b"]);
        place.check_outside();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let large = vec![b'x'; 2 << 20];
    let (done, error) = bundle(
        &|base| {
            base.file("etc/passwd", &large);
        },
        "5",
    );
    assert!(!done && error.contains("/etc/passwd of the image: a file of more than 1048576 bytes"), "{error}");
    // A pipe that nobody writes to, a directory and a device are no passwd files, and nothing waits for them.
    for kind in [Kind::Fifo, Kind::Directory, Kind::CharDevice(1, 5)] {
        let (done, error) = bundle(
            &|base| {
                base.link("etc/passwd", kind.clone());
            },
            "5",
        );
        assert!(done, "{kind:?}: {error}");
        let (done, error) = bundle(
            &|base| {
                base.link("etc/passwd", kind.clone());
            },
            "root",
        );
        assert!(!done && error.contains("/etc/passwd has no root"), "{kind:?}: {error}");
    }
    // A link is followed within the image: this machine knows the user `daemon`, the image does not.
    for target in ["/etc/passwd.real", "../../../../etc/passwd.real", "../canary"] {
        let link = Kind::Symlink(target.as_bytes().to_vec());
        let (done, error) = bundle(
            &|base| {
                base.link("etc/passwd", link.clone());
            },
            "daemon",
        );
        assert!(!done && error.contains("/etc/passwd has no daemon"), "{target}: {error}");
    }
    let link = Kind::Symlink(b"../../canary".to_vec());
    let (done, error) = bundle(
        &|base| {
            base.link("etc/passwd", link.clone());
        },
        "root",
    );
    assert!(done, "{error}");
}

#[test]
fn owners_outside_a_user_namespace_are_named_or_squashed() {
    const TEST: &str = "owners_outside_a_user_namespace_are_named_or_squashed";
    let allowed = Command::new("unshare").args(["--user", "--map-root-user", "true"]).output();
    if !support::is_root(TEST) || !allowed.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIP {TEST}: it needs root and user namespaces");
        return;
    }
    let place = Place::new();
    image(&place);
    let error = fails(&place, true, &["bundle", "-q", "latest", "b"]);
    assert!(error.contains("unpack bin/own of sha256:") && error.contains("it belongs to uid 33"), "{error}");
    assert!(error.contains("(it has 0)") && error.contains("/etc/subuid"), "{error}");
    let output = orlop_image(&place, true, &["bundle", "-q", "--squash", "latest", "b"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(place.path().join("b/rootfs/bin/own").metadata().unwrap().uid(), 0);
}

#[test]
fn what_no_kernel_could_start_is_refused_before_anything_is_made() {
    if !support::is_root("what_no_kernel_could_start_is_refused_before_anything_is_made") {
        return;
    }
    let refused = |config: &Value, reason: &str| {
        let place = Place::new();
        Layout::with_config(&place.path().join("state/images"), &[Archive::new().directory("./").bytes()], config);
        let error = fails(&place, false, &["bundle", "-q", "latest", "b"]);
        assert!(error.contains(reason), "{error}");
        assert!(error.len() < 1000, "{}", error.len());
    };
    refused(&json!({ "Cmd": ["x".repeat(128 << 10)] }), "one string of 131072 bytes");
    refused(&json!({ "Cmd": vec!["x".repeat(100_000); 70] }), "the kernel takes 6291456");
    let volumes: serde_json::Map<_, _> = (0..1001).map(|number| (format!("/v{number}"), json!({}))).collect();
    refused(&json!({ "Cmd": ["x"], "Volumes": volumes }), "1001; 1000 are allowed");
}

#[test]
fn many_variables_take_no_longer_than_few() {
    if !support::is_root("many_variables_take_no_longer_than_few") {
        return;
    }
    let place = Place::new();
    let variables: Vec<String> = (0..80_000).map(|number| format!("V{number}=x")).collect();
    let config = json!({ "Cmd": ["x"], "Env": variables });
    Layout::with_config(&place.path().join("state/images"), &[Archive::new().directory("./").bytes()], &config);
    let begin = std::time::Instant::now();
    let config = bundle(&place, &["bundle", "-q", "-e", "V5=y", "latest", "b"]);
    assert!(begin.elapsed() < std::time::Duration::from_secs(60), "{:?}", begin.elapsed());
    let env = config["process"]["env"].as_array().unwrap();
    assert!(env.len() >= 80_000 && env.contains(&json!("V5=y")) && !env.contains(&json!("V5=x")));
}

#[test]
fn an_image_that_cannot_be_unpacked_is_named() {
    let place = Place::new();
    let layer = Archive::new().file("../x", b"").bytes();
    Layout::add(&place.path().join("state/images"), "example.com/evil:1", &[layer], &json!({ "Cmd": ["x"] }));
    let error = fails(&place, false, &["bundle", "-q", "example.com/evil:1", "b"]);
    assert!(
        error.contains("unpack ../x of sha256:") && error.contains(" of example.com/evil:1: a name with"),
        "{error}"
    );
}
