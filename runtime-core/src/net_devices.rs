//! Network devices of the host that move into a container.

use crate::{Error, HostPid, Kind, Result, Step};

/// Moves each device (its name, and its name in the container) into the network namespace of `pid`.
pub(crate) fn move_all<'d>(devices: impl Iterator<Item = (&'d str, &'d str)>, _pid: HostPid) -> Result<()> {
    for (device, _) in devices {
        return Err(Error::new(Kind::Unsupported, Step::SetUpNetwork)
            .object(device)
            .field("/linux/netDevices")
            .detail("this build cannot move network devices"));
    }
    Ok(())
}
