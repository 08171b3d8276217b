//! How a registry wants to be authenticated with: what is read is part of what was said.
#![no_main]

use libfuzzer_sys::fuzz_target;
use orlop_images::registry::Challenge;

fuzz_target!(|text: &str| {
    let challenges = Challenge::parse(text);
    assert!(challenges.len() <= text.len());
    for challenge in challenges {
        match challenge {
            Challenge::Basic => {}
            Challenge::Bearer { realm, service, scope } => {
                let length = realm.len() + service.map_or(0, |text| text.len()) + scope.map_or(0, |text| text.len());
                assert!(length <= text.len());
            }
            Challenge::Other(name) => assert!(text.contains(&name) && name.len() <= 32),
        }
    }
});
