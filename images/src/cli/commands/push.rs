//! `orlop image push`.

use orlop_images::Reference;
use orlop_images::transfer::{self, PushOptions};
use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::parse::Args;
use crate::cli::session::{Session, jobs};
use crate::cli::table::Command;

pub(super) const COMMAND: Command = Command(
    "push: IMAGE [REFERENCE]
send an image to a registry, under its own or another name

-j, --jobs N | how many blobs at once (default: 4)
--authfile FILE | where the credentials are (default: those of Podman, Skopeo and Docker)
--plain-http HOST... | allow plain HTTP to this HOST[:PORT]; to this machine itself it is allowed
-q, --quiet | show no progress
--json | print what was sent as JSON

Blobs that the registry has are not sent again; those that it has in another repository it takes from
there. An upload that broke off goes on.

$ orlop image push localhost:5000/app:1
$ orlop image push app:1 registry.example/team/app:1
",
);

pub(super) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let options = PushOptions { jobs: jobs(args)? };
    let (progress, as_json) = (session.progress(args), args.switch("json"));
    let registry = session.registry(args)?;
    let words = args.words_as_text()?;
    let image = words.first().copied().unwrap_or_default();
    session.cancellable()?;
    let store = session.store()?;
    let entry = store.lookup(image)?;
    let reference: Reference = match (words.get(1), &entry.reference) {
        (Some(text), _) => text.parse()?,
        (None, Some(reference)) => reference.clone(),
        (None, None) => return Err(Failure::usage(format!("{image}: it has no name, so the REFERENCE is needed"))),
    };
    transfer::push(&store, &registry, &entry, &reference, &options, &progress)?;
    let digest = entry.descriptor.digest;
    if as_json {
        output::json(&json!({ "reference": reference.to_string(), "digest": digest }))?;
    } else {
        let name = if reference.digest().is_some() { reference.to_string() } else { format!("{reference}@{digest}") };
        output::print(&format!("{name}\n"))?;
    }
    Ok(0)
}
