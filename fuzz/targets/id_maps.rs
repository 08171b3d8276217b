//! Id map options, the ranges they are relative to, and number lists.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop::config::mount_options::parse_id_map;
use orlop::config::{IdMapping, parse_list};

fuzz_target!(|text: &str| {
    let container = [
        IdMapping { container_id: 0, host_id: 4_294_900_000, size: 1 },
        IdMapping { container_id: 1, host_id: 100_000, size: 65_536 },
    ];
    if let Ok((uids, gids)) = parse_id_map(text, &container, &container) {
        for map in uids.iter().chain(&gids) {
            assert!(map.size > 0, "{map:?}");
            assert!(map.host_id.checked_add(map.size - 1).is_some(), "{map:?}");
        }
    }
    for limit in [0, 1023] {
        if let Ok(numbers) = parse_list(text, limit) {
            assert!(numbers.iter().all(|range| *range.end() <= limit), "{numbers:?}");
        }
    }
});
