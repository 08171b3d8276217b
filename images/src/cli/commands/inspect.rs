//! `orlop image inspect`.

use orlop_images::Image;
use serde_json::{Value, json};

use crate::cli::failure::Failure;
use crate::cli::output;
use crate::cli::parse::Args;
use crate::cli::session::Session;
use crate::cli::table::Command;

pub(super) const COMMAND: Command = Command(
    "inspect: IMAGE
show what an image is made of and what it runs

--json | print JSON, with the whole config
--manifest | print the manifest as it is stored
--config | print the config as it is stored

$ orlop image inspect nginx
$ orlop image inspect --json nginx
",
);

pub(super) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let (as_json, manifest, config) = (args.switch("json"), args.switch("manifest"), args.switch("config"));
    let words = args.words_as_text()?;
    if usize::from(as_json) + usize::from(manifest) + usize::from(config) > 1 {
        return Err(Failure::usage("--json, --manifest and --config exclude each other"));
    }
    let store = session.store()?;
    let entry = store.lookup(words.first().copied().unwrap_or_default())?;
    let image = store.image(&entry)?;
    let stored = if manifest { Some(&image.manifest) } else { config.then_some(&image.config_blob) };
    match stored {
        Some(blob) => output::document(&String::from_utf8_lossy(&store.small_blob(blob, blob.size)?))?,
        None if as_json => output::json(&whole(&image))?,
        None => output::print(&text(&image))?,
    }
    Ok(0)
}

fn whole(image: &Image) -> Value {
    let layers = image.layers.iter().map(|layer| {
        json!({
            "digest": layer.blob.digest,
            "diffId": layer.diff_id,
            "mediaType": layer.blob.media_type.as_str(),
            "size": layer.blob.size,
        })
    });
    let layers: Vec<Value> = layers.collect();
    let mut value = super::described(image);
    if let Some(object) = value.as_object_mut() {
        object.insert("layers".to_owned(), Value::Array(layers));
        object.insert("mediaType".to_owned(), json!(image.manifest.media_type.as_str()));
        object.insert("config".to_owned(), json!(image.config));
    }
    value
}

fn text(image: &Image) -> String {
    let process = &image.config.config;
    let keys = |map: &std::collections::BTreeMap<String, Value>| map.keys().cloned().collect::<Vec<_>>().join(" ");
    let words = |list: &[String]| list.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" ");
    let lines = [
        ("Reference", image.reference.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("Digest", image.manifest.digest.to_string()),
        ("ID", image.config_blob.digest.to_string()),
        ("Platform", image.platform.to_string()),
        ("Created", image.config.created.clone().unwrap_or_default()),
        ("Size", format!("{} in {} layer(s)", output::size(image.stored_size()), image.layers.len())),
        ("User", process.user.clone()),
        ("Working directory", process.working_dir.clone()),
        ("Entry point", words(&process.entrypoint)),
        ("Command", words(&process.cmd)),
        ("Ports", keys(&process.exposed_ports)),
        ("Volumes", keys(&process.volumes)),
        ("Stop signal", process.stop_signal.clone()),
    ];
    let mut text = String::new();
    for (name, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
        text.push_str(&format!("{:<19}{}\n", format!("{name}:"), safe(value)));
    }
    for variable in &process.env {
        text.push_str(&format!("{:<19}{}\n", "Environment:", safe(variable)));
    }
    for (name, value) in &process.labels {
        text.push_str(&format!("{:<19}{}\n", "Label:", safe(&format!("{name}={value}"))));
    }
    for layer in &image.layers {
        text.push_str(&format!("{:<19}{} {}\n", "Layer:", layer.blob.digest, output::size(layer.blob.size)));
    }
    text
}

/// An image's own words must not steer the terminal.
pub(super) fn safe(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
