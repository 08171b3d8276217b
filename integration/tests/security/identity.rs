//! Whom a process runs as: no text may be taken for an id that it is not (CVE-2026-30892, CVE-2016-3697, CVE-2026-46680).

use orlop_integration::{Sandbox, case};
use serde_json::{Value, json};

/// What may not be taken as a user; each must be refused.
const REFUSED: &[&str] = &[
    "-1",
    "4294967296",
    "99999999999999999999",
    "0x0",
    "1 ",
    " 1",
    "1:",
    ":1",
    "1:2:3",
    "root",
    "1:root",
    "+1",
    "1.0",
    "1:-1",
    "1:4294967296",
    "٣",
];

#[case(not_runc("reads some of these as other numbers"), not_crun("before crun 1.27: reads a bare uid as root"))]
fn cve_2026_30892_exec_user_table(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    for text in REFUSED {
        let out = c.exec(&["--user", text], &["/probe", "facts"]);
        assert!(out.code != 0, "--user {text:?} ran as {}", out.stdout);
        assert!(!out.stdout.contains("\"uid\""), "--user {text:?}");
    }
    c.end();
}

#[case]
fn exec_user_plain_numbers(t: &Sandbox) {
    let c = t.container("a");
    c.run_paused();
    for (text, uid, gid) in [("0", 0, 0), ("1", 1, 0), ("1:2", 1, 2), ("65534:65534", 65534, 65534), ("0:7", 0, 7)] {
        let facts = c.exec_facts(&["--user", text]);
        assert_eq!((&facts["uid"], &facts["gid"]), (&json!(uid), &json!(gid)), "--user {text}");
    }
    c.end();
}

#[case(not_crun("takes text for 0"))]
fn cve_2026_46680_ids_of_the_config(t: &Sandbox) {
    let c = t.container("a");
    let wrong: [Value; 8] = [
        json!("zero"),
        json!("0"),
        json!(-1),
        json!(4_294_967_296_u64),
        json!(1.5),
        json!([0]),
        json!({}),
        json!(true),
    ];
    for value in wrong {
        for field in ["uid", "gid"] {
            c.set("/process/user", json!({"uid": 0, "gid": 0})).set(&format!("/process/user/{field}"), value.clone());
            c.run().code(1);
        }
        c.set("/process/user", json!({"uid": 0, "gid": 0, "additionalGids": [value]})).run().code(1);
    }
}

#[case]
fn cve_2023_25173_additional_groups_are_set_always(t: &Sandbox) {
    let c = t.container("a");
    c.set("/process/user", json!({"uid": 1000, "gid": 1000})).args(&["/probe", "facts"]);
    // The caller has groups of its own; none may show (GHSA-hmfx-3pcx-653p).
    c.write();
    let command = format!(
        "exec setpriv --groups 4,27,100 {} --root {} run --bundle {} {}",
        t.subject.path.display(),
        t.root.display(),
        c.bundle.display(),
        c.id
    );
    let facts = t.program("/bin/sh", &["-c", &command]).run().ok().json();
    assert_eq!(facts["groups"], json!([]));
}

#[case]
fn cve_2016_3697_exec_never_looks_names_up(t: &Sandbox) {
    let c = t.container("a");
    // The image's passwd has a user named "1" with uid 4242.
    c.run_paused();
    assert_eq!(c.exec_facts(&["--user", "1"])["uid"], 1);
    c.end();
}
