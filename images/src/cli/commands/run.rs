//! `orlop image run`.

use std::os::fd::{AsFd, OwnedFd};
use std::time::SystemTime;

use orlop_images::bundle::{self, ContainerOptions, Network, Place};
use orlop_images::network::{Connection, Port, Request, pasta};
use orlop_images::snapshot::{LayersOptions, Method};
use orlop_images::store::Store;
use orlop_images::supervise::{Claim, Containers, NETNS, NetworkMode, Record, State, Streams};
use orlop_images::transfer::{self, PullOptions};
use orlop_images::userns::IdMaps;
use orlop_images::{Digest, Error, Image, Kind, Progress, Source, Step};

use crate::cli::container_flags::{Texts, container_lines, hostname, hostname_of};
use crate::cli::failure::Failure;
use crate::cli::foreground::{self, Signals};
use crate::cli::output;
use crate::cli::parse::Args;
use crate::cli::rootless;
use crate::cli::session::{Session, platform};
use crate::cli::signal;
use crate::cli::supervisor;
use crate::cli::table::Command;

pub(crate) const COMMAND: Command = Command(concat!(
    "run: IMAGE [ARGUMENT...]
run a container of an image

-d, --detach | run it in the background and print its name
-i, --interactive | keep its standard input open
-t, --tty | give it a terminal
--rm | remove it when it ends
--name NAME | its name, also for other containers and orlop (default: made up)
-p, --publish [ADDRESS:][HOST:]PORT[/PROTOCOL]... | make a port, or a range, reachable on the host
--network MODE | bridge, pasta, host, none, or container:NAME (default: bridge for root, else pasta)
--pull WHEN | fetch the image when it is missing, always or never (default: missing)
--platform OS/ARCHITECTURE | which of several images of one name is fetched
--plain-http HOST... | fetch it by plain HTTP from this HOST[:PORT]
--authfile FILE | where the credentials are
",
    container_lines!(),
    "-q, --quiet | show no progress
--json | with -d: print its name as JSON

In the foreground, signals are passed on, and the exit status is that of the container's command: 128+N when
signal N ended it, 127 when there is no such command, 126 when it cannot be executed, 125 for all other
failures. In the background, its output goes into a log of 20 MiB at most, and a small process stays beside
it. Containers on the bridge find each other by name.

Without root, a container has the ids of /etc/subuid and /etc/subgid; pasta (package passt) is its network.

$ orlop image run -it --rm debian
$ orlop image run -d -p 8080:80 --name web nginx
  then: curl localhost:8080; orlop image logs -f web; orlop exec web sh; orlop image stop web
$ orlop image run -d --name db -v data:/var/lib/postgresql -e POSTGRES_PASSWORD=x postgres
"
));

/// What the command line says beside the container's own options.
struct Wanted {
    detach: bool,
    interactive: bool,
    json: bool,
    remove: bool,
    name: Option<String>,
    ports: Vec<Port>,
    network: NetworkMode,
    pull: Pull,
}

#[derive(PartialEq)]
enum Pull {
    Missing,
    Always,
    Never,
}

fn wanted(args: &Args, default: &str) -> Result<Wanted, Failure> {
    let usage = |error: Error| Failure::usage(error.to_string());
    let ports = args.texts("publish")?.iter().map(|text| text.parse()).collect::<Result<Vec<Port>, Error>>();
    let network = args.text("network")?.unwrap_or(default).parse().map_err(usage)?;
    let ports = ports.map_err(usage)?;
    if !ports.is_empty() && !matches!(network, NetworkMode::Bridge | NetworkMode::Pasta) {
        let reason = "there is no address to lead to";
        return Err(Failure::usage(format!("--publish has no effect without --network {default}: {reason}")));
    }
    if matches!(network, NetworkMode::Container(_)) {
        for name in ["hostname", "add-host", "dns"] {
            if !args.texts(name)?.is_empty() {
                let reason = "it has that container's names and name servers";
                return Err(Failure::usage(format!("--{name} has no effect with --network container:NAME: {reason}")));
            }
        }
    }
    let pull = match args.text("pull")?.unwrap_or("missing") {
        "missing" => Pull::Missing,
        "always" => Pull::Always,
        "never" => Pull::Never,
        other => return Err(Failure::usage(format!("--pull {other:?}: known are missing, always and never"))),
    };
    Ok(Wanted {
        detach: args.switch("detach"),
        json: args.switch("json"),
        interactive: args.switch("interactive"),
        remove: args.switch("rm"),
        name: args.text("name")?.map(str::to_owned),
        ports,
        network,
        pull,
    })
}

