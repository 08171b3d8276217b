//! `state`: what a container is and what it is doing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use orlop_cgroups::Freezers;
use serde::{Serialize, Serializer};

use crate::base::{ContainerId, HostPid, Result, Runtime, Status};
use crate::parent::liveness;
use crate::state::{Brief, Store};

/// What `state` prints and `list` lists: runtime-spec's state with runc's additions. Serialized, it is runc's JSON, in runc's
/// order; `annotations` is absent when empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ContainerState {
    /// The `ociVersion` of the container's config.
    pub oci_version: String,
    /// The id.
    pub id: ContainerId,
    /// Its first process; `None`, in JSON 0, when it is stopped or still creating.
    #[serde(serialize_with = "or_zero")]
    pub pid: Option<HostPid>,
    /// The status.
    pub status: Status,
    /// The absolute path of the bundle.
    pub bundle: PathBuf,
    /// The absolute path of the root file system.
    pub rootfs: PathBuf,
    /// When it was created: RFC 3339, UTC, up to nine decimals.
    pub created: String,
    /// The config's annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "sorted")]
    pub annotations: BTreeMap<String, String>,
    /// The name of the user that owns the state file, or `#uid`; empty from [`state()`], as in runc.
    pub owner: String,
}

fn or_zero<S: Serializer>(pid: &Option<HostPid>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_i32(pid.map_or(0, HostPid::get))
}

fn sorted<S: Serializer>(map: &BTreeMap<String, String>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_map(map)
}

/// The state of the container `id`.
///
/// # Errors
/// [`crate::Kind::NotFound`] when there is none; [`crate::Kind::State`] when its state file is damaged.
pub fn state(runtime: &Runtime, id: &ContainerId) -> Result<ContainerState> {
    let store = Store::open(runtime)?.ok_or_else(|| crate::state::not_found(id))?;
    describe(store.brief(id, &mut Vec::new())?, String::new(), &mut Freezers::default())
}

/// The state of a container whose record is read, as one of many that `freezers` is for.
pub(crate) fn describe(brief: Brief<'_>, owner: String, freezers: &mut Freezers) -> Result<ContainerState> {
    let status = liveness::status_briefly(&brief, freezers)?;
    let id = brief.id().clone();
    let pid = match status {
        Status::Stopped | Status::Creating => None,
        _ => brief.init.map(|init| init.pid),
    };
    Ok(ContainerState {
        oci_version: brief.oci_version,
        id,
        pid,
        status,
        bundle: brief.bundle.into(),
        rootfs: brief.rootfs.into(),
        created: brief.created,
        annotations: brief.annotations,
        owner,
    })
}
