//! `orlop image verify`.

use serde_json::json;

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::parse::Args;
use crate::cli::session::Session;
use crate::cli::table::Command;

pub(super) const COMMAND: Command = Command(
    "verify:
hash everything in the store again and say what is wrong

-q, --quiet | show no progress
--json | print what was found as JSON

A blob whose bytes have another digest is removed, so that the next pull of an image that has it fetches
it again. Exit status 1 if anything was wrong.

$ orlop image verify
",
);

pub(super) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let (progress, as_json) = (session.progress(args), args.switch("json"));
    args.operands()?;
    session.cancellable()?;
    let found = session.store()?.verify(&progress)?;
    let name = |reference: &Option<orlop_images::Reference>, digest: &orlop_images::Digest| {
        reference.as_ref().map_or_else(|| digest.to_string(), ToString::to_string)
    };
    if as_json {
        let incomplete: Vec<_> = found
            .incomplete
            .iter()
            .map(|(reference, digest, missing)| json!({ "image": name(reference, digest), "missing": missing }))
            .collect();
        output::json(&json!({
            "blobs": found.blobs,
            "bytes": found.bytes,
            "damaged": found.damaged,
            "foreign": found.foreign,
            "incomplete": incomplete,
        }))?;
    } else {
        let mut text = String::new();
        for digest in &found.damaged {
            text.push_str(&format!("damaged, removed: {digest}\n"));
        }
        for path in &found.foreign {
            text.push_str(&format!("not a blob: {path}\n"));
        }
        for (reference, digest, missing) in &found.incomplete {
            let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
            let name = name(reference, digest);
            text.push_str(&format!("incomplete: {name} lacks {} (pull it again)\n", missing.join(", ")));
        }
        text.push_str(&format!("{} blobs, {}, hashed\n", found.blobs, output::size(found.bytes)));
        output::print(&text)?;
    }
    Ok(u8::from(!found.is_sound()))
}
