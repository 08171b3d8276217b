//! `process.apparmorProfile` and `exec --apparmor`.

use std::fs;

use orlop_integration::labels::Profile;
use orlop_integration::{Container, Flavor, Sandbox, case};
use serde_json::json;

/// Says the confinement, and tries both files.
const SCRIPT: &str =
    "cat /proc/self/attr/current; echo x > /tmp/free && echo free; echo x > /tmp/denied && echo denied";

/// What [`SCRIPT`] prints under a profile that denies writing /tmp/denied.
fn confined(profile: &Profile) -> String {
    format!("{} (enforce)\nfree\n", profile.name)
}

#[case]
fn a_profile_confines_the_command(t: &Sandbox) {
    let profile = Profile::load(t, "p", "/tmp/denied");
    let c = t.container("a");
    c.set("/process/apparmorProfile", json!(profile.name));
    let out = c.sh(SCRIPT).run().code(1);
    assert_eq!(out.stdout, confined(&profile));
    assert!(out.stderr.contains("Permission denied"), "{}", out.stderr);
    // Without no_new_privs, which changes how a profile is entered.
    let c = t.container("b");
    c.set("/process/apparmorProfile", json!(profile.name)).set("/process/noNewPrivileges", json!(false));
    assert_eq!(c.sh(SCRIPT).run().code(1).stdout, confined(&profile));
}

#[case]
fn a_profile_confines_in_a_user_namespace(t: &Sandbox) {
    let profile = Profile::load(t, "p", "/tmp/denied");
    let c = t.container("a");
    c.map_users(100_000, 65_536).set("/process/apparmorProfile", json!(profile.name));
    assert_eq!(c.sh(SCRIPT).run().code(1).stdout, confined(&profile));
}

#[case]
fn exec_is_confined_as_the_container(t: &Sandbox) {
    let profile = Profile::load(t, "p", "/tmp/denied");
    let c = t.container("a");
    c.set("/process/apparmorProfile", json!(profile.name)).run_paused();
    assert_eq!(c.exec(&[], &["/bin/sh", "-c", SCRIPT]).code(1).stdout, confined(&profile));
    c.end();
}

#[case]
fn exec_is_confined_by_its_own_profile(t: &Sandbox) {
    let profile = Profile::load(t, "p", "/tmp/denied");
    let c = t.container("a");
    c.run_paused();
    let free = c.exec(&[], &["/bin/sh", "-c", SCRIPT]).ok().stdout;
    assert_eq!(free, "unconfined\nfree\ndenied\n");
    let flags = ["--apparmor", &profile.name];
    assert_eq!(c.exec(&flags, &["/bin/sh", "-c", SCRIPT]).code(1).stdout, confined(&profile));
    let process = json!({
        "args": ["/bin/sh", "-c", SCRIPT], "cwd": "/", "user": {"uid": 0, "gid": 0}, "env": ["PATH=/bin"],
        "apparmorProfile": profile.name
    });
    let file = t.dir.join("process.json");
    fs::write(&file, process.to_string()).unwrap();
    let file = file.display().to_string();
    assert_eq!(c.exec(&["--process", &file], &[]).code(1).stdout, confined(&profile));
    c.end();
}

/// The profile is the command's: what the engine runs on the way is the engine's.
#[case(not_runc("not compared"), not_crun("not compared"))]
fn a_hook_in_the_container_is_confined_as_the_command_is(t: &Sandbox) {
    let profile = Profile::load(t, "p", "/tmp/denied");
    let c = t.container("a");
    c.set("/process/apparmorProfile", json!(profile.name));
    let args = ["sh", "-c", "cat /proc/self/attr/current > /tmp/hook"];
    c.set("/hooks", json!({"startContainer": [{"path": "/bin/sh", "args": args, "env": ["PATH=/bin"]}]}));
    let out = c.sh("cat /tmp/hook /proc/self/attr/current").run().ok().stdout;
    assert_eq!(out, format!("{0} (enforce)\n{0} (enforce)\n", profile.name));
}

#[case]
fn an_unknown_profile_is_an_error(t: &Sandbox) {
    let _loaded = Profile::load(t, "p", "/tmp/denied");
    let c: Container<'_> = t.container("a");
    c.set("/process/apparmorProfile", json!("no-such-profile"));
    let text = c.create().fails().stderr;
    if t.is(Flavor::Orlop) {
        assert!(
            text.contains("no-such-profile (config /process/apparmorProfile): no such file or directory"),
            "{text}"
        );
    }
    let c = t.container("b");
    c.run_paused();
    let text = c.exec(&["--apparmor", "no-such-profile"], &["/bin/true"]).fails().stderr;
    assert!(text.contains("no such file or directory"), "{text}");
    c.end();
}

#[case]
fn unconfined_is_a_profile(t: &Sandbox) {
    let _loaded = Profile::load(t, "p", "/tmp/denied");
    let c = t.container("a");
    c.set("/process/apparmorProfile", json!("unconfined"));
    assert_eq!(c.sh("cat /proc/self/attr/current").run().ok().stdout, "unconfined\n");
}
