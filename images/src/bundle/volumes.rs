//! The mounts that a container is given: directories of the host, volumes, tmpfs.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::base::{Dir, Error, Kind, Result, Step};
use crate::bundle::options::{ContainerOptions, wrong};
use crate::bundle::{Mount, Place, What, value};

/// How many volumes an image may have: each is a directory on the host and a mount.
const VOLUMES: usize = 1000;

/// The mounts of the options and the volumes of the image, in the order in which they lie on each other.
pub(super) fn mounts(
    options: &ContainerOptions,
    of_image: &BTreeMap<String, Value>,
    place: &Place<'_>,
) -> Result<Vec<Value>> {
    let mut all: Vec<Mount> = Vec::new();
    for mount in &options.mounts {
        if all.iter().any(|there| there.target == mount.target) {
            return Err(wrong(format!("two mounts on {}", mount.target)));
        }
        all.push(mount.clone());
    }
    if of_image.len() > VOLUMES {
        let error = Error::new(Kind::Limit, Step::Bundle).object_is("volumes of the image");
        return Err(error.reason_is(format!("{}; {VOLUMES} are allowed", of_image.len())));
    }
    for target in of_image.keys() {
        let target =
            value::directory(target).map_err(|error| error.object_is(format!("volume {target:?} of the image")))?;
        // What is mounted there anyway takes the place of the image's volume.
        if target != "/" && !all.iter().any(|there| there.target == target) {
            all.push(Mount { what: What::Volume { name: None, copy: true }, target, read_only: false });
        }
    }
    // A directory comes before what is in it.
    all.sort_by_key(|mount| mount.target.matches('/').count());
    let mut number = 0;
    all.iter().map(|mount| entry(mount, place, &mut number)).collect()
}

fn entry(mount: &Mount, place: &Place<'_>, number: &mut u32) -> Result<Value> {
    let access = if mount.read_only { "ro" } else { "rw" };
    let bind = |source: &Path, propagation: &str| {
        let options = ["rbind", propagation, access];
        json!({ "destination": mount.target, "type": "bind", "source": source, "options": options })
    };
    Ok(match &mount.what {
        What::Bind { source, propagation, create } => bind(&existing(source, *create)?, propagation),
        What::Volume { name: Some(name), copy } => {
            let volume = volume(place.volumes, name, &mount.target, *copy, place)?;
            bind(volume.path(), "rprivate")
        }
        What::Volume { name: None, copy } => {
            *number += 1;
            let volumes = place.dir.sub(Step::Bundle, "volumes")?;
            let volume = volume(&volumes, &number.to_string(), &mount.target, *copy, place)?;
            bind(volume.path(), "rprivate")
        }
        What::Tmpfs { options } => {
            let options: Vec<&str> = options.iter().map(String::as_str).chain([access]).collect();
            json!({ "destination": mount.target, "type": "tmpfs", "source": "tmpfs", "options": options })
        }
    })
}

/// The source of a bind, absolute.
fn existing(source: &Path, create: bool) -> Result<std::path::PathBuf> {
    let failed = |error: &std::io::Error| Error::io(Step::Bundle, error).object_is(source.display().to_string());
    let source = std::path::absolute(source).map_err(|error| failed(&error))?;
    match std::fs::metadata(&source) {
        Ok(_) => Ok(source),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && create => {
            std::fs::create_dir_all(&source).map_err(|error| failed(&error))?;
            Ok(source)
        }
        Err(error) => Err(failed(&error)),
    }
}

/// The directory of a volume below `volumes`. A new one begins as a copy of what the image has there.
fn volume(volumes: &Dir, name: &str, target: &str, copy: bool, place: &Place<'_>) -> Result<Dir> {
    let named = |error: Error| if error.object().is_none() { error.object_is(format!("volume {name}")) } else { error };
    if volumes.stat(Step::Bundle, name)?.is_some() {
        return volumes.sub(Step::Bundle, name);
    }
    // It gets its name when it is complete: a copy that broke off is not taken for a volume.
    let temporary = format!(".{name}.{}", std::process::id());
    let made = volumes.sub(Step::Bundle, &temporary)?;
    let copied = if copy { place.files.copy_directory(target, &made) } else { Ok(false) };
    let mode = rustix::fs::Mode::from_raw_mode(0o755);
    let ready = copied.and_then(|copied| match copied {
        true => Ok(()),
        false => rustix::fs::fchmod(&made, mode).map_err(|errno| Error::os(Step::Bundle, errno.raw_os_error())),
    });
    let named_now = ready.and_then(|()| {
        let renamed = rustix::fs::renameat_with(volumes, &temporary, volumes, name, rustix::fs::RenameFlags::NOREPLACE);
        match renamed {
            Ok(()) => Ok(true),
            // Another container was faster.
            Err(rustix::io::Errno::EXIST) => Ok(false),
            Err(errno) => Err(Error::os(Step::Bundle, errno.raw_os_error())),
        }
    });
    if !matches!(named_now, Ok(true)) {
        discard(volumes, &temporary);
    }
    named_now.map_err(named)?;
    volumes.sub(Step::Bundle, name)
}

/// Removes what is left of a volume that did not come to be.
fn discard(volumes: &Dir, name: &str) {
    // The error that led here says more than one about the remains.
    drop(std::fs::remove_dir_all(volumes.path().join(name)));
}
