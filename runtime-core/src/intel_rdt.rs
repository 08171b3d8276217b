//! Intel RDT: a container's class of service in the resctrl file system.

use crate::config::IntelRdt;
use crate::state::IntelRdtRecord;
use crate::{ContainerId, Error, HostPid, Kind, Result, Step};

/// Puts `pid` into its class of service.
pub(crate) fn set_up(_rdt: &IntelRdt<'_>, _id: &ContainerId, _pid: HostPid) -> Result<IntelRdtRecord> {
    Err(Error::new(Kind::Unsupported, Step::SetUpIntelRdt)
        .field("/linux/intelRdt")
        .detail("this build cannot set it up"))
}

/// Takes the container's directories in resctrl away.
pub(crate) fn remove(_record: &IntelRdtRecord) -> Result<()> {
    Ok(())
}
