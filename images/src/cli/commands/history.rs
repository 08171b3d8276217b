//! `orlop image history`.

use serde_json::{Value, json};

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::parse::Args;
use crate::cli::session::Session;
use crate::cli::table::Command;

pub(super) const COMMAND: Command = Command(
    "history: IMAGE
show the steps by which an image was made

--full | do not shorten the commands
--json | print JSON

$ orlop image history nginx
",
);

/// The most characters of a command without `--full`.
const SHORT: usize = 60;

pub(super) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let (full, as_json) = (args.switch("full"), args.switch("json"));
    let words = args.words_as_text()?;
    let store = session.store()?;
    let image = store.image(&store.lookup(words.first().copied().unwrap_or_default())?)?;
    let mut layers = image.layers.iter();
    let steps: Vec<_> =
        image.config.history.iter().map(|step| (step, if step.empty_layer { None } else { layers.next() })).collect();
    if as_json {
        let values = steps.iter().map(|(step, layer)| {
            json!({
                "created": step.created,
                "createdBy": step.created_by,
                "comment": step.comment,
                "layer": layer.map(|layer| layer.blob.digest),
                "size": layer.map_or(0, |layer| layer.blob.size),
            })
        });
        return output::json(&Value::Array(values.collect())).map(|()| 0);
    }
    // The newest step first, as Docker has it.
    let rows: Vec<Vec<String>> = steps
        .iter()
        .rev()
        .map(|(step, layer)| {
            let created = step.created.as_deref().and_then(|text| text.get(..10)).unwrap_or("-").to_owned();
            let size = layer.map_or_else(|| "-".to_owned(), |layer| output::size(layer.blob.size));
            let command = super::inspect::safe(&step.created_by);
            let command = if full || command.chars().count() <= SHORT {
                command
            } else {
                command.chars().take(SHORT - 1).chain(['…']).collect()
            };
            vec![created, size, command]
        })
        .collect();
    output::print(&output::table(&["CREATED", "SIZE", "CREATED BY"], &rows))?;
    Ok(0)
}
