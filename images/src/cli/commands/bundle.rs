//! `orlop image bundle`.

use orlop_images::base::Dir;
use orlop_images::bundle::{self, ContainerOptions, Network, Place};
use orlop_images::layer::Squash;
use orlop_images::snapshot::{LayersOptions, Snapshots};
use orlop_images::{Error, Step};

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::parse::Args;
use crate::cli::session::Session;
use crate::cli::table::Command;

pub(super) const COMMAND: Command = Command(
    "bundle: IMAGE DIR [ARGUMENT...]
make a bundle of an image, which any OCI runtime can run

--add-host HOST:IP... | add a line to /etc/hosts
--cap-add CAP... | add a capability, ALL for all
--cap-drop CAP... | drop a capability, ALL for all
--cpus N | how many processors it may use, such as 1.5
--device SRC[:DST[:rwm]]... | give it a device of the host
--dns IP... | name server, in the place of the host's
--entrypoint COMMAND | replace the image's entry point
-e, --env NAME[=VALUE]... | set a variable, or pass on that of the host
--env-file FILE... | set the variables of a file
--hostname NAME | host name
--init | run an init in it that reaps orphans and passes signals on
-m, --memory BYTES | limit of memory, with b, k, m or g
--mount OPTIONS... | type=bind|volume|tmpfs,source=SRC,target=DST[,readonly]
--pids-limit N | limit of processes, -1 for none
--read-only | make the root file system read-only
--security-opt OPTION... | no-new-privileges, seccomp=FILE|unconfined, apparmor=PROFILE, systempaths=unconfined
--sysctl NAME=VALUE... | set a kernel parameter of its namespaces
--tmpfs DIR[:OPTIONS]... | mount a tmpfs
-t, --tty | give it a terminal
--ulimit NAME=SOFT[:HARD]... | limit of each process
-u, --user USER[:GROUP] | user, by name or number
-v, --volume [SRC:]DST[:OPTIONS]... | bind a directory of the host, or mount a volume
-w, --workdir DIR | working directory
--squash | without root of the host: owners that cannot be set become root, devices are left out
-q, --quiet | show no progress

DIR gets config.json and rootfs, a copy of the image's files: by reflink where the file system shares blocks.
The container has Docker's default capabilities, seccomp profile, masks and devices, and a network namespace
of its own. ARGUMENTs replace the image's command.

$ orlop image bundle nginx web && orlop run -b web web1
$ orlop image bundle -e DEBUG=1 -m 512m --read-only --tmpfs /run nginx web
$ orlop image bundle debian shell bash -l
",
);

/// The flags that say something about the container, by whether they have a value.
const VALUES: [&str; 20] = [
    "add-host",
    "cap-add",
    "cap-drop",
    "cpus",
    "device",
    "dns",
    "entrypoint",
    "env",
    "env-file",
    "hostname",
    "memory",
    "mount",
    "pids-limit",
    "security-opt",
    "sysctl",
    "tmpfs",
    "ulimit",
    "user",
    "volume",
    "workdir",
];
const SWITCHES: [&str; 3] = ["init", "read-only", "tty"];

/// What the flags of a command say about a container, still as text.
pub(super) struct Texts(Vec<(&'static str, Option<String>)>);

impl Texts {
    /// Reads all flags that a container has.
    pub(super) fn read(args: &Args) -> Result<Self, Failure> {
        let mut texts = Vec::new();
        for name in VALUES {
            texts.extend(args.texts(name)?.into_iter().map(|value| (name, Some(value))));
        }
        texts.extend(SWITCHES.into_iter().filter(|name| args.switch(name)).map(|name| (name, None)));
        Ok(Self(texts))
    }

    /// Parses them, with the words of a command.
    pub(super) fn options(&self, command: &[&str]) -> Result<ContainerOptions, Failure> {
        let mut options = ContainerOptions::default();
        for (name, value) in &self.0 {
            options.set(name, value.as_deref()).map_err(|error: Error| Failure::usage(error.to_string()))?;
        }
        options.command = command.iter().map(|&word| word.to_owned()).collect();
        Ok(options)
    }
}

pub(super) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let texts = Texts::read(args)?;
    let progress = session.progress(args);
    let squash = if args.switch("squash") { Squash::ToSelf } else { Squash::Refuse };
    let words = args.words_as_text()?;
    let [image, path, command @ ..] = &words[..] else {
        return Err(Failure::usage("an image and a directory are wanted"));
    };
    let options = texts.options(command)?;
    session.cancellable()?;
    let store = session.store()?;
    let image = store.image(&store.lookup(image)?)?;
    let snapshots = Snapshots::open(store.state())?;
    let blob = |digest: &orlop_images::Digest| store.blob(digest);
    let layers = LayersOptions { squash, ..LayersOptions::default() };
    let stack = snapshots.layers().unpack(&image, &blob, &layers, &progress, &session.cancel)?;
    let path = std::path::absolute(path).map_err(|error| Failure::from(Error::io(Step::Bundle, &error)))?;
    let dir = Dir::make(Step::Bundle, &path)?;
    let snapshot = snapshots.copy_to(&path, &stack, &session.cancel)?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let place = Place {
        name: &hostname(&name),
        dir: &dir,
        volumes: &store.state().sub(Step::Bundle, "volumes")?,
        root: &snapshot.root(),
        root_mount: None,
        files: &snapshot,
        network: &Network::New,
        address: None,
        ids: None,
    };
    bundle::write(&image, &options, &place)?;
    output::print(&format!("{}\n", path.display()))?;
    Ok(0)
}

/// A host name out of that of a directory.
pub(super) fn hostname(name: &str) -> String {
    let kept: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(63).collect();
    if kept.is_empty() { "container".to_owned() } else { kept }
}
