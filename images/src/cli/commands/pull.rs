//! `orlop image pull`.

use orlop_images::transfer::{self, PullOptions};
use orlop_images::{Image, Source};

use crate::cli::failure::Failure;
use crate::cli::parse::Args;
use crate::cli::session::{Session, jobs, platform};
use crate::cli::table::Command;

pub(super) const COMMAND: Command = Command(
    "pull: REFERENCE
fetch an image from a registry

--platform OS/ARCHITECTURE | which of several images of one name (default: that of this machine)
-j, --jobs N | how many layers at once (default: 4)
--authfile FILE | where the credentials are (default: those of Podman, Skopeo and Docker)
--plain-http HOST... | allow plain HTTP to this HOST[:PORT]; to this machine itself it is allowed
-q, --quiet | show no progress
--json | print the image as JSON

Layers that are in the store are not fetched again. What was fetched when a pull broke off or was killed
is kept, and the next pull goes on from there. Prints the image's name with its digest.

$ orlop image pull nginx:1.27
$ orlop image pull --platform linux/arm64 nginx
$ orlop image pull --plain-http build.lan:5000 build.lan:5000/app
",
);

pub(super) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let options = PullOptions { platform: platform(args)?, jobs: jobs(args)? };
    let (progress, as_json) = (session.progress(args), args.switch("json"));
    // The flags are read before the operands, whatever these name.
    let registry = session.registry(args)?;
    let words = args.words_as_text()?;
    let Source::Registry(reference) = words.first().copied().unwrap_or_default().parse()? else {
        return Err(Failure::usage("an archive or a directory is loaded, not pulled: see orlop image load"));
    };
    session.cancellable()?;
    let store = session.store()?;
    // A registry of this session shares its cancellation.
    let image: Image = transfer::pull(&store, &registry, &reference, &options, &progress)?;
    super::show(&image, as_json)?;
    Ok(0)
}
