//! Entry points for the fuzz targets (folder `fuzz`) to private readers. Compiled only with `--cfg fuzzing`.

use crate::devices::RuleSet;
use crate::layout::Layout;
use crate::present::ProcessCgroups;
use crate::resources::Resources;
use crate::systemd::Property;

/// The text of a mountinfo file.
pub fn layout(text: &str) {
    if let Some(layout) = Layout::from_mountinfo(text, |_, _| true) {
        assert!(layout.unified().is_some() || !layout.hierarchies().is_empty());
    }
}

/// What files of control groups hold; paths; `linux.resources`.
pub fn files(text: &str) {
    if let Ok(plain) = crate::path::clean(text, "check") {
        assert_eq!(crate::path::clean(&plain, "check").ok().as_deref(), Some(plain.as_str()));
        assert!(plain.split('/').all(|name| name != ".."), "{plain}");
    }
    drop(crate::path::unit_path(Some(text), "id"));
    drop(crate::path::expand_slice(text));
    drop(RuleSet::from_list(text));
    crate::stats::parse_all(text);
    crate::dir::keyed(text, "populated");
    let now = ProcessCgroups::parse(text.to_owned());
    let _ = (now.unified(), now.v1("memory"));
    if let Ok(resources) = serde_json::from_str::<Resources<'_>>(text) {
        drop(crate::writes::writes(&resources, &Layout::v2("/cg")));
        if let Ok(rules) = RuleSet::from_rules(&resources.devices) {
            drop(crate::devices::program::program(&rules));
        }
        drop(crate::systemd::properties_of(&resources));
    }
}

/// A message from the bus, and the value of an annotation.
pub fn bus(bytes: &[u8]) {
    crate::systemd::decode_bus(bytes);
    drop(Property::from_annotation("org.systemd.property.Abc", &String::from_utf8_lossy(bytes)));
}
