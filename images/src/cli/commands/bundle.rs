//! `orlop image bundle`.

use orlop_images::base::Dir;
use orlop_images::bundle::{self, Network, Place};
use orlop_images::layer::Squash;
use orlop_images::snapshot::{LayersOptions, Snapshots};
use orlop_images::{Error, Step};
use serde_json::json;

use crate::cli::container_flags::{Texts, container_lines, hostname};
use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::parse::Args;
use crate::cli::session::Session;
use crate::cli::table::Command;

pub(super) const COMMAND: Command = Command(concat!(
    "bundle: IMAGE DIR [ARGUMENT...]
make a bundle of an image, which any OCI runtime can run

-t, --tty | give it a terminal
",
    container_lines!(),
    "--squash | without root of the host: owners that cannot be set become root, devices are left out
-q, --quiet | show no progress
--json | print the bundle's path as JSON

DIR gets config.json and rootfs, a copy of the image's files: by reflink where the file system shares blocks.
The container has Docker's default capabilities, seccomp profile, masks and devices, and a network namespace
of its own. ARGUMENTs replace the image's command.

$ orlop image bundle nginx web && orlop run -b web web1
$ orlop image bundle -e DEBUG=1 -m 512m --read-only --tmpfs /run nginx web
$ orlop image bundle debian shell bash -l
"
));

pub(super) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let texts = Texts::read(args)?;
    let (progress, as_json) = (session.progress(args), args.switch("json"));
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
        control_group: None,
        ids: None,
    };
    bundle::write(&image, &options, &place)?;
    match as_json {
        true => output::json(&json!({ "bundle": path }))?,
        false => output::print(&format!("{}\n", path.display()))?,
    }
    Ok(0)
}
