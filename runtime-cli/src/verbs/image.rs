//! `orlop image`, which is the program `orlop-image`.

use std::os::unix::process::CommandExt;
use std::process::Command as Program;

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::command;

command! {
    "image: COMMAND [ARGUMENT...]
pull, keep and run container images, with the program orlop-image
",
    "
orlop-image is looked for beside orlop, then in PATH. \"orlop image help\" shows its commands.

$ orlop image pull nginx
$ orlop image help
"
}

pub(crate) fn run(session: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let words = args.operands()?;
    if let Some(flag) = session.of_containers {
        let why = "images have flags of their own, after it";
        return Err(Failure::usage(format!("{flag} before image has no effect: {why}")));
    }
    // Beside this program, as git and cargo find theirs. Where that cannot be told, PATH is left.
    let beside = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.join("orlop-image")));
    let mut failure = std::io::Error::from(std::io::ErrorKind::NotFound);
    for program in beside.into_iter().chain(["orlop-image".into()]) {
        failure = Program::new(program).args(words).exec();
        if failure.kind() != std::io::ErrorKind::NotFound {
            break;
        }
    }
    Err(match failure.kind() {
        std::io::ErrorKind::NotFound => {
            Failure::new("there is no orlop-image beside orlop or in PATH: it is built by cargo build -p orlop-images")
        }
        _ => Failure::io("start orlop-image", &failure),
    })
}
