//! What a container's cgroup is to be, and where that will be: [`Spec`] in, [`Record`] out.

use std::borrow::Cow;

use crate::error::{Error, Kind, Result};
use crate::layout::{Layout, Version};
use crate::path;
use crate::record::{Driver, Owner, Record, Unit};
use crate::sys::{self, At, OFlags};
use crate::systemd::property::Property;

/// Which cgroup a container gets.
#[derive(Debug, Clone, Default)]
pub struct Spec<'a> {
    /// The container's id, used for a name when no path is given.
    pub id: &'a str,
    /// `linux.cgroupsPath`: a path (absolute below the mount, or relative to the caller's own cgroup), or `slice:prefix:name`
    /// under systemd.
    pub cgroups_path: Option<&'a str>,
    /// Who makes it.
    pub driver: Driver,
    /// The caller has no right to cgroups but what is delegated to it. Without an explicit path and without limits the container
    /// then runs in the caller's cgroup if none can be made, as with runc; under systemd the user's own manager is asked.
    pub rootless: bool,
    /// Further properties of the systemd unit; see [`Property::from_annotation`].
    pub properties: Vec<Property>,
    /// To whom the cgroup is delegated, for a container with a user namespace and a writable cgroup mount (v2 only).
    pub owner: Option<Owner>,
    /// Under systemd: the container's cgroup is this one below the scope, not the scope itself (v2 only).
    pub subgroup: Option<&'a str>,
    /// A further cgroup below the container's, which its processes live in and manage, and which has no limits of its own (v2 only);
    /// see [`Cgroup::enter_payload`](crate::Cgroup::enter_payload).
    pub payload: Option<&'a str>,
}

/// Works out where the cgroup of `spec` will be; changes nothing.
pub(crate) fn plan(layout: &Layout, spec: &Spec<'_>) -> Result<Record> {
    Record::plan(layout, spec)
}

impl Record {
    /// Works out where the cgroup of `spec` will be; changes nothing.
    fn plan(layout: &Layout, spec: &Spec<'_>) -> Result<Self> {
        let explicit = spec.cgroups_path.is_some_and(|path| !path.is_empty());
        let mut record = Self {
            driver: spec.driver,
            unified_mount: layout.unified().map(str::to_owned),
            rootless: spec.rootless,
            explicit,
            ..Self::default()
        };
        match spec.driver {
            Driver::Cgroupfs => record.plan_paths(layout, spec)?,
            Driver::Systemd => record.plan_unit(layout, spec)?,
        }
        record.plan_below(layout, spec)?;
        Ok(record)
    }

    /// The cgroups below the scope and below the container's own.
    fn plan_below(&mut self, layout: &Layout, spec: &Spec<'_>) -> Result<()> {
        const WHAT: &str = "check the name of a cgroup below the container's";
        let below = |name: &str| -> Result<String> {
            if layout.version() != Version::V2 {
                return Err(Error::new(Kind::Unsupported, WHAT)
                    .with_object(name)
                    .with_reason("it needs cgroup v2: control groups cannot be delegated safely on v1"));
            }
            Ok(path::clean(name, WHAT)?.trim_start_matches('/').to_owned())
        };
        if let (Some(name), Driver::Systemd) = (spec.subgroup.filter(|name| !name.is_empty()), spec.driver) {
            let name = below(name)?;
            self.paths.iter_mut().for_each(|path| *path = format!("{path}/{name}"));
        }
        self.payload = spec.payload.filter(|name| !name.is_empty()).map(below).transpose()?;
        Ok(())
    }

