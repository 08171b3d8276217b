//! From a resources object to the files to write: a pure function, so that a plan can be printed and tested without a cgroup.

mod v1;
mod v2;

use std::borrow::Cow;

use crate::error::{Error, Kind, Result};
use crate::layout::Layout;
use crate::resources::Resources;

/// Which directory of the container a file is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The v1 hierarchy of this controller.
    V1(&'static str),
    /// The v2 tree.
    Unified,
}

/// What a missing file means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Absent {
    /// The limit cannot be set: an error.
    Fail,
    /// There is nothing to limit: no error (no swap on this host, no reservation accounting in an older kernel).
    Ignore,
    /// Another file does the same job.
    Instead {
        /// That file.
        file: &'static str,
        /// The value in that file's terms.
        value: String,
    },
}

/// One value to write to one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write<'a> {
    /// The directory.
    pub place: Place,
    /// The file in it.
    pub file: Cow<'a, str>,
    /// The text to write, in a single call.
    pub value: Cow<'a, str>,
    /// The field it comes from, as a JSON pointer relative to `linux.resources`.
    pub pointer: Cow<'static, str>,
    /// What a missing file means.
    pub absent: Absent,
    /// The kernel checks this value against another one that is written later, so a refusal counts only after those are written.
    pub retry: bool,
    /// The first word is not to be changed if the file has one already (a CPU period given without a quota).
    pub keep_first: bool,
}

impl<'a> Write<'a> {
    fn new(
        place: Place,
        file: impl Into<Cow<'a, str>>,
        value: impl Into<Cow<'a, str>>,
        pointer: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            place,
            file: file.into(),
            value: value.into(),
            pointer: pointer.into(),
            absent: Absent::Fail,
            retry: false,
            keep_first: false,
        }
    }

    /// Makes an idle cgroup of v2 an ordinary one; older kernels have none that are idle.
    #[cfg(feature = "systemd")]
    pub(crate) fn not_idle() -> Self {
        Self::new(Place::Unified, "cpu.idle", "0", "/cpu/idle").or(Absent::Ignore)
    }

    fn or(mut self, absent: Absent) -> Self {
        self.absent = absent;
        self
    }

    fn retried(mut self) -> Self {
        self.retry = true;
        self
    }

    /// The controller whose file this is, by the file's name.
    pub(crate) fn controller(&self) -> &str {
        match self.place {
            Place::V1(controller) => controller,
            Place::Unified => self.file.split('.').next().unwrap_or_default(),
        }
    }
}

/// Where controllers are to be found.
#[derive(Clone, Copy)]
pub(crate) struct Mounts<'a> {
    /// Whether a v1 hierarchy has the controller.
    pub(crate) v1: &'a dyn Fn(&str) -> bool,
    /// Whether there is a v2 tree.
    pub(crate) unified: bool,
}

impl Mounts<'_> {
    /// Whether `controller` is used in its v1 form. On a hybrid host v1 comes first, since the v2 tree cannot have a controller
    /// that a v1 hierarchy has.
    fn is_v1(&self, controller: &str, pointer: &str) -> Result<bool> {
        match (self.v1)(controller) {
            true => Ok(true),
            false if self.unified => Ok(false),
            false => Err(not_mounted(controller, pointer)),
        }
    }

    /// Fills `list` in the form in which `controller` is used. Where it is not mounted at all, an object that asks for nothing
    /// (engines send empty ones) is no error.
    fn choose<'w>(
        &self,
        controller: &str,
        list: &mut Vec<Write<'w>>,
        v1: impl FnOnce(&mut Vec<Write<'w>>) -> Result<()>,
        v2: impl FnOnce(&mut Vec<Write<'w>>) -> Result<()>,
    ) -> Result<()> {
        let before = list.len();
        match (self.v1)(controller) {
            true => v1(list),
            false if self.unified => v2(list),
            false => {
                v1(list)?;
                list.get(before).map_or(Ok(()), |write| Err(not_mounted(controller, &write.pointer)))
            }
        }
    }
}

fn not_mounted(controller: &str, pointer: &str) -> Error {
    Error::new(Kind::Unsupported, "set a limit")
        .with_field(pointer)
        .with_reason(format!("controller {controller:?} is not mounted on this host"))
}

/// All files to write for `resources` on a host like `layout`, in order. Device rules are not among them, since they are a list of
/// files on v1 and a program on v2.
///
/// # Errors
/// [`Kind::InvalidResources`] for a value that can never be applied, [`Kind::Unsupported`] for a field that this layout has nothing
/// for; both with the JSON pointer of the field.
pub fn writes<'a>(resources: &'a Resources<'_>, layout: &Layout) -> Result<Vec<Write<'a>>> {
    let v1 = |controller: &str| layout.hierarchy(controller).is_some();
    writes_for(resources, Mounts { v1: &v1, unified: layout.unified().is_some() })
}

