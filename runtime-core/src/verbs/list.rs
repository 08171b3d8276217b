//! `list`: the containers of a state root.

use std::ops::Range;
use std::sync::OnceLock;

use nix::unistd::{Uid, User};
use orlop_cgroups::Freezers;

use super::state::{ContainerState, describe};
use crate::base::{ContainerId, Error, Kind, Result, Runtime};
use crate::state::Store;

/// What `list` found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Listing {
    /// The containers, sorted by id.
    pub containers: Vec<ContainerState>,
    /// Why others could not be described; runc prints these and goes on.
    pub failures: Vec<Error>,
}

/// Lists the containers of `runtime`; a state root that is missing has none.
///
/// # Errors
/// When the state root cannot be opened or read, or others may write to it.
pub fn list(runtime: &Runtime) -> Result<Listing> {
    let found = Containers::find(runtime)?;
    Ok(found.describe(0..found.len()))
}

/// The containers of a state root, found but not yet looked at: for a caller who has threads to look at many of them with.
#[derive(Debug)]
pub struct Containers {
    store: Option<Store>,
    /// Sorted.
    ids: Vec<ContainerId>,
    /// An owner and the name for it: nearly always all have the same.
    owner: OnceLock<(u32, String)>,
}

impl Containers {
    /// Finds the containers of `runtime`; a state root that is missing has none.
    ///
    /// # Errors
    /// When the state root cannot be opened or read, or others may write to it.
    pub fn find(runtime: &Runtime) -> Result<Self> {
        let store = Store::open(runtime)?;
        let ids = store.as_ref().map_or_else(|| Ok(Vec::new()), Store::ids)?;
        Ok(Self { store, ids, owner: OnceLock::new() })
    }

    /// How many there are, and maybe some that are none yet or no more.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Looks at those with these numbers, in the order of their ids from 0 on; there is nothing beyond [`Self::len`].
    #[must_use]
    pub fn describe(&self, range: Range<usize>) -> Listing {
        let mut listing = Listing::default();
        let Some(store) = &self.store else { return listing };
        let (mut room, mut freezers) = (Vec::new(), Freezers::default());
        for id in self.ids.iter().take(range.end).skip(range.start) {
            let described = store.brief(id, &mut room).and_then(|brief| {
                let owner = self.owner_name(brief.owner()?);
                describe(brief, owner, &mut freezers)
            });
            match described {
                Ok(state) => listing.containers.push(state),
                // Deleted since the directory was read, or not yet a container.
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => listing.failures.push(error),
            }
        }
        listing
    }

    /// The name of the user `uid`, or `#uid` where there is no such user.
    fn owner_name(&self, uid: u32) -> String {
        let (known, name) = self.owner.get_or_init(|| (uid, user_name(uid)));
        if *known == uid { name.clone() } else { user_name(uid) }
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
    fn pieces_make_up_the_whole() {
        let scratch = Scratch::new("list-pieces");
        let mut all: Vec<_> = ["d", "a", "c", "b", "e"].map(|name| scratch.add(name, |_| ())).into();
        all.iter_mut().filter(|(id, _)| id.as_str() == "c").for_each(|(_, sleeper)| sleeper.stop());
        std::fs::write(scratch.path("b/state.json"), "{").unwrap();
        std::fs::create_dir(scratch.path("infant")).unwrap();
        let told = |listing: Listing| -> Vec<(String, Status)> {
            listing.containers.into_iter().map(|each| (each.id, each.status)).collect()
        };
        let whole = list(&scratch.runtime).unwrap();
        assert_eq!(whole.failures.len(), 1);
        assert!(whole.failures[0].to_string().contains("state.json of b"), "{}", whole.failures[0]);
        let expected = [("a", Status::Running), ("c", Status::Stopped), ("d", Status::Running), ("e", Status::Running)];
        let whole = told(whole);
        assert_eq!(whole, expected.map(|(id, status)| (id.to_owned(), status)));
        let found = Containers::find(&scratch.runtime).unwrap();
        assert!(found.len() == 6 && !found.is_empty());
        for size in 1..8 {
            let pieces = (0..found.len()).step_by(size).flat_map(|start| told(found.describe(start..start + size)));
            assert_eq!(pieces.collect::<Vec<_>>(), whole, "in pieces of {size}");
        }
        assert!(found.describe(6..usize::MAX).containers.is_empty());
    }
}
