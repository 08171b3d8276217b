//! Events beside those of the limits.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use orlop_cgroups::{Event, Kind, PressureKind, PressureTrigger};

use crate::environment::{has_controller, skip};
use crate::process::shell;
use crate::sandbox::{Sandbox, layouts};

#[test]
fn the_end_is_told() {
    for (name, layout) in layouts() {
        let sandbox = Sandbox::new(&layout);
        let child = shell(&sandbox.join().unwrap(), "exec sleep 100");
        let mut events = sandbox.events(&[]).unwrap();
        let start = Instant::now();
        assert_eq!(events.next(Some(Duration::from_millis(20))).unwrap(), None, "{name}");
        assert!(start.elapsed() >= Duration::from_millis(20));
        sandbox.kill_all().unwrap();
        drop(child);
        if layout.unified().is_some() {
            assert_eq!(events.next(Some(Duration::from_secs(5))).unwrap(), Some(Event::Empty), "{name}");
        }
        sandbox.remove().unwrap();
        if layout.unified().is_some() || has_controller(&layout, "memory") {
            assert_eq!(events.next(Some(Duration::from_secs(5))).unwrap(), Some(Event::Gone), "{name}");
            assert_eq!(events.next(None).unwrap(), None, "{name}: nothing follows");
        }
        let _pollable = events.as_fd();
    }
}

#[test]
fn memory_high_slows_down_and_is_told() {
    for (name, layout) in layouts() {
        if !layout.hierarchies().is_empty() || !has_controller(&layout, "memory") {
            skip("memory.high", &format!("{name} has no v2 controller memory"));
            continue;
        }
        let sandbox = Sandbox::new(&layout);
        sandbox.limit(r#"{"unified":{"memory.high":"8388608","memory.swap.max":"0"}}"#);
        let mut events = sandbox.events(&[]).unwrap();
        let _child = shell(&sandbox.join().unwrap(), "exec tail /dev/zero");
        let event = events.next(Some(Duration::from_secs(20))).unwrap();
        assert!(matches!(event, Some(Event::High(_))), "{name}: {event:?}");
    }
}

#[test]
fn pressure_fires_a_trigger() {
    let trigger = PressureTrigger {
        kind: PressureKind::Cpu,
        full: false,
        stall: Duration::from_millis(50),
        window: Duration::from_secs(2),
    };
    for (name, layout) in layouts() {
        let sandbox = Sandbox::new(&layout);
        match sandbox.events(&[trigger]) {
            Err(error) => {
                assert_eq!(error.kind(), Kind::Unsupported, "{name}: {error}");
                skip("a pressure trigger", &format!("{name}: {error}"));
            }
            Ok(mut events) => {
                // More busy processes than CPUs.
                let count = std::thread::available_parallelism().unwrap().get() * 2 + 1;
                let _children: Vec<_> =
                    (0..count).map(|_| shell(&sandbox.join().unwrap(), "while :; do :; done")).collect();
                let event = events.next(Some(Duration::from_secs(20))).unwrap();
                assert_eq!(event, Some(Event::Pressure(0)), "{name}");
                let stats = sandbox.stats().unwrap();
                assert!(stats.cpu.psi.unwrap().some.total > 0, "{name}");
            }
        }
        let bad = PressureTrigger { window: Duration::from_millis(1), ..trigger };
        assert_eq!(sandbox.events(&[bad]).unwrap_err().kind(), Kind::Unsupported, "{name}");
    }
}
