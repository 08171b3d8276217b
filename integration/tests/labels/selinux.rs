//! `process.selinuxLabel`, `linux.mountLabel` and `exec --process-label`.

use std::fs;

use orlop_integration::labels::{LABEL, OTHER, needs_selinux};
use orlop_integration::{Sandbox, case};
use serde_json::json;

const FILES: &str = "system_u:object_r:container_file_t:s0:c0,c1";

#[case]
fn a_label_confines_the_command(t: &Sandbox) {
    needs_selinux(t);
    let c = t.container("a");
    c.set("/process/selinuxLabel", json!(LABEL));
    let image = format!("context={}", FILES.replace("container_file_t", "image_file_t"));
    c.mount("tmpfs", "tmpfs", "/mnt", &["size=1m", &image]).mount("tmpfs", "tmpfs", "/home", &["size=1m"]);
    let script =
        "cat /proc/self/attr/current; echo; echo x > /home/file && echo written; echo x > /mnt/file && echo both";
    let out = c.sh(script).run().code(1);
    assert_eq!(out.stdout.replace('\0', ""), format!("{LABEL}\nwritten\n"));
    assert!(out.stderr.contains("Permission denied"), "{}", out.stderr);
}

/// The label of a file in a running container.
fn label_of(t: &Sandbox, pid: i32, path: &str) -> String {
    let path = format!("/proc/{pid}/root{path}");
    t.program("/usr/bin/stat", &["--format", "%C", &path]).run().ok().stdout.trim().to_owned()
}

#[case]
fn mounts_get_the_label(t: &Sandbox) {
    needs_selinux(t);
    let c = t.container("a");
    c.set("/process/selinuxLabel", json!(LABEL)).set("/linux/mountLabel", json!(FILES));
    c.mount("tmpfs", "tmpfs", "/mnt", &["size=1m"]);
    c.mount("tmpfs", "tmpfs", "/home", &["size=1m", &format!("context={}", FILES.replace(":c0,c1", ""))]);
    let pid = c.sh("echo x > /mnt/file; exec /probe pause").run_detached().ok();
    drop(pid);
    let pid = c.pid();
    t.wait_until("the file", || fs::metadata(format!("/proc/{pid}/root/mnt/file")).is_ok());
    for path in ["/mnt/file", "/dev", "/dev/shm", "/dev/mqueue", "/dev/pts"] {
        assert_eq!(label_of(t, pid, path), FILES, "{path}");
    }
    assert_eq!(label_of(t, pid, "/home"), "system_u:object_r:container_file_t:s0", "a mount's own label counts");
    c.end();
}

#[case(not_runc("crun's annotation"))]
fn the_option_that_a_mount_label_becomes(t: &Sandbox) {
    needs_selinux(t);
    let c = t.container("a");
    c.set("/linux/mountLabel", json!(FILES));
    c.edit(|spec| spec["annotations"]["run.oci.mount_context_type"] = json!("rootcontext"));
    c.mount("tmpfs", "tmpfs", "/mnt", &["size=1m"]);
    let pid = c.run_paused();
    let mounts = fs::read_to_string(format!("/proc/{pid}/mounts")).unwrap();
    let line = mounts.lines().find(|line| line.contains(" /mnt ")).unwrap();
    assert!(line.contains("rootcontext="), "{line}");
    assert_eq!(label_of(t, pid, "/mnt"), FILES);
    c.end();
}

#[case]
fn exec_gets_the_containers_label_or_its_own(t: &Sandbox) {
    needs_selinux(t);
    let c = t.container("a");
    c.set("/process/selinuxLabel", json!(LABEL)).run_paused();
    let label = |flags: &[&str]| c.exec(flags, &["/bin/cat", "/proc/self/attr/current"]).ok().stdout.replace('\0', "");
    assert_eq!(label(&[]), LABEL);
    assert_eq!(label(&["--process-label", OTHER]), OTHER);
    c.end();
}

#[case]
fn a_mount_label_alone_is_no_matter_for_exec(t: &Sandbox) {
    needs_selinux(t);
    let c = t.container("a");
    c.set("/linux/mountLabel", json!(FILES)).run_paused();
    let label = c.exec(&[], &["/bin/cat", "/proc/self/attr/current"]).ok().stdout.replace('\0', "");
    assert!(label.contains(":kernel_t:"), "{label}");
    c.end();
}

#[case]
fn the_session_keyring_is_the_containers(t: &Sandbox) {
    needs_selinux(t);
    let c = t.container("a");
    c.set("/process/selinuxLabel", json!(LABEL));
    assert_eq!(c.args(&["/probe", "keyring-label"]).run().ok().stdout.trim(), LABEL);
    c.args(&["/probe", "pause"]).run_detached().ok();
    assert_eq!(c.exec(&[], &["/probe", "keyring-label"]).ok().stdout.trim(), LABEL);
    c.end();
}

#[case]
fn an_invalid_label_is_an_error(t: &Sandbox) {
    needs_selinux(t);
    let c = t.container("a");
    c.set("/process/selinuxLabel", json!("system_u:system_r:no_such_t:s0"));
    let text = c.create().fails().stderr;
    assert!(text.contains("invalid argument"), "{text}");
}
