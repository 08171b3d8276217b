//! create, start, state, kill, delete, run.

use orlop_integration::{Case, Flavor, Sandbox, cases};
use serde_json::json;

pub(crate) const CASES: &[Case] = cases![run_gives_the_exit_code, life_of_a_container,];

fn run_gives_the_exit_code(t: &Sandbox) {
    let c = t.container("a");
    assert_eq!(c.sh("echo out; echo err >&2; exit 7").run().code(7).stdout, "out\n");
    let out = c.sh("exit 0").run().ok();
    assert_eq!((out.stdout.as_str(), out.stderr.as_str()), ("", ""));
}

fn life_of_a_container(t: &Sandbox) {
    let c = t.container("a");
    c.args(&["/probe", "pause"]).set("/annotations", json!({"org.example.key": "value"}));
    c.create().ok();
    let state = c.state();
    assert_eq!(state["status"], "created");
    assert_eq!(state["id"], c.id.as_str());
    assert_eq!(state["bundle"], c.bundle.display().to_string());
    assert_eq!(state["annotations"]["org.example.key"], "value");
    let pid = c.pid();
    assert!(pid > 1 && orlop_integration::process::is_alive(pid));
    c.start().ok();
    assert_eq!(c.status(), "running");
    assert_eq!(c.pid(), pid);
    c.kill("KILL").ok();
    t.wait_until("stopped", || c.status() == "stopped");
    if !t.is(Flavor::Crun) {
        assert_eq!(c.state()["pid"], 0);
    }
    c.delete().ok();
    c.simple("state", &[], &[]).fails().says("does not exist");
}
