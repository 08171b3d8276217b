//! `orlop spec`.

use orlop::SpecOptions;

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::Session;
use crate::table::command;

command! {
    "spec:
write a config.json to begin with
",
    [
        BUNDLE = "-b, --bundle DIR | the directory to write it into (default: the current directory)",
        FILE = "-f, --file FILE | write this file instead of config.json",
        ROOTLESS = "--rootless | for a container that is run without root's rights",
    ],
    "
The container runs sh with few capabilities, a read-only root file system and all namespaces. An existing file
is left alone.

$ mkdir -p box/rootfs && tar -C box/rootfs -xf busybox.tar
$ orlop spec -b box && orlop run -b box box1
"
}

pub(crate) fn run(_: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let options = SpecOptions::default()
        .bundle(args.path(BUNDLE).unwrap_or_default())
        .file(args.path(FILE))
        .rootless(args.switch(ROOTLESS));
    args.operands()?;
    orlop::spec(&options)?;
    Ok(0)
}
