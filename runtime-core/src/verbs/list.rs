//! `list`: the containers of a state root.

use nix::unistd::{Uid, User};

use super::state::{ContainerState, describe};
use crate::state::{Brief, Store};
use crate::{Error, Kind, Result, Runtime};

/// What `list` found.
#[derive(Debug)]
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
    let mut listing = Listing { containers: Vec::new(), failures: Vec::new() };
    let Some(store) = Store::open(runtime)? else {
        return Ok(listing);
    };
    // Nearly always all directories have one owner.
    let mut known: Option<(u32, String)> = None;
    for id in store.ids()? {
        let described = store.brief(&id).and_then(|brief| {
            let owner = owner_name(&brief, &mut known)?;
            describe(brief, owner)
        });
        match described {
            Ok(state) => listing.containers.push(state),
            // Deleted since the directory was read, or not yet a container.
            Err(error) if error.kind() == Kind::NotFound => {}
            Err(error) => listing.failures.push(error),
        }
    }
    Ok(listing)
}

/// The name of the user who owns the container, or `#uid` where there is no such user.
fn owner_name(brief: &Brief, known: &mut Option<(u32, String)>) -> Result<String> {
    let uid = brief.owner()?;
    if let Some((_, name)) = known.as_ref().filter(|(known, _)| *known == uid) {
        return Ok(name.clone());
    }
    // A user database that cannot be read is no reason to hide the container.
    let name = match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => format!("#{uid}"),
    };
    *known = Some((uid, name.clone()));
    Ok(name)
}
