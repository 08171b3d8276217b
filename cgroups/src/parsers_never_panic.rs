//! Every reader of this crate is given garbage: mutations of good inputs, the same ones each time. None may panic, hang or take
//! more than it is given; what they answer is tested beside each of them.

use crate::devices::RuleSet;
use crate::layout::Layout;
use crate::resources::Resources;
use crate::systemd::Property;

/// A small generator with a fixed seed (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % below.max(1)
    }

    fn mutate(&mut self, text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        for _ in 0..=self.next(4) {
            let at = self.next(bytes.len());
            match self.next(5) {
                0 if !bytes.is_empty() => drop(bytes.remove(at)),
                1 => bytes.insert(at, b"\0\n :=,-*/.0919avxyz\"'[](){}<>@\\"[self.next(31)]),
                2 if !bytes.is_empty() => bytes[at] ^= 1 << self.next(7),
                3 => bytes.truncate(at),
                _ => {
                    let copy: Vec<u8> = bytes.iter().skip(at).take(8).copied().collect();
                    bytes.extend(copy);
                }
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[test]
fn no_reader_panics() {
    type Reader = fn(&str);
    let readers: [(&str, Reader); 9] = [
        ("/a/b/c", |text| drop(crate::path::clean(text, "check"))),
        ("a-b.slice:docker:abc", |text| drop(crate::path::unit_path(Some(text), "id"))),
        ("a-b-c.slice", |text| drop(crate::path::expand_slice(text))),
        ("c 1:3 rwm\nb *:* m\n", |text| drop(RuleSet::from_list(text))),
        ("25 1 0:22 / /cg\\0402 rw - cgroup2 cgroup rw\n30 1 0:30 / /m rw - cgroup c rw,memory\n", |text| {
            drop(Layout::from_mountinfo(text, |_, _| true));
        }),
        ("@a(ss) [('/dev/null', 'rw'), (\"x\", 'y')]", |text| {
            drop(Property::from_annotation("org.systemd.property.Abc", text))
        }),
        (
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n8:0 rbytes=1 wbytes=2\nmlx hca_handle=2 hca_object=max\n0-2,7\n",
            |text| {
                crate::stats::parse_all(text);
            },
        ),
        (
            r#"{"devices":[{"allow":true,"type":"c","major":1,"minor":3,"access":"rw"}],"memory":{"limit":1,"swap":2},"cpu":{"shares":5,"cpus":"0-1"},"hugepageLimits":[{"pageSize":"2MB","limit":9}],"rdma":{"x":{"hcaHandles":3}},"unified":{"a.b":"c"}}"#,
            |text| {
                if let Ok(resources) = serde_json::from_str::<Resources<'_>>(text) {
                    let layout = Layout::v2("/cg");
                    drop(crate::writes::writes(&resources, &layout));
                    drop(RuleSet::from_rules(&resources.devices).map(|rules| crate::devices::program::program(&rules)));
                    drop(crate::systemd::properties_of(&resources));
                }
            },
        ),
        ("l\u{1}\u{0}\u{1}\u{8}\0\0\0\u{1}\0\0\0\u{5}\0\0\0\u{6}\u{1}s\0\u{3}\0\0\0abc\0", |text| {
            crate::systemd::decode_bus(text.as_bytes());
        }),
    ];
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for (seed, read) in readers {
        let mut text = seed.to_owned();
        for round in 0..2000 {
            // Now and then from the start again, or all that is left is noise.
            text = random.mutate(if round % 20 == 0 { seed } else { &text });
            text.truncate(text.char_indices().nth(600).map_or(text.len(), |(at, _)| at));
            read(&text);
        }
    }
}
