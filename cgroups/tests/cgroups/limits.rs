//! Limits by what they do, not by what their files say.

use std::time::{Duration, Instant};

use orlop_cgroups::{Event, Layout};

use crate::environment::{has_controller, needs, skip};
use crate::process::{shell, until};
use crate::sandbox::{Sandbox, layouts, unique};

#[test]
fn a_memory_hog_is_killed_and_reported() {
    for (name, layout) in layouts() {
        if !has_controller(&layout, "memory") {
            skip("a memory hog", &format!("{name} has no controller memory"));
            continue;
        }
        let sandbox = Sandbox::new(&layout);
        sandbox.limit(r#"{"memory":{"limit":16777216,"swap":16777216}}"#);
        let before = sandbox.oom_kills().unwrap();
        assert_eq!(before, Some(0), "{name}");
        let mut events = sandbox.events(&[]).unwrap();
        // tail keeps what may be the last line, which here has no end.
        let mut child = shell(&sandbox.join().unwrap(), "exec tail /dev/zero");
        assert_eq!(child.wait(), 128 + 9, "{name}");
        until(5, "the kill is counted", || sandbox.oom_kills().unwrap() == Some(1));
        let mut seen = Vec::new();
        while let Some(event) = events.next(Some(Duration::from_millis(500))).unwrap() {
            seen.push(event);
        }
        assert!(seen.iter().any(|event| matches!(event, Event::Oom(_) | Event::OomKill(1))), "{name}: {seen:?}");
        let stats = sandbox.stats().unwrap();
        assert_eq!(stats.memory.usage.limit, 16_777_216, "{name}");
        let most = stats.memory.usage.max;
        // memory.peak came with 5.19.
        assert!(most == 0 || (8_000_000..=16_777_216).contains(&most), "{name}: {most}");
    }
}

#[test]
fn a_fork_bomb_is_stopped() {
    for (name, layout) in layouts() {
        if !has_controller(&layout, "pids") {
            skip("a fork bomb", &format!("{name} has no controller pids"));
            continue;
        }
        let sandbox = Sandbox::new(&layout);
        sandbox.limit(r#"{"pids":{"limit":10}}"#);
        let mut events = sandbox.events(&[]).unwrap();
        let _child = shell(&sandbox.join().unwrap(), "f() { f | f & sleep 0.1; }; f 2>/dev/null; exec sleep 100");
        let mut refused = false;
        let end = Instant::now() + Duration::from_secs(20);
        while !refused && Instant::now() < end {
            refused = matches!(events.next(Some(Duration::from_millis(100))).unwrap(), Some(Event::PidsMax(_)));
            let current = sandbox.stats().unwrap().pids.current;
            assert!(current <= 10, "{name}: {current} processes");
        }
        assert!(refused, "{name}: no fork was refused");
        assert_eq!(sandbox.stats().unwrap().pids.limit, 10, "{name}");
        sandbox.kill_all().unwrap();
        assert!(sandbox.wait_empty(Duration::from_secs(10)).unwrap(), "{name}");
    }
}

#[test]
fn cpu_time_is_bounded_and_counted() {
    for (name, layout) in layouts() {
        if !has_controller(&layout, "cpu") {
            skip("bounded cpu time", &format!("{name} has no controller cpu"));
            continue;
        }
        let sandbox = Sandbox::new(&layout);
        sandbox.limit(r#"{"cpu":{"quota":10000,"period":100000}}"#);
        let start = Instant::now();
        let _child = shell(&sandbox.join().unwrap(), "while :; do :; done");
        std::thread::sleep(Duration::from_millis(1500));
        sandbox.freeze().unwrap();
        let span = start.elapsed().as_nanos();
        let cpu = sandbox.stats().unwrap().cpu;
        let used = u128::from(cpu.usage.total);
        // A tenth, and one period more for the start.
        assert!(used <= span / 10 + 60_000_000, "{name}: {used} ns of {span} ns");
        assert!(used > 10_000_000, "{name}: {used} ns");
        assert!(
            cpu.throttling.throttled_periods > 0 && cpu.throttling.throttled_time > 0,
            "{name}: {:?}",
            cpu.throttling
        );
        sandbox.thaw().unwrap();
    }
}

#[test]
fn cpus_are_confined() {
    for (name, layout) in layouts() {
        if !has_controller(&layout, "cpuset") {
            skip("confined cpus", &format!("{name} has no controller cpuset"));
            continue;
        }
        let sandbox = Sandbox::new(&layout);
        let child = shell(&sandbox.join().unwrap(), "exec sleep 100");
        sandbox.limit(r#"{"cpu":{"cpus":"0"}}"#);
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.pid())).unwrap();
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
        assert_eq!(allowed.trim(), "0", "{name}");
    }
}

#[test]
fn huge_pages_are_counted_against_their_limit() {
    for (name, layout) in layouts() {
        if !has_controller(&layout, "hugetlb") {
            skip("a huge page limit", &format!("{name} has no controller hugetlb"));
            continue;
        }
        let sandbox = Sandbox::new(&layout);
        sandbox.limit(r#"{"hugepageLimits":[{"pageSize":"2MB","limit":0}]}"#);
        let stats = sandbox.stats().unwrap();
        assert_eq!((stats.hugetlb["2MB"].usage, stats.hugetlb["2MB"].failcnt), (0, 0), "{name}");
    }
}

#[test]
fn reads_from_a_disk_are_throttled() {
    let Some((major, minor)) = crate::environment::block_device() else {
        return skip("throttled reads", "no block device");
    };
    let device = crate::environment::block_device_node().unwrap();
    if std::fs::File::open(&device).is_err() {
        return skip("throttled reads", &format!("{device} cannot be opened"));
    }
    for (name, layout) in layouts() {
        if !has_controller(&layout, "blkio") {
            skip("throttled reads", &format!("{name} has no controller blkio or io"));
            continue;
        }
        let sandbox = Sandbox::new(&layout);
        let json = format!(
            r#"{{"blockIO":{{"throttleReadBpsDevice":[{{"major":{major},"minor":{minor},"rate":1048576}}]}}}}"#
        );
        sandbox.limit(&json);
        let start = Instant::now();
        let mut child = shell(
            &sandbox.join().unwrap(),
            &format!("exec dd if={device} of=/dev/null bs=64k count=32 iflag=direct 2>/dev/null"),
        );
        assert_eq!(child.wait(), 0, "{name}");
        let span = start.elapsed();
        // Two megabytes at one a second; the kernel lets the first slice pass.
        assert!(span > Duration::from_millis(900), "{name}: {span:?}");
        let bytes: u64 = sandbox
            .stats()
            .unwrap()
            .blkio
            .io_service_bytes_recursive
            .iter()
            .filter(|entry| entry.op == "Read" && entry.major == u64::try_from(major).unwrap())
            .map(|entry| entry.value)
            .sum();
        // BFQ counts only what it served itself.
        assert!(bytes > 0, "{name}: {bytes} bytes counted");
    }
}

#[test]
fn cpus_that_a_neighbour_has_alone_are_left_to_it() {
    needs!(V1, Root);
    const TEST: &str = "cpus_that_a_neighbour_has_alone_are_left_to_it";
    let Some(cpuset) = Layout::detect().unwrap().hierarchy("cpuset").map(|one| one.mount.clone()) else {
        skip(TEST, "no cpuset hierarchy");
        return;
    };
    let all = std::fs::read_to_string(format!("{cpuset}/cpuset.cpus")).unwrap();
    let Some(last) = all.trim().rsplit([',', '-']).next().filter(|last| *last != all.trim()) else {
        skip(TEST, "one CPU");
        return;
    };
    let neighbour = format!("{cpuset}/{}", unique());
    std::fs::create_dir(&neighbour).unwrap();
    std::fs::write(format!("{neighbour}/cpuset.cpus"), last).unwrap();
    let alone = std::fs::write(format!("{neighbour}/cpuset.cpu_exclusive"), "1");
    let outcome = alone.map(|()| {
        let sandbox = Sandbox::try_at(&Layout::detect().unwrap(), &format!("/{}", unique()));
        sandbox.map(|sandbox| sandbox.read("cpuset", "cpuset.cpus"))
    });
    std::fs::remove_dir(&neighbour).unwrap();
    match outcome {
        // Other cpusets on this host have that CPU too.
        Err(error) => skip(TEST, &format!("no CPU can be had alone here: {error}")),
        Ok(cpus) => {
            let cpus = cpus.unwrap();
            assert!(!cpus.is_empty() && !cpus.split([',', '-']).any(|cpu| cpu == last), "{cpus} of {all}");
        }
    }
}
