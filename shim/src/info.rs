//! `-info` and `-v`: what this shim is.

use std::io::{Read, Write};
use std::process::ExitCode;

use crate::options;
use crate::proto::bootstrap::{RuntimeInfo, RuntimeVersion};
use crate::proto::{Any, decode, encode};
use crate::runtime;

const NAME: &str = "io.containerd.orlop.v2";
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// Answers with the name, version and features, for the options on standard input.
///
/// # Errors
/// In one line, for containerd.
pub(crate) fn info() -> Result<ExitCode, String> {
    let mut input = Vec::new();
    let read = std::io::stdin().lock().take(1 << 20).read_to_end(&mut input);
    read.map_err(|error| format!("read standard input: {error}"))?;
    let given: Option<Any> = match input.as_slice() {
        [] => None,
        bytes => Some(decode(bytes).map_err(|_| "standard input is no message with options".to_owned())?),
    };
    options::read(given.as_ref()).map_err(|failure| failure.message)?;
    let info = RuntimeInfo {
        name: NAME.to_owned(),
        version: Some(RuntimeVersion { version: env!("CARGO_PKG_VERSION").to_owned(), revision: String::new() }),
        options: given,
        features: Some(Any { type_url: FEATURES.to_owned(), value: runtime::features().into_bytes() }),
        annotations: std::collections::BTreeMap::new(),
    };
    written(&encode(&info))
}

/// Answers with the version, for people.
///
/// # Errors
/// In one line.
pub(crate) fn version() -> Result<ExitCode, String> {
    written(format!("containerd-shim-orlop-v2:\n  Version:  {}\n", env!("CARGO_PKG_VERSION")).as_bytes())
}

fn written(bytes: &[u8]) -> Result<ExitCode, String> {
    let written = std::io::stdout().lock().write_all(bytes);
    written.map(|()| ExitCode::SUCCESS).map_err(|error| format!("write the answer: {error}"))
}
