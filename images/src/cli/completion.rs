//! Completion scripts for shells, written from the table. They serve `orlop-image`, and `orlop image` where the completion
//! of `orlop` hands over to it.

use crate::cli::commands;
use crate::cli::table::{Command, Flag};

/// What can be completed at one place of a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thing {
    /// One of the words that `|` divides.
    Words(&'static str),
    /// A directory.
    Directory,
    /// A file.
    File,
    /// An image of the store.
    Image,
    /// Nothing known.
    Free,
}

/// What a placeholder of the table stands for.
fn thing(placeholder: &'static str) -> Thing {
    match placeholder.trim_matches(['[', ']', '.']) {
        "DIR" => Thing::Directory,
        "FILE" | "SOURCE" => Thing::File,
        "IMAGE" => Thing::Image,
        words if words.contains('|') => Thing::Words(words),
        _ => Thing::Free,
    }
}

fn operand(command: Command) -> Thing {
    command.operands().split_whitespace().next().map_or(Thing::Free, thing)
}

/// The script for `shell`, or `None` for an unknown one.
pub(crate) fn script(shell: &str) -> Option<String> {
    match shell {
        "bash" => Some(bash()),
        "zsh" => Some(zsh()),
        "fish" => Some(fish()),
        _ => None,
    }
}

fn spellings(flag: Flag) -> String {
    flag.short.map_or_else(|| format!("--{}", flag.long), |letter| format!("--{} -{letter}", flag.long))
}

fn names() -> String {
    commands::all().map(Command::name).chain(["help"]).collect::<Vec<_>>().join(" ")
}

fn bash() -> String {
    let mut cases = bash_case("''", commands::GLOBAL, &format!("compgen -W '{}' -- \"$cur\"", names()));
    for command in commands::all() {
        cases += &bash_case(command.name(), command, &bash_thing(operand(command)));
    }
    format!(
        "# bash completion for orlop-image\n\
         _orlop_image() {{\n\
         \x20   local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} verb= flags= i=1\n\
         \x20   COMPREPLY=()\n\
         \x20   while (( i < COMP_CWORD )); do\n\
         \x20       case ${{COMP_WORDS[i]}} in\n\
         \x20           --root) (( i += 2 )); continue ;;\n\
         \x20           -*) (( i += 1 )); continue ;;\n\
         \x20       esac\n\
         \x20       verb=${{COMP_WORDS[i]}}\n\
         \x20       break\n\
         \x20   done\n\
         \x20   case $verb in\n{cases}\
         \x20   esac\n\
         \x20   [[ $cur == -* ]] && COMPREPLY=($(compgen -W \"$flags\" -- \"$cur\"))\n\
         }}\n\
         complete -o bashdefault -F _orlop_image orlop-image\n"
    )
}

fn bash_thing(thing: Thing) -> String {
    match thing {
        Thing::Words(words) => format!("compgen -W '{}' -- \"$cur\"", words.replace('|', " ")),
        Thing::Directory => "compgen -d -- \"$cur\"".to_owned(),
        Thing::File => "compgen -f -- \"$cur\"".to_owned(),
        Thing::Image => "compgen -W \"$(orlop-image list --quiet 2>/dev/null)\" -- \"$cur\"".to_owned(),
        Thing::Free => ":".to_owned(),
    }
}

fn bash_case(label: &str, command: Command, operand: &str) -> String {
    let all: Vec<String> = command.flags().map(spellings).collect();
    let values: String = command
        .flags()
        .filter_map(|flag| Some((flag, flag.value?)))
        .map(|(flag, value)| {
            let names = spellings(flag).replace(' ', "|");
            format!("                {names}) COMPREPLY=($({})); return ;;\n", bash_thing(thing(value)))
        })
        .collect();
    format!(
        "        {label})\n            flags='{}'\n            case $prev in\n{values}                *) COMPREPLY=($({operand})) ;;\n            esac ;;\n",
        all.join(" ")
    )
}

/// Text inside single quotes of a POSIX shell.
fn quote(text: &str) -> String {
    text.replace('\'', "'\\''")
}

