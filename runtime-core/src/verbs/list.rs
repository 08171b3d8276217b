//! `list`: the containers of a state root.

use nix::unistd::{Uid, User};
use orlop_cgroups::Freezers;

use super::state::{ContainerState, describe};
use crate::base::{Kind, Report, Result, Runtime};
use crate::state::Store;

/// What `list` found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Listing {
    /// The containers, sorted by id.
    pub containers: Vec<ContainerState>,
    /// Why others could not be described; runc prints these and goes on.
    pub report: Report,
}

/// Lists the containers of `runtime`; a state root that is missing has none.
///
/// # Errors
/// When the state root cannot be opened or read, or others may write to it.
pub fn list(runtime: &Runtime) -> Result<Listing> {
    let mut listing = Listing::default();
    let Some(store) = Store::open(runtime)? else { return Ok(listing) };
    let (mut buffer, mut freezers, mut owners) = (Vec::new(), Freezers::default(), Owners::default());
    for id in &store.ids()? {
        let described = store.brief(id, &mut buffer).and_then(|brief| {
            let owner = owners.name_of(brief.owner()?);
            describe(brief, owner, &mut freezers)
        });
        match described {
            Ok(state) => listing.containers.push(state),
            // Deleted since the directory was read, or not yet a container.
            Err(error) if error.kind() == Kind::NotFound => {}
            Err(error) => listing.report.extend([error]),
        }
    }
    Ok(listing)
}

/// The names of users. Nearly always all containers belong to one, who is looked up once.
#[derive(Debug, Default)]
struct Owners {
    last: Option<(u32, String)>,
}

impl Owners {
    /// The name of the user `uid`, or `#uid` where there is no such user.
    fn name_of(&mut self, uid: u32) -> String {
        if let Some((_, name)) = self.last.as_ref().filter(|(known, _)| *known == uid) {
            return name.clone();
        }
        let name = user_name(uid);
        self.last = Some((uid, name.clone()));
        name
    }
}

fn user_name(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        // A user database that cannot be read is no reason to hide the container.
        Ok(None) | Err(_) => format!("#{uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Status;
    use crate::verbs::fixture::Scratch;

    #[test]
    fn damaged_ones_are_told_and_claims_are_none() {
        let scratch = Scratch::new("list");
        let mut all: Vec<_> = ["d", "a", "c", "b", "e"].map(|name| scratch.add(name, |_| ())).into();
        all.iter_mut().filter(|(id, _)| id.as_str() == "c").for_each(|(_, sleeper)| sleeper.stop());
        std::fs::write(scratch.path("b/state.json"), "{").unwrap();
        std::fs::create_dir(scratch.path("infant")).unwrap();
        let listing = list(&scratch.runtime).unwrap();
        assert_eq!(listing.report.warnings().len(), 1);
        assert!(
            listing.report.warnings()[0].to_string().contains("state.json of b"),
            "{}",
            listing.report.warnings()[0]
        );
        let found: Vec<_> = listing.containers.iter().map(|each| (each.id.as_str(), each.status)).collect();
        let expected = [("a", Status::Running), ("c", Status::Stopped), ("d", Status::Running), ("e", Status::Running)];
        assert_eq!(found, expected);
    }
}
