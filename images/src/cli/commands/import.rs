//! `orlop image import`.

use std::fs::File;
use std::io::Read;

use orlop_images::archive::{self, ImportOptions};
use orlop_images::model::Process;

use crate::cli::failure::Failure;
use crate::cli::parse::Args;
use crate::cli::session::{Session, platform};
use crate::cli::table::Command;

pub(super) const COMMAND: Command = Command(
    "import: FILE [REFERENCE]
make an image of a root file system

-c, --change INSTRUCTION... | set what it runs: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR
-m, --message TEXT | a remark for its history
--platform OS/ARCHITECTURE | what it is for (default: this machine)
--json | print the image as JSON

FILE is a tar archive, plain or compressed by gzip or zstd; - is standard input. An INSTRUCTION is written as
in a Dockerfile.

$ orlop image import rootfs.tar.gz tiny:1
$ tar -C rootfs -c . | orlop image import -c 'CMD [\"/bin/sh\"]' - tiny:1
",
);

pub(super) fn run(session: &Session, args: &Args) -> Result<u8, Failure> {
    let (changes, as_json) = (args.texts("change")?, args.switch("json"));
    let (platform, message) = (platform(args)?, args.text("message")?.unwrap_or_default().to_owned());
    let words = args.words_as_text()?;
    let mut process = Process::default();
    for text in &changes {
        change(&mut process, text).map_err(|reason| Failure::usage(format!("--change {text:?}: {reason}")))?;
    }
    let reference = words.get(1).map(|text| text.parse()).transpose()?;
    let options = ImportOptions { reference, platform, process, message, created: None };
    session.cancellable()?;
    let store = session.store()?;
    let name = words.first().copied().unwrap_or_default();
    let mut input: Box<dyn Read> = if name == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(File::open(name).map_err(|error| Failure::new(format!("open {name}: {error}")))?)
    };
    let entry = archive::import(&store, &mut *input, &options)?;
    super::load::show(&[entry], as_json)?;
    Ok(0)
}

/// Carries out one instruction of a Dockerfile.
fn change(process: &mut Process, text: &str) -> Result<(), String> {
    let (word, rest) =
        text.trim().split_once(char::is_whitespace).ok_or("an instruction and its value are expected")?;
    let rest = rest.trim();
    let pair = |form: &str| {
        let (name, value) = rest.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or(form.to_owned())?;
        Ok::<_, String>((name.to_owned(), value.trim_matches('"').to_owned()))
    };
    let empty = || serde_json::Value::Object(serde_json::Map::new());
    match word.to_ascii_uppercase().as_str() {
        "CMD" => process.cmd = command(rest)?,
        "ENTRYPOINT" => process.entrypoint = command(rest)?,
        "ENV" => {
            let (name, value) = pair("NAME=VALUE is expected")?;
            process.env.push(format!("{name}={value}"));
        }
        "LABEL" => {
            let (name, value) = pair("NAME=VALUE is expected")?;
            process.labels.insert(name, value);
        }
        "EXPOSE" => {
            let port = if rest.contains('/') { rest.to_owned() } else { format!("{rest}/tcp") };
            process.exposed_ports.insert(port, empty());
        }
        "VOLUME" => {
            let paths = if rest.starts_with('[') { command(rest)? } else { vec![rest.to_owned()] };
            process.volumes.extend(paths.into_iter().map(|path| (path, empty())));
        }
        "USER" => rest.clone_into(&mut process.user),
        "WORKDIR" => rest.clone_into(&mut process.working_dir),
        "STOPSIGNAL" => rest.clone_into(&mut process.stop_signal),
        _ => return Err("not one of CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR".to_owned()),
    }
    Ok(())
}

/// A command: a JSON array is taken word by word, anything else is for a shell.
fn command(text: &str) -> Result<Vec<String>, String> {
    if text.starts_with('[') {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    Ok(["/bin/sh", "-c", text].map(str::to_owned).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_those_of_a_dockerfile() {
        let mut process = Process::default();
        for text in
            ["CMD [\"a\", \"b c\"]", "entrypoint x y", "ENV A=\"b c\"", "EXPOSE 80", "VOLUME [\"/d\"]", "USER 1:2"]
        {
            change(&mut process, text).unwrap();
        }
        assert_eq!(
            (process.cmd, process.entrypoint),
            (vec!["a".into(), "b c".into()], vec!["/bin/sh".into(), "-c".into(), "x y".into()])
        );
        assert_eq!((process.env, process.user), (vec!["A=b c".to_owned()], "1:2".to_owned()));
        assert!(process.exposed_ports.contains_key("80/tcp") && process.volumes.contains_key("/d"));
        for wrong in ["", "CMD", "RUN x", "ENV A", "ENV =b", "CMD [1]"] {
            assert!(change(&mut Process::default(), wrong).is_err(), "{wrong}");
        }
    }
}
