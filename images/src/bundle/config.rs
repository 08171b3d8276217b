//! config.json.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::base::{Error, Kind, Result, Step};
use crate::bundle::options::{ContainerOptions, Seccomp, wrong};
use crate::bundle::{Network, Place, User, capability, files, look_up, seccomp, volumes};
use crate::model::{Image, ImageConfig};
use crate::userns::{IdMaps, IdRange};

const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The longest argument or variable that the kernel takes, with its end (MAX_ARG_STRLEN), and the most of them together: three
/// quarters of the usual stack.
const LONGEST_STRING: usize = 128 << 10;
const ALL_STRINGS: usize = 6 << 20;
/// Where the init of `--init` is in the container.
const INIT: &str = "/sbin/docker-init";

/// Where something is mounted in every container. The runtime makes these places where the image has none.
pub const MOUNT_POINTS: [&str; 7] = ["/dev", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/proc", INIT, "/sys"];

const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Writes the bundle of a container of `image` into its directory, and returns its config.
pub fn write(image: &Image, options: &ContainerOptions, place: &Place<'_>) -> Result<Value> {
    let config = &image.config;
    if config.os != "linux" {
        let error =
            Error::new(Kind::Unsupported, Step::Bundle).object_is(format!("{}/{}", config.os, config.architecture));
        return Err(error.reason_is("only images for Linux run here"));
    }
    let user_text = options.user.as_deref().unwrap_or(&config.config.user);
    let user = look_up(user_text, &|path, limit| place.files.read(path, limit))?;
    let capabilities = capability::of(&options.cap_add, &options.cap_drop, capability::to_be_had());
    let (devices, device_rules) = files::devices(&options.devices)?;
    let mut mounts: Vec<Value> = place.root_mount.cloned().into_iter().collect();
    mounts.extend(default_mounts(options, place));
    mounts.extend(files::write(options, place)?);
    mounts.extend(volumes::mounts(options, &config.config.volumes, place)?);
    let init = options.init.then(files::init_program).transpose()?;
    if let Some(program) = &init {
        mounts.push(json!({ "destination": INIT, "type": "bind", "source": program, "options": ["bind", "ro"] }));
    }
    let value = json!({
        "ociVersion": "1.3.0",
        "process": process(config, options, place, &user, &capabilities)?,
        "root": { "path": place.root, "readonly": options.read_only },
        "hostname": options.hostname.as_deref().unwrap_or(place.name),
        "mounts": mounts,
        "annotations": annotations(config),
        "linux": linux(config, options, place, &capabilities, devices, device_rules)?,
    });
    let text = serde_json::to_vec_pretty(&value);
    let text = text.map_err(|error| Error::new(Kind::System, Step::Bundle).reason_is(error.to_string()))?;
    place.dir.replace_for_now(Step::Bundle, "config.json", &text)?;
    Ok(value)
}

fn process(
    config: &ImageConfig,
    options: &ContainerOptions,
    place: &Place<'_>,
    user: &User,
    capabilities: &[String],
) -> Result<Value> {
    let mut args = command(config, options)?;
    if options.init {
        args.splice(0..0, [INIT.to_owned(), "--".to_owned()]);
    }
    let cwd = match (options.workdir.as_deref(), config.config.working_dir.as_str()) {
        (Some(cwd), _) => cwd.to_owned(),
        (None, "") => "/".to_owned(),
        (None, cwd) => super::value::directory(&format!("/{cwd}"))?,
    };
    if cwd != "/" {
        place.files.make_directory(&cwd)?;
    }
    let env = environment(config, options, place, user);
    fits_execve(&args, &env)?;
    let own = if user.uid == 0 { capabilities } else { &[] };
    let mut process = json!({
        "terminal": options.terminal,
        "user": { "uid": user.uid, "gid": user.gid, "additionalGids": user.additional_gids },
        "args": args,
        "env": env,
        "cwd": cwd,
        // A user who is not root has them within reach only, through files with capabilities, as in Docker.
        "capabilities": { "bounding": capabilities, "effective": own, "permitted": own },
        "noNewPrivileges": options.security.no_new_privileges,
    });
    if place.ids.is_none() {
        // An ordinary user's session may have a worse one, which only root may better.
        insert(&mut process, "oomScoreAdj", json!(0));
    }
    if let Some(profile) = options.security.apparmor.as_deref().filter(|profile| *profile != "unconfined") {
        insert(&mut process, "apparmorProfile", json!(profile));
    }
    if !options.ulimits.is_empty() {
        let limits =
            options.ulimits.iter().map(|(name, soft, hard)| json!({ "type": name, "soft": soft, "hard": hard }));
        insert(&mut process, "rlimits", limits.collect());
    }
    Ok(process)
}

/// What is run: a new entrypoint drops the image's command with the image's entrypoint.
fn command(config: &ImageConfig, options: &ContainerOptions) -> Result<Vec<String>> {
    let entrypoint = match options.entrypoint.as_deref() {
        Some("") => Vec::new(),
        Some(program) => vec![program.to_owned()],
        None => config.config.entrypoint.clone(),
    };
    let command = match (options.command.is_empty(), &options.entrypoint) {
        (true, None) => &config.config.cmd,
        _ => &options.command,
    };
    let args: Vec<String> = entrypoint.into_iter().chain(command.iter().cloned()).collect();
    match args.first() {
        None => Err(wrong("the image names no command").hint_is("give one after the image")),
        Some(program) if program.is_empty() => Err(wrong("the command is empty")),
        Some(_) => Ok(args),
    }
}

/// The image's variables, then the options'; what is set twice has the later value in the earlier place.
fn environment(config: &ImageConfig, options: &ContainerOptions, place: &Place<'_>, user: &User) -> Vec<String> {
    let hostname = options.hostname.as_deref().unwrap_or(place.name);
    let mut defaults = vec![PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if options.terminal {
        defaults.push("TERM=xterm".to_owned());
    }
    if let Some(home) = &user.home {
        defaults.push(format!("HOME={home}"));
    }
    // What the image says without a value, or with a zero byte, is no variable.
    let usable = |variable: &&String| variable.contains('=') && !variable.starts_with('=') && !variable.contains('\0');
    let mut merged: Vec<Option<&String>> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for variable in defaults.iter().chain(config.config.env.iter().filter(usable)).chain(&options.env) {
        let Some((name, _)) = variable.split_once('=') else {
            if let Some(place) = places.remove(variable.as_str()).and_then(|at| merged.get_mut(at)) {
                *place = None;
            }
            continue;
        };
        match places.get(name).and_then(|at| merged.get_mut(*at)) {
            Some(place) => *place = Some(variable),
            None => {
                places.insert(name, merged.len());
                merged.push(Some(variable));
            }
        }
    }
    merged.into_iter().flatten().cloned().collect()
}

/// Refuses what execve(2) would refuse, so that it is told before anything is made.
fn fits_execve(args: &[String], env: &[String]) -> Result<()> {
    let limit = |reason: String| {
        let error = Error::new(Kind::Limit, Step::Bundle).object_is("command and environment");
        Err(error.reason_is(reason))
    };
    let all = || args.iter().chain(env).map(String::len);
    if let Some(length) = all().find(|length| *length >= LONGEST_STRING) {
        return limit(format!("one string of {length} bytes; the kernel takes {}", LONGEST_STRING - 1));
    }
    let sum: usize = all().map(|length| length + 1 + size_of::<usize>()).sum();
    if sum > ALL_STRINGS { limit(format!("{sum} bytes; the kernel takes {ALL_STRINGS}")) } else { Ok(()) }
}

fn default_mounts(options: &ContainerOptions, place: &Place<'_>) -> Vec<Value> {
    let mount = |destination: &str, kind: &str, source: &str, options: &str| {
        let options: Vec<&str> = options.split(',').collect();
        json!({ "destination": destination, "type": kind, "source": source, "options": options })
    };
    let cgroups = if options.security.writable_cgroups { "rw" } else { "ro" };
    // The group of terminals is one that a user namespace need not have.
    let tty = place.ids.is_none_or(|ids| has(&ids.gids, 5));
    let pts = format!("nosuid,noexec,newinstance,ptmxmode=0666,mode=0620{}", if tty { ",gid=5" } else { "" });
    let sys = if place.ids.is_some() && *place.network == Network::Host {
        // A new sysfs needs a network namespace of the same user namespace.
        mount("/sys", "bind", "/sys", "rbind,nosuid,noexec,nodev,ro")
    } else {
        mount("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro")
    };
    let all = [
        mount("/proc", "proc", "proc", "nosuid,noexec,nodev"),
        mount("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
        mount("/dev/pts", "devpts", "devpts", &pts),
        sys,
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &format!("nosuid,noexec,nodev,{cgroups}")),
        mount("/dev/mqueue", "mqueue", "mqueue", "nosuid,noexec,nodev"),
        mount("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777,size=67108864"),
    ];
    // What the user mounts there takes the place of the default.
    let replaced =
        |each: &Value| options.mounts.iter().any(|mount| each.get("destination") == Some(&json!(mount.target)));
    all.into_iter().filter(|each| !replaced(each)).collect()
}

fn has(ranges: &[IdRange], id: u32) -> bool {
    ranges.iter().any(|range| id.wrapping_sub(range.container) < range.size)
}

fn linux(
    config: &ImageConfig,
    options: &ContainerOptions,
    place: &Place<'_>,
    capabilities: &[String],
    devices: Vec<Value>,
    device_rules: Vec<Value>,
) -> Result<Value> {
    let mut namespaces = vec![json!({ "type": "mount" })];
    namespaces.extend(["uts", "ipc", "pid", "cgroup"].map(|kind| json!({ "type": kind })));
    match place.network {
        Network::New => namespaces.push(json!({ "type": "network" })),
        Network::Made(path) => namespaces.push(json!({ "type": "network", "path": path })),
        Network::Shared { pid, .. } => {
            namespaces.push(json!({ "type": "network", "path": format!("/proc/{pid}/ns/net") }));
        }
        Network::Host => {}
    }
    let mut linux = json!({
        "namespaces": namespaces,
        "resources": resources(options, place, device_rules),
        "devices": devices,
        "sysctl": sysctls(options, place),
    });
    if let Some(path) = place.control_group {
        insert(&mut linux, "cgroupsPath", json!(path));
    }
    if let Some(ids) = place.ids {
        user_namespace(&mut linux, ids, place.network);
    }
    if !options.security.unmasked {
        insert(&mut linux, "maskedPaths", json!(MASKED));
        insert(&mut linux, "readonlyPaths", json!(READ_ONLY));
    }
    let capabilities: Vec<&str> = capabilities.iter().map(String::as_str).collect();
    match &options.security.seccomp {
        Seccomp::Unconfined => {}
        Seccomp::File(path) => insert(&mut linux, "seccomp", files::profile(path)?),
        Seccomp::Default => {
            let profile = seccomp::default_profile(&config.architecture, &capabilities).ok_or_else(|| {
                let error = Error::new(Kind::Unsupported, Step::Bundle).object_is(&config.architecture);
                error
                    .reason_is("there is no default seccomp profile for this architecture")
                    .hint_is("give one with --security-opt seccomp=FILE, or none with seccomp=unconfined")
            })?;
            insert(&mut linux, "seccomp", profile);
        }
    }
    Ok(linux)
}

fn user_namespace(linux: &mut Value, ids: &IdMaps, network: &Network) {
    let ranges = |ranges: &[IdRange]| -> Value {
        let range =
            |range: &IdRange| json!({ "containerID": range.container, "hostID": range.host, "size": range.size });
        ranges.iter().map(range).collect()
    };
    let namespace = match network {
        // Only those in the user namespace that a network belongs to may join it; the ids are the same.
        Network::Shared { pid, .. } => json!({ "type": "user", "path": format!("/proc/{pid}/ns/user") }),
        Network::New | Network::Made(_) | Network::Host => {
            insert(linux, "uidMappings", ranges(&ids.uids));
            insert(linux, "gidMappings", ranges(&ids.gids));
            json!({ "type": "user" })
        }
    };
    if let Some(namespaces) = linux.get_mut("namespaces").and_then(Value::as_array_mut) {
        namespaces.push(namespace);
    }
}

fn resources(options: &ContainerOptions, place: &Place<'_>, device_rules: Vec<Value>) -> Value {
    let mut resources = json!({});
    // In a user namespace the kernel lets nobody make devices, and nobody may set rules for them.
    if place.ids.is_none() {
        insert(&mut resources, "devices", files::default_device_rules().into_iter().chain(device_rules).collect());
    }
    if let Some(memory) = options.memory {
        // Without a limit of its own, swap is as much again, as in Docker.
        insert(&mut resources, "memory", json!({ "limit": memory, "swap": memory.saturating_mul(2) }));
    }
    if let Some(cpus) = options.cpus {
        insert(&mut resources, "cpu", json!({ "quota": cpus * 100, "period": 100_000 }));
    }
    if let Some(limit) = options.pids_limit {
        insert(&mut resources, "pids", json!({ "limit": limit }));
    }
    resources
}

fn sysctls(options: &ContainerOptions, place: &Place<'_>) -> Value {
    let mut sysctls = Map::new();
    if *place.network != Network::Host {
        // Ports below 1024 and ping(8) for users: what the namespace belongs to is the container.
        sysctls.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), json!("0"));
        if place.ids.is_none() {
            // A group that a user namespace has not cannot be named in it.
            sysctls.insert("net.ipv4.ping_group_range".to_owned(), json!("0 2147483647"));
        }
    }
    sysctls.extend(options.sysctls.iter().map(|(name, value)| (name.clone(), json!(value))));
    Value::Object(sysctls)
}