pub(super) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let wanted = wanted(args, if rootless::is_rootless() { "pasta" } else { "bridge" })?;
    let texts = Texts::read(args)?;
    let (progress, pulled) =
        (session.progress(args), PullOptions { platform: platform(args)?, ..PullOptions::default() });
    let registry = session.registry_when_wanted(args)?;
    let words = args.words_as_text()?;
    let Some((&reference, command)) = words.split_first() else { return Err(Failure::usage("an image is wanted")) };
    let options = texts.options(command)?;
    if wanted.json && !wanted.detach {
        return Err(Failure::usage("--json has no effect without --detach: what is printed is the container's own"));
    }
    foreground::check_terminal(&options, wanted.interactive, wanted.detach)?;
    check_rights(&wanted.network)?;
    let signals = Signals::take(&session.cancel)?;
    // It takes as long as all the rest. In the background it is the supervisor's, who has the namespace.
    let connected = wanted.network == NetworkMode::Bridge && !wanted.detach;
    let connection = connected.then(Connection::begin).transpose()?;
    let store = session.store()?;
    let find = |reference: &str| {
        let entry = match store.lookup(reference) {
            Ok(entry) if wanted.pull != Pull::Always => entry,
            Err(error) if wanted.pull == Pull::Never || error.kind() != Kind::NotFound => return Err(error),
            _ => match reference.parse()? {
                Source::Registry(name) => return transfer::pull(&store, &registry()?, &name, &pulled, &progress),
                _ => {
                    return Err(Error::new(Kind::NotFound, Step::Run)
                        .object_is(reference)
                        .hint_is("orlop image load loads it"));
                }
            },
        };
        store.image(&entry)
    };
    let image = find(reference)?;
    let containers = session.containers(&store)?;
    // What others have left takes addresses and ports.
    containers.all()?;
    let made =
        Made { session, store: &store, containers: &containers, image: &image, options: &options, wanted: &wanted };
    let (claim, connection) = made.container(reference, args, connection, &progress)?;
    drop(progress);
    match wanted.detach {
        true => detach(&containers, claim, wanted.json),
        false => foreground::run(&containers, &claim, connection, &options, wanted.interactive, &signals),
    }
}

/// Whether whoever runs this may have such a network.
fn check_rights(network: &NetworkMode) -> Result<(), Failure> {
    match (rootless::is_rootless(), network) {
        (true, NetworkMode::Bridge) => Err(Failure::new(
            "--network bridge needs root: an ordinary user's containers have pasta, none or host, and find each other with \
             container:NAME, which is another's network with its names",
        )),
        (false, NetworkMode::Pasta) => {
            Err(Failure::new("--network pasta is that of ordinary users, and gives its rights away: root has bridge"))
        }
        _ => Ok(()),
    }
}