    fn plan_paths(&mut self, layout: &Layout, spec: &Spec<'_>) -> Result<()> {
        const WHAT: &str = "check the cgroups path";
        let wanted = match spec.cgroups_path.filter(|path| !path.is_empty()) {
            Some(path) => path::clean(path, WHAT)?,
            None => path::clean(spec.id, WHAT)?,
        };
        let own = match (wanted.starts_with('/'), layout.own()) {
            (true, _) => None,
            (false, Some(own)) => Some(Cow::Borrowed(own)),
            (false, None) => Some(Cow::Owned(path::read_own_cgroups()?)),
        };
        let below = |mount: &str, controller: &str| match &own {
            None => Ok([mount, &wanted].concat()),
            Some(own) => {
                let start = start(own, controller, layout.version() == Version::V2)?;
                // A container that starts containers may see its own cgroup as the mount's root, under a path of the host's.
                let seen = start.is_empty() || sys::open(At::Absolute, &[mount, &start].concat(), OFlags::PATH).is_ok();
                Ok([mount, if seen { &start } else { "" }, "/", &wanted].concat())
            }
        };
        for hierarchy in layout.hierarchies() {
            let Some((last, others)) = hierarchy.controllers.split_last() else { continue };
            let path = below(&hierarchy.mount, last)?;
            for controller in others {
                self.paths.v1.insert(controller.clone(), path.clone());
            }
            self.paths.v1.insert(last.clone(), path);
        }
        if let Some(mount) = layout.unified() {
            self.paths.unified = Some(below(mount, "")?);
        }
        Ok(())
    }

    fn plan_unit(&mut self, layout: &Layout, spec: &Spec<'_>) -> Result<()> {
        #[cfg(not(feature = "systemd"))]
        crate::systemd::check_built()?;
        if spec.rootless && layout.version() != Version::V2 {
            return Err(Error::new(Kind::Unsupported, "plan the systemd scope").with_reason(
                "a rootless container under systemd needs cgroup v2: v1 controllers cannot be delegated safely",
            ));
        }
        let named = path::unit_path(spec.cgroups_path, spec.id)?;
        let default = if spec.rootless { "user.slice" } else { "system.slice" };
        let slice = if named.slice.is_empty() { default } else { &named.slice };
        let mut inside = path::expand_slice(slice)?;
        if spec.rootless {
            inside = format!("{}{inside}", crate::systemd::user_manager_cgroup()?);
        }
        let inside = if named.unit.ends_with(".slice") {
            if spec.rootless {
                format!("{}{}", crate::systemd::user_manager_cgroup()?, path::expand_slice(&named.unit)?)
            } else {
                path::expand_slice(&named.unit)?
            }
        } else {
            format!("{inside}/{}", named.unit)
        };
        for hierarchy in layout.hierarchies() {
            for controller in &hierarchy.controllers {
                self.paths.v1.insert(controller.clone(), format!("{}{inside}", hierarchy.mount));
            }
        }
        if let Some(mount) = layout.unified() {
            self.paths.unified = Some(format!("{mount}{inside}"));
        }
        self.unit = Some(Unit { name: named.unit, slice: slice.to_owned(), user: spec.rootless });
        Ok(())
    }
}