pub(crate) fn writes_for<'a>(resources: &'a Resources<'_>, mounts: Mounts<'_>) -> Result<Vec<Write<'a>>> {
    let mut list = Vec::new();
    if let Some(limit) = resources.pids.and_then(|pids| pids.limit) {
        list.push(pids(limit, mounts)?);
    }
    if let Some(memory) = &resources.memory {
        mounts.choose("memory", &mut list, |list| v1::memory(memory, list), |list| v2::memory(memory, list))?;
    }
    if let Some(block_io) = &resources.block_io {
        mounts.choose("blkio", &mut list, |list| v1::block_io(block_io, list), |list| v2::block_io(block_io, list))?;
    }
    if let Some(cpu) = &resources.cpu {
        // A weight that would have no effect is left out: see `Resources::without_effect`.
        let weighed = !resources.idles();
        mounts.choose("cpu", &mut list, |list| v1::cpu(cpu, weighed, list), |list| v2::cpu(cpu, weighed, list))?;
        cpuset(cpu, mounts, &mut list)?;
    }
    for (index, page) in resources.hugepage_limits.iter().enumerate() {
        hugetlb(index, page, mounts, &mut list)?;
    }
    for (device, limits) in &resources.rdma {
        if let Some(write) = rdma(device, limits, mounts)? {
            list.push(write);
        }
    }
    if let Some(network) = &resources.network {
        v1::network(network, mounts, &mut list)?;
    }
    v2::unified(resources, mounts, &mut list)?;
    Ok(list)
}

fn pids(limit: i64, mounts: Mounts<'_>) -> Result<Write<'static>> {
    const POINTER: &str = "/pids/limit";
    let value: Cow<'static, str> = match limit {
        ..0 => "max".into(),
        // The kernel would take 0, but systemd does not, and 1 means the same: the container's first process is never counted
        // against the limit while it joins. runc does likewise.
        0 => "1".into(),
        _ => limit.to_string().into(),
    };
    let place = if mounts.is_v1("pids", POINTER)? { Place::V1("pids") } else { Place::Unified };
    Ok(Write::new(place, "pids.max", value, POINTER))
}

fn cpuset<'a>(cpu: &'a crate::resources::Cpu<'_>, mounts: Mounts<'_>, list: &mut Vec<Write<'a>>) -> Result<()> {
    let lists = [("cpuset.cpus", &cpu.cpus, "/cpu/cpus"), ("cpuset.mems", &cpu.mems, "/cpu/mems")];
    for (file, value, pointer) in lists {
        if !value.is_empty() {
            let place = if mounts.is_v1("cpuset", pointer)? { Place::V1("cpuset") } else { Place::Unified };
            list.push(Write::new(place, file, value.as_ref(), pointer));
        }
    }
    Ok(())
}

fn hugetlb<'a>(
    index: usize,
    page: &'a crate::resources::HugepageLimit<'_>,
    mounts: Mounts<'_>,
    list: &mut Vec<Write<'a>>,
) -> Result<()> {
    let size = page.page_size.as_ref();
    let digits = size.trim_end_matches("KB").trim_end_matches("MB").trim_end_matches("GB");
    if digits.len() + 2 != size.len() || digits.parse::<u64>().is_err() {
        return Err(Error::resources(
            format!("/hugepageLimits/{index}/pageSize"),
            format!("{size:?} is not a page size such as 64KB, 2MB or 1GB"),
        ));
    }
    let pointer = format!("/hugepageLimits/{index}/limit");
    let (place, suffix) = if mounts.is_v1("hugetlb", &pointer)? {
        (Place::V1("hugetlb"), "limit_in_bytes")
    } else {
        (Place::Unified, "max")
    };
    let value = page.limit.to_string();
    // Reservations are limited too, or a process could reserve pages it is not allowed to use; kernels before 5.7 cannot.
    list.push(Write::new(place, format!("hugetlb.{size}.{suffix}"), value.clone(), pointer.clone()));
    list.push(Write::new(place, format!("hugetlb.{size}.rsvd.{suffix}"), value, pointer).or(Absent::Ignore));
    Ok(())
}

fn rdma(device: &str, limits: &crate::resources::Rdma, mounts: Mounts<'_>) -> Result<Option<Write<'static>>> {
    let pointer = format!("/rdma/{}", device.replace('~', "~0").replace('/', "~1"));
    if device.is_empty() || device.contains([' ', '\n']) {
        return Err(Error::resources(pointer, "a device name has no blanks"));
    }
    let mut value = device.to_owned();
    if let Some(handles) = limits.hca_handles {
        value.push_str(&format!(" hca_handle={handles}"));
    }
    if let Some(objects) = limits.hca_objects {
        value.push_str(&format!(" hca_object={objects}"));
    }
    if value.len() == device.len() {
        return Ok(None);
    }
    let place = if mounts.is_v1("rdma", &pointer)? { Place::V1("rdma") } else { Place::Unified };
    Ok(Some(Write::new(place, "rdma.max", value, pointer)))
}

/// A size in bytes for a file where -1 means no limit; none when it is absent or 0.
fn size(value: Option<i64>, pointer: &'static str) -> Result<Option<i64>> {
    match value.unwrap_or(0) {
        0 => Ok(None),
        ..=-2 => Err(Error::resources(pointer, format!("{} is neither a size nor -1", value.unwrap_or(0)))),
        size => Ok(Some(size)),
    }
}

/// What cannot be done on this layout at all.
fn refuse(pointer: impl Into<String>, detail: &str) -> Error {
    Error::new(Kind::Unsupported, "set a limit").with_field(pointer).with_reason(detail)
}

#[cfg(test)]
mod tests;