/// The second half of `run` for an ordinary user: makes the bundle of the container `name`, which the first half has claimed,
/// in a user namespace.
pub(crate) fn prepare(session: &Session, args: &Args, name: &str) -> Result<(), Failure> {
    let wanted = wanted(args, "pasta")?;
    let (texts, progress) = (Texts::read(args)?, session.progress(args));
    // The image is there: where it would come from is no matter.
    drop((platform(args)?, args.texts("plain-http")?, args.path("authfile")));
    let words = args.words_as_text()?;
    let Some((&reference, command)) = words.split_first() else { return Err(Failure::usage("an image is wanted")) };
    let options = texts.options(command)?;
    let store = session.store()?;
    let containers = session.containers(&store)?;
    let record = containers.record(name)?;
    let image = store.image(&store.lookup(reference)?)?;
    if image.manifest.digest != record.manifest {
        return Err(Failure::new(format!("{reference} has just become another image: run it again")));
    }
    let claim = Claim::inherited(&containers, name)?;
    let made =
        Made { session, store: &store, containers: &containers, image: &image, options: &options, wanted: &wanted };
    made.fill(&claim, record, Some(&IdMaps::of_this_namespace()?), None, &progress).map(drop)
}

/// All that a container is made of.
struct Made<'a> {
    session: &'a Session,
    store: &'a Store,
    containers: &'a Containers,
    image: &'a Image,
    options: &'a ContainerOptions,
    wanted: &'a Wanted,
}

impl Made<'_> {
    /// Makes a container, up to its bundle; its network may still be under way. After a failure there is none.
    fn container(
        &self,
        reference: &str,
        args: &Args,
        connection: Option<Connection>,
        progress: &dyn Progress,
    ) -> Result<(Claim, Option<Connection>), Failure> {
        let name = self.wanted.name.clone().unwrap_or_else(|| made_up(reference));
        let record = Record {
            name,
            image: reference.to_owned(),
            manifest: self.image.manifest.digest,
            command: self.options.command.clone(),
            created: orlop::rfc3339(SystemTime::now()),
            network: self.wanted.network.clone(),
            ports: Vec::new(),
            led: Vec::new(),
            remove: self.wanted.remove,
            terminal: self.options.terminal,
            interactive: self.wanted.interactive,
            background: self.wanted.detach,
            pipes: None,
            stop_signal: signal::parse(&self.image.config.config.stop_signal).unwrap_or(libc::SIGTERM),
            state: State::Creating,
        };
        let claim = self.containers.claim(&record)?;
        let filled = match rootless::is_rootless() {
            false => self.fill(&claim, record, None, connection, progress),
            true => rootless::prepare_container(self.session, claim.name(), &args.again()).map(|()| None),
        };
        match filled {
            Ok(connection) => Ok((claim, connection)),
            Err(failure) => Err(match self.containers.discard(&claim) {
                Ok(()) => failure,
                Err(error) => Failure::new(format!("{failure}; and then: {error}")),
            }),
        }
    }

    fn fill(
        &self,
        claim: &Claim,
        mut record: Record,
        ids: Option<&IdMaps>,
        mut connection: Option<Connection>,
        progress: &dyn Progress,
    ) -> Result<Option<Connection>, Failure> {
        let dir = claim.dir().sub(Step::Run, "bundle")?;
        let (network, address) = self.network(&dir, &mut record)?;
        if let Some(connection) = &mut connection {
            connection.connect(self.containers.networks()?, claim.name());
        }
        let snapshots = self.containers.snapshots();
        let blob = |digest: &Digest| self.store.blob(digest);
        let cancel = &self.session.cancel;
        let stack = snapshots.layers().unpack(self.image, &blob, &LayersOptions::default(), progress, cancel)?;
        let snapshot = snapshots.prepare(claim.name(), &stack, Method::Auto, cancel)?;
        let mount = snapshot.mount();
        let limited = self.options.memory.is_some() || self.options.cpus.is_some() || self.options.pids_limit.is_some();
        // An ordinary user seldom may make control groups, and needs none without limits.
        let group = (ids.is_none() || limited).then(|| self.containers.control_group(claim.name())).transpose()?;
        let place = Place {
            name: &self.hostname(claim.name(), &network),
            dir: &dir,
            volumes: &self.store.state().sub(Step::Run, "volumes")?,
            root: &snapshot.root(),
            root_mount: mount.as_ref(),
            files: &snapshot,
            network: &network,
            address,
            control_group: group.as_deref(),
            ids,
        };
        let config = bundle::write(self.image, self.options, &place)?;
        let args = config.pointer("/process/args").and_then(serde_json::Value::as_array);
        record.command = args.into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect();
        self.containers.update(claim, &record)?;
        cancel.check(Step::Run)?;
        Ok(connection)
    }

    /// Its host name, where none is asked for: whose network it has, their name it has.
    fn hostname(&self, name: &str, network: &Network) -> String {
        let path = match network {
            Network::Host => "/proc/sys/kernel/hostname".into(),
            Network::Shared { bundle, .. } => bundle.join("hostname"),
            Network::New | Network::Made(_) => return hostname(name),
        };
        let text = std::fs::read_to_string(path).unwrap_or_default();
        hostname_of(text.trim()).unwrap_or_else(|| hostname(name))
    }

    /// The network of the config, and the address on the bridge.
    fn network(
        &self,
        dir: &orlop_images::base::Dir,
        record: &mut Record,
    ) -> Result<(Network, Option<std::net::IpAddr>), Failure> {
        Ok(match &record.network {
            NetworkMode::Host => (Network::Host, None),
            NetworkMode::None => (Network::New, None),
            NetworkMode::Pasta => {
                record.led = pasta::claim(&self.wanted.ports)?;
                record.ports = record.led.iter().map(ToString::to_string).collect();
                (Network::New, None)
            }
            NetworkMode::Container(name) => {
                let other = self.containers.get(name)?;
                if other.status.is_none() {
                    return Err(Failure::new(format!("--network container:{name}: it does not run")));
                }
                (Network::Shared { pid: other.pid, bundle: self.containers.log(name).join("bundle") }, None)
            }
            NetworkMode::Bridge => {
                let lease = self.containers.networks()?.reserve(Request {
                    name: record.name.clone(),
                    aliases: self.options.hostname.clone().into_iter().collect(),
                    ports: self.wanted.ports.clone(),
                    hosts_file: dir.path().join("hosts"),
                })?;
                record.ports = lease.ports.iter().map(ToString::to_string).collect();
                (Network::Made(dir.path().join(NETNS)), Some(lease.ipv4.into()))
            }
        })
    }
}