/// What the image specification says of annotations: labels as they are, and a few facts, where no label says otherwise.
fn annotations(config: &ImageConfig) -> Value {
    let mut annotations = Map::new();
    let ports: Vec<&str> = config.config.exposed_ports.keys().map(String::as_str).collect();
    for (name, value) in [
        ("os", config.os.clone()),
        ("architecture", config.architecture.clone()),
        ("variant", config.variant.clone().unwrap_or_default()),
        ("author", config.author.clone().unwrap_or_default()),
        ("created", config.created.clone().unwrap_or_default()),
        ("stopSignal", config.config.stop_signal.clone()),
        ("exposedPorts", ports.join(",")),
    ] {
        if !value.is_empty() {
            annotations.insert(format!("org.opencontainers.image.{name}"), json!(value));
        }
    }
    // Annotations of runtimes change what they do; an image has no say in that.
    let harmless = |name: &str| {
        !name.is_empty()
            && !["run.oci.", "org.orlop.", "org.systemd.", "org.criu."].iter().any(|of| name.starts_with(of))
    };
    let labels = config.config.labels.iter().filter(|(name, _)| harmless(name));
    annotations.extend(labels.map(|(name, value)| (name.clone(), json!(value))));
    Value::Object(annotations)
}

fn insert(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}
