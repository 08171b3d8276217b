//! What the command line of `bundle` and of `run` says of a container.

use orlop_images::Error;
use orlop_images::bundle::ContainerOptions;

use crate::cli::failure::Failure;
use crate::cli::parse::Args;

/// The lines of these flags in a command's block of the table.
macro_rules! container_lines {
    () => {
        "\
--add-host HOST:IP... | add a line to /etc/hosts
--cap-add CAP... | add a capability, ALL for all
--cap-drop CAP... | drop a capability, ALL for all
--cpus N | how many processors it may use, such as 1.5; 0 for all
--device SRC[:DST[:rwm]]... | give it a device of the host
--dns IP... | name server, in the place of the host's
--entrypoint COMMAND | replace the image's entry point
-e, --env NAME[=VALUE]... | set a variable, or pass on that of the host; take it away where the host has none
--env-file FILE... | set the variables of a file
-h, --hostname NAME | host name (default: made of its name)
--init | run an init in it that reaps orphans and passes signals on
-m, --memory BYTES | limit of memory, with b, k, m or g; 0 for none
--mount OPTIONS... | type=bind|volume|tmpfs,source=SRC,target=DST[,readonly]
--pids-limit N | limit of processes, -1 for none
--read-only | make the root file system read-only
--security-opt OPTION... | no-new-privileges, seccomp=FILE|unconfined, apparmor=PROFILE, systempaths=unconfined
--sysctl NAME=VALUE... | set a kernel parameter of its namespaces
--tmpfs DIR[:OPTIONS]... | mount a tmpfs
--ulimit NAME=SOFT[:HARD]... | limit of each process
-u, --user USER[:GROUP] | user, by name or number
-v, --volume [SRC:]DST[:OPTIONS]... | bind a directory of the host, or mount a volume
-w, --workdir DIR | working directory
"
    };
}
pub(crate) use container_lines;

/// The flags that say something about the container, by whether they have a value.
const VALUES: [&str; 20] = [
    "add-host",
    "cap-add",
    "cap-drop",
    "cpus",
    "device",
    "dns",
    "entrypoint",
    "env",
    "env-file",
    "hostname",
    "memory",
    "mount",
    "pids-limit",
    "security-opt",
    "sysctl",
    "tmpfs",
    "ulimit",
    "user",
    "volume",
    "workdir",
];
const SWITCHES: [&str; 3] = ["init", "read-only", "tty"];

/// What the flags of a command say about a container, still as text.
pub(crate) struct Texts(Vec<(&'static str, Option<String>)>);

impl Texts {
    /// Reads all flags that a container has.
    pub(crate) fn read(args: &Args) -> Result<Self, Failure> {
        let mut texts = Vec::new();
        for name in VALUES {
            texts.extend(args.texts(name)?.into_iter().map(|value| (name, Some(value))));
        }
        texts.extend(SWITCHES.into_iter().filter(|name| args.switch(name)).map(|name| (name, None)));
        Ok(Self(texts))
    }

    /// Parses them, with the words of a command.
    pub(crate) fn options(&self, command: &[&str]) -> Result<ContainerOptions, Failure> {
        let mut options = ContainerOptions::default();
        for (name, value) in &self.0 {
            options.set(name, value.as_deref()).map_err(|error: Error| Failure::usage(error.to_string()))?;
        }
        options.command = command.iter().map(|&word| word.to_owned()).collect();
        Ok(options)
    }
}

/// A host name as the kernel takes it; none for any other text.
pub(crate) fn hostname_of(text: &str) -> Option<String> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (!text.is_empty() && text.len() <= 64 && text.bytes().all(good)).then(|| text.to_owned())
}

/// A host name out of that of a directory.
pub(crate) fn hostname(name: &str) -> String {
    let kept: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(63).collect();
    if kept.is_empty() { "container".to_owned() } else { kept }
}