/// Where a relative path starts: at the caller's own cgroup on v1, and beside it on v2, where a cgroup with processes cannot have
/// children with controllers. runc does likewise.
fn start(own: &str, controller: &str, beside: bool) -> Result<String> {
    const WHAT: &str = "find the caller's own cgroup";
    let here = path::own_cgroup(own, controller).unwrap_or("/");
    let start =
        if beside { here.rsplit_once('/').map_or("", |(parent, _)| parent) } else { here.trim_end_matches('/') };
    // A caller in another cgroup namespace sees itself outside, as /../x.
    if start.is_empty() { Ok(String::new()) } else { path::clean(start, WHAT) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Hierarchy;

    fn hybrid() -> Layout {
        let one = |names: &[&str], dir: &str| Hierarchy {
            controllers: names.iter().map(|name| (*name).to_owned()).collect(),
            mount: format!("/cg/{dir}"),
        };
        Layout::v1(
            vec![one(&["cpu", "cpuacct"], "cpu,cpuacct"), one(&["name=systemd"], "systemd")],
            Some("/cg/unified".to_owned()),
        )
    }

    #[test]
    fn absolute_paths_lie_below_every_mount() {
        let spec = Spec { id: "c1", cgroups_path: Some("/docker/c1"), ..Spec::default() };
        let record = Record::plan(&hybrid(), &spec).unwrap();
        let found: Vec<_> = record.paths.v1.iter().map(|(name, path)| format!("{name}={path}")).collect();
        assert_eq!(record.paths.unified.as_deref(), Some("/cg/unified/docker/c1"));
        assert_eq!(
            found,
            [
                "cpu=/cg/cpu,cpuacct/docker/c1",
                "cpuacct=/cg/cpu,cpuacct/docker/c1",
                "name=systemd=/cg/systemd/docker/c1"
            ]
        );
        assert!(record.explicit && record.made.is_empty());
    }

    #[test]
    #[cfg(feature = "systemd")]
    fn systemd_paths_follow_the_slice() {
        let spec = Spec { id: "c1", cgroups_path: Some("a-b.slice:x:c1"), driver: Driver::Systemd, ..Spec::default() };
        let record = Record::plan(&Layout::v2("/cg"), &spec).unwrap();
        assert_eq!(record.paths.unified.unwrap(), "/cg/a.slice/a-b.slice/x-c1.scope");
        let record = Record::plan(&Layout::v2("/cg"), &Spec { cgroups_path: None, ..spec }).unwrap();
        assert_eq!(record.paths.unified.unwrap(), "/cg/system.slice/orlop-c1.scope");
        assert_eq!(record.unit.unwrap().slice, "system.slice");
    }

    #[test]
    #[cfg(feature = "systemd")]
    fn cgroups_below_the_scope_and_the_container() {
        let spec = Spec {
            id: "c1",
            cgroups_path: Some("a.slice:x:c1"),
            driver: Driver::Systemd,
            subgroup: Some("container"),
            payload: Some("/payload"),
            ..Spec::default()
        };
        let record = Record::plan(&Layout::v2("/cg"), &spec).unwrap();
        assert_eq!(record.paths.unified.as_deref(), Some("/cg/a.slice/x-c1.scope/container"));
        assert_eq!((record.payload.as_deref(), record.below_unit()), (Some("payload"), "/container"));
        let plain = Spec { subgroup: Some(""), payload: None, ..spec.clone() };
        assert_eq!(Record::plan(&Layout::v2("/cg"), &plain).unwrap().below_unit(), "/");
        assert_eq!(Record::plan(&hybrid(), &spec).unwrap_err().kind(), Kind::Unsupported);
        let outside = Spec { subgroup: Some("../x"), ..spec.clone() };
        assert_eq!(Record::plan(&Layout::v2("/cg"), &outside).unwrap_err().kind(), Kind::InvalidPath);
        // There is no scope.
        let directories = Spec { driver: Driver::Cgroupfs, cgroups_path: Some("/a"), payload: None, ..spec };
        assert_eq!(Record::plan(&Layout::v2("/cg"), &directories).unwrap().paths.unified.unwrap(), "/cg/a");
    }

    #[test]
    fn relative_paths_start_at_or_beside_the_caller() {
        let own = "4:memory:/a/b\n2:pids:/\n0::/u/s\n";
        let table =
            [("memory", false, "/a/b"), ("pids", false, ""), ("cpu", false, ""), ("", false, "/u/s"), ("", true, "/u")];
        for (controller, beside, expected) in table {
            assert_eq!(start(own, controller, beside).unwrap(), expected, "{controller} {beside}");
        }
        assert!(start("0::/../x/y\n", "", true).is_err());
    }

    #[test]
    fn records_survive_the_state_file() {
        let spec = Spec { id: "c1", cgroups_path: Some("/x"), ..Spec::default() };
        let record = Record::plan(&hybrid(), &spec).unwrap();
        let text = serde_json::to_string(&record).unwrap();
        // runc's names, which state files have had from the first version on.
        assert!(text.contains(r#""paths":{"":"/cg/unified/x","cpu":"/cg/cpu,cpuacct/x","cpuacct":"#), "{text}");
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }
}
