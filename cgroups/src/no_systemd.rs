//! In the place of the systemd driver where it is not built in: whatever needs systemd is refused by name.

use std::time::Duration;

use crate::cgroup::Cgroup;
use crate::error::{Error, Kind, Result};
use crate::resources::Resources;
use crate::writes::Write;

pub use self::property::Property;

fn refused(what: &'static str) -> Error {
    Error::new(Kind::Unsupported, what).with_reason("built without the feature systemd")
}

pub(crate) fn check_built() -> Result<()> {
    Err(refused("plan the systemd scope"))
}

/// None answers.
///
/// # Errors
/// [`Kind::Unsupported`].
pub fn systemd_version(_: bool) -> Result<u32> {
    Err(refused("ask systemd"))
}

pub(crate) fn user_manager_cgroup() -> Result<String> {
    Err(refused("ask systemd"))
}

pub(crate) fn check_vacant(cgroup: &Cgroup) -> Result<()> {
    Err(refused("make the systemd unit").with_object(cgroup.main_path()))
}

pub(crate) fn attach(cgroup: &mut Cgroup, _: crate::Pid) -> Result<()> {
    Err(refused("make the systemd unit").with_object(cgroup.main_path()))
}

/// Of a unit that another build has made; its limits are refused by [`set_properties`].
pub(crate) fn settle(_: &Resources<'_>, _: &mut Vec<Write<'_>>) {}

pub(crate) fn set_properties(cgroup: &Cgroup, _: &Resources<'_>) -> Result<()> {
    Err(refused("set properties of the systemd unit").with_object(cgroup.main_path()))
}

pub(crate) fn stop(cgroup: &Cgroup, _: Duration) -> Result<()> {
    match &cgroup.record.unit {
        None => Ok(()),
        Some(unit) => Err(refused("stop the systemd unit").with_object(&unit.name)),
    }
}

pub(crate) mod property {
    use crate::error::Result;
    use crate::resources::Resources;

    /// One property of a systemd unit, of which there is none in this build.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Property {}

    impl Property {
        /// None: a systemd cgroup is refused where it is planned.
        ///
        /// # Errors
        /// None.
        pub fn from_annotation(_: &str, _: &str) -> Result<Option<Self>> {
            Ok(None)
        }

        /// None.
        #[must_use]
        pub fn for_start(_: &Resources<'_>) -> Option<Self> {
            None
        }

        /// The property's name.
        #[must_use]
        pub fn name(&self) -> &str {
            match *self {}
        }
    }

    impl std::fmt::Display for Property {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            match *self {}
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{Cgroup, Driver, Kind, Layout, Spec};

    #[test]
    fn without_the_feature_a_systemd_cgroup_is_refused_by_name() {
        let spec = Spec { id: "c1", driver: Driver::Systemd, ..Spec::default() };
        let error = Cgroup::plan(&Layout::v2("/cg"), &spec).unwrap_err();
        assert_eq!(error.kind(), Kind::Unsupported);
        assert_eq!(error.to_string(), "plan the systemd scope: built without the feature systemd");
    }
}