/// A name that says what it is: the last part of the image's, and something random.
fn made_up(reference: &str) -> String {
    use std::hash::{BuildHasher, Hasher};
    let random = std::hash::RandomState::new().build_hasher().finish() & 0xff_ffff;
    let last = reference.rsplit('/').next().unwrap_or_default();
    let word: String = last.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').take(40).collect();
    let word = if word.starts_with(|c: char| c.is_ascii_alphanumeric()) { word } else { "container".to_owned() };
    format!("{word}-{random:06x}")
}

/// Hands the container to a process of its own, and waits until it has started.
fn detach(containers: &Containers, claim: Claim, as_json: bool) -> Result<u8, Failure> {
    let name = claim.name().to_owned();
    let Some(report) = supervisor::start(containers, claim)? else {
        // What is there is taken away by whoever looks at it first.
        containers.all()?;
        return Err(Failure::new("the supervisor ended before the container had started"));
    };
    report.notes.iter().for_each(|note| output::complain(&format!("orlop image run: {note}")));
    if let Some(error) = report.error {
        return Err(Failure::new(error).with_status(report.status));
    }
    output::name(&name, as_json)?;
    Ok(0)
}

/// For those who only borrow a descriptor.
pub(super) fn copy_of(fd: impl AsFd) -> Result<OwnedFd, Failure> {
    fd.as_fd().try_clone_to_owned().map_err(|error| Failure::new(format!("duplicate a stream: {error}")))
}

/// The streams of a container without a terminal in the foreground: those of this program.
pub(crate) fn own_streams(interactive: bool) -> Result<Streams, Failure> {
    let input = if interactive { copy_of(std::io::stdin())? } else { Streams::null()? };
    Ok(Streams::Plain([input, copy_of(std::io::stdout())?, copy_of(std::io::stderr())?]))
}