fn zsh_thing(name: &str, thing: Thing) -> String {
    let action = match thing {
        Thing::Words(words) => format!("({})", words.replace('|', " ")),
        Thing::Directory => "_files -/".to_owned(),
        Thing::File => "_files".to_owned(),
        Thing::Image => "{compadd -- ${(f)\"$(orlop-image list --quiet 2>/dev/null)\"}}".to_owned(),
        Thing::Free => String::new(),
    };
    format!(":{}:{action}", name.trim_matches(['[', ']', '.']).replace([':', '|'], " ").to_lowercase())
}

fn zsh_flags(command: Command) -> String {
    let mut out = String::new();
    for flag in command.flags() {
        let help = quote(flag.help).replace('[', "(").replace(']', ")").replace(':', "\\:");
        let value = flag.value.map(|value| zsh_thing(value, thing(value))).unwrap_or_default();
        let many = if flag.many { "*" } else { "" };
        for name in spellings(flag).split(' ') {
            let equals = if flag.value.is_some() && name.starts_with("--") { "=" } else { "" };
            out += &format!(" \\\n                '{many}{name}{equals}[{help}]{value}'");
        }
    }
    out
}

fn zsh() -> String {
    let list: String = commands::all()
        .map(|each| format!("        '{}:{}'\n", each.name(), quote(each.about()).replace(':', "\\:")))
        .collect();
    let cases: String = commands::all()
        .map(|each| {
            let first = each.operands().split_whitespace().next();
            let operand = first.map(|word| format!(" \\\n                '1{}'", zsh_thing(word, thing(word))));
            format!("        {}) _arguments -s{}{} ;;\n", each.name(), zsh_flags(each), operand.unwrap_or_default())
        })
        .collect();
    format!(
        "#compdef orlop-image\n\
         _orlop_image() {{\n\
         \x20   local curcontext=$curcontext state line\n\
         \x20   typeset -A opt_args\n\
         \x20   local -a commands=(\n{list}    )\n\
         \x20   _arguments -C -A '-*'{} \\\n                '1:command:->verb' '*::argument:->arguments'\n\
         \x20   [[ $state == verb ]] && {{ _describe command commands; return; }}\n\
         \x20   [[ $state == arguments ]] || return\n\
         \x20   case $line[1] in\n{cases}    esac\n}}\n_orlop_image \"$@\"\n",
        zsh_flags(commands::GLOBAL)
    )
}

fn fish() -> String {
    let escape = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
    let mut out = "# fish completion for orlop-image\ncomplete -c orlop-image -f\n".to_owned();
    for each in commands::all() {
        let about = escape(each.about());
        out += &format!("complete -c orlop-image -n __fish_use_subcommand -a {} -d '{about}'\n", each.name());
    }
    for command in std::iter::once(commands::GLOBAL).chain(commands::all()) {
        let place = if command == commands::GLOBAL {
            "__fish_use_subcommand".to_owned()
        } else {
            format!("__fish_seen_subcommand_from {}", command.name())
        };
        for flag in command.flags() {
            let short = flag.short.map(|letter| format!(" -s {letter}")).unwrap_or_default();
            let value = flag.value.map(|value| format!(" -r{}", fish_thing(thing(value)))).unwrap_or_default();
            let help = escape(flag.help);
            out += &format!("complete -c orlop-image -n '{place}' -l {}{short}{value} -d '{help}'\n", flag.long);
        }
        let action = fish_thing(operand(command));
        if command != commands::GLOBAL && !action.is_empty() {
            out += &format!("complete -c orlop-image -n '{place}'{action}\n");
        }
    }
    out
}

fn fish_thing(thing: Thing) -> String {
    match thing {
        Thing::Words(words) => format!(" -a '{}'", words.replace('|', " ")),
        Thing::Directory => " -a '(__fish_complete_directories)'".to_owned(),
        Thing::File => " -F".to_owned(),
        Thing::Image => " -a '(orlop-image list --quiet 2>/dev/null)'".to_owned(),
        Thing::Free => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_names_every_command_and_flag() {
        for shell in ["bash", "zsh", "fish"] {
            let text = script(shell).unwrap();
            for command in commands::all() {
                assert!(text.contains(command.name()), "{shell}: {}", command.name());
                for flag in command.flags() {
                    assert!(text.contains(flag.long), "{shell}: --{}", flag.long);
                }
            }
        }
        assert!(script("csh").is_none());
    }

    #[test]
    fn bash_takes_its_script() {
        let mut shell = std::process::Command::new("bash");
        let output = shell.arg("-n").arg("-c").arg(bash()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
}
