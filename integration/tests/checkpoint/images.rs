//! Images that come from somebody else: nothing in their directory leads CRIU, or the runtime, anywhere.

use std::fs;
use std::os::unix::fs::symlink;

use orlop_integration::{Sandbox, case};

use crate::restoring::{images, restore};
use orlop_integration::double::{asked, was_asked};

#[case(extension)]
fn wrong_descriptors_are_refused_by_their_place(t: &Sandbox) {
    let c = t.container("a");
    let file = t.dir.join("images/descriptors.json");
    for (json, words) in [
        (r#"["","pipe:[../../etc]"]"#, "descriptors.json at /1: \"pipe:[../../etc]\" is neither a path nor a pipe"),
        (r#"["","","","pipe:[1]"]"#, "descriptors.json at /3: there are only three standard streams"),
        (r#"[["pipe:[1]"]]"#, "descriptors.json at /0: "),
        ("{}", "descriptors.json: is not a list"),
        ("", "descriptors.json: is not a list"),
    ] {
        let restore = restore(&c, "good", &[]);
        fs::write(&file, json).unwrap();
        restore.run().code(1).says(words);
    }
    assert!(!was_asked(t, "restore"));
}

#[case(extension)]
fn links_are_not_followed(t: &Sandbox) {
    let c = t.container("a");
    let victim = t.dir.join("victim");
    fs::write(&victim, "precious").unwrap();
    let dir = t.dir.join("images");
    for name in ["restore.log", "stats-restore", "core-1.img"] {
        let restore = restore(&c, "refuses", &[]);
        symlink(&victim, dir.join(name)).unwrap();
        restore.run().code(1).says(&format!("{name}: is a symbolic link, which CRIU would follow"));
        fs::remove_file(dir.join(name)).unwrap();
    }
    let with_link = restore(&c, "good", &[]);
    fs::remove_file(dir.join("descriptors.json")).unwrap();
    symlink(&victim, dir.join("descriptors.json")).unwrap();
    with_link.run().code(1).says("descriptors.json: is a symbolic link");
    fs::remove_file(dir.join("descriptors.json")).unwrap();
    nix::unistd::mkfifo(&dir.join("descriptors.json"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let cmd = restore_without_writing(&c);
    cmd.run().code(1).says("descriptors.json: is neither a file nor a directory");
    fs::remove_file(dir.join("descriptors.json")).unwrap();
    let far = restore(&c, "good", &[]);
    symlink("/etc", dir.join("parent")).unwrap();
    far.run().code(1).says("parent: leads to \"/etc\"");
    fs::remove_file(dir.join("parent")).unwrap();
    // The directory for the log may be an engine's, with what else it keeps there.
    let work = t.dir.join("work");
    fs::create_dir(&work).unwrap();
    nix::unistd::mkfifo(&work.join("ctl"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink(&victim, work.join("restore.log")).unwrap();
    let flags = ["--work-path", &work.display().to_string()];
    restore(&c, "refuses", &flags).run().code(1).says("work/restore.log: is a symbolic link");
    assert_eq!(fs::read_to_string(victim).unwrap(), "precious");
    assert!(!was_asked(t, "restore"));
    fs::remove_file(work.join("restore.log")).unwrap();
    restore(&c, "refuses", &flags).run().code(1).says("cannot do the thing").says("work/restore.log");
}

fn restore_without_writing(c: &orlop_integration::Container<'_>) -> orlop_integration::Cmd {
    let images = c.sandbox.dir.join("images").display().to_string();
    let bundle = c.bundle.display().to_string();
    let cmd = c.simple_cmd("restore", &["--detach", "--image-path", &images, "--bundle", &bundle], &[]);
    orlop_integration::double::with(c.sandbox, cmd, "good")
}

#[case(extension)]
fn a_directory_without_images_is_none(t: &Sandbox) {
    let c = t.container("a");
    c.write();
    restore_without_writing(&c).run().code(1).says("restore").says("no such file or directory");
    fs::create_dir(t.dir.join("images")).unwrap();
    restore_without_writing(&c).run().code(1).says("descriptors.json").says("`orlop checkpoint` writes it");
    images(t);
    restore_without_writing(&c).run().ok();
    c.end();
}

/// Archives of engines carry configs beside CRIU's images: a runtime that took mounts, annotations or hooks from them would do what
/// whoever made the archive wants.
#[case(extension)]
fn cve_2026_53492_the_bundle_alone_is_the_config(t: &Sandbox) {
    let c = t.container("a");
    let dir = images(t);
    let evil = r#"{"ociVersion":"1.0.2","root":{"path":"/"},"annotations":{"evil":"yes","org.criu.config":"/etc/evil"},
        "mounts":[{"destination":"/host","type":"bind","source":"/","options":["rbind"]}],
        "hooks":{"createRuntime":[{"path":"/bin/false"}]}}"#;
    for name in ["config.json", "config.dump", "spec.dump", "state.json", "network.status"] {
        fs::write(std::path::Path::new(&dir).join(name), evil).unwrap();
    }
    restore_without_writing(c.write()).run().ok();
    let external = asked(t, "restore").remove(&23).unwrap_or_default();
    assert!(!external.iter().any(|mount| mount.contains("/host")), "{external:?}");
    assert!(!asked(t, "restore").contains_key(&51));
    assert!(c.state()["annotations"]["evil"].is_null());
    c.end();
}
