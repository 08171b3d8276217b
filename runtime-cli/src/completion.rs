//! Completion scripts for shells, written from the table.

use std::fmt::Write;

use crate::table::{Catalogue, Command, Flag, HELP};

/// What can be completed at one place of a command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thing {
    /// One of the words that `|` divides.
    Words(&'static str),
    /// A directory.
    Directory,
    /// A file or socket.
    File,
    /// A container's id.
    Container,
    /// Nothing known.
    Free,
}

/// What a placeholder of the table stands for.
fn thing(placeholder: &'static str) -> Thing {
    let word = placeholder.trim_matches(['[', ']']).trim_end_matches("...").trim_matches(['[', ']']);
    match word {
        "DIR" | "BUNDLE" => Thing::Directory,
        "FILE" | "SOCKET" | "PROFILE" => Thing::File,
        "ID" => Thing::Container,
        words if words.contains('|') => Thing::Words(words),
        _ => Thing::Free,
    }
}

fn first_operand(command: Command) -> Thing {
    command.operands().split_whitespace().next().map_or(Thing::Free, thing)
}

fn usable(command: Command) -> impl Iterator<Item = Flag> {
    command.flags().chain([HELP]).filter(|flag| !flag.refused)
}

/// Names of commands as a shell sees them: of `seccomp dump` only the first word, once.
fn first_words(catalogue: &Catalogue) -> Vec<(&'static str, &'static str)> {
    let mut words: Vec<(&str, &str)> = Vec::new();
    for &command in &catalogue.commands {
        let first = command.name().split(' ').next().unwrap_or_default();
        if words.last().is_none_or(|&(word, _)| word != first) {
            words.push((first, command.about()));
        }
    }
    words
}

/// The script for `shell`, or `None` for an unknown one.
pub(crate) fn script(shell: &str, catalogue: &Catalogue) -> Option<String> {
    let mut text = String::new();
    match shell {
        "bash" => bash(&mut text, catalogue),
        "zsh" => zsh(&mut text, catalogue),
        "fish" => fish(&mut text, catalogue),
        _ => return None,
    }
    .ok()?;
    Some(text)
}

fn spellings(flag: Flag) -> String {
    flag.short.map_or_else(|| format!("--{}", flag.long), |letter| format!("--{} -{letter}", flag.long))
}

fn bash(out: &mut String, catalogue: &Catalogue) -> std::fmt::Result {
    let skip: Vec<String> =
        usable(catalogue.global).filter(|flag| flag.value.is_some()).map(|flag| format!("--{}", flag.long)).collect();
    write!(
        out,
        "# bash completion for orlop\n\
         _orlop_ids() {{ orlop ${{roots[@]+\"${{roots[@]}}\"}} list --quiet 2>/dev/null; }}\n\
         _orlop() {{\n\
         \x20   local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} verb= flags= i=1\n\
         \x20   local -a roots=()\n\
         \x20   COMPREPLY=()\n\
         \x20   while (( i < COMP_CWORD )); do\n\
         \x20       case ${{COMP_WORDS[i]}} in\n\
         \x20           --root) roots=(--root \"${{COMP_WORDS[i+1]}}\"); (( i += 2 )); continue ;;\n\
         \x20           {}) (( i += 2 )); continue ;;\n\
         \x20           -*) (( i += 1 )); continue ;;\n\
         \x20       esac\n\
         \x20       verb=${{COMP_WORDS[i]}}\n\
         \x20       [[ $verb == seccomp ]] && (( i + 1 < COMP_CWORD )) && verb+=\" ${{COMP_WORDS[i+1]}}\"\n\
         \x20       break\n\
         \x20   done\n\
         \x20   case $verb in\n",
        skip.iter().filter(|name| *name != "--root").map(String::as_str).collect::<Vec<_>>().join("|")
    )?;
    let names: Vec<&str> = first_words(catalogue).into_iter().map(|(word, _)| word).chain(["help"]).collect();
    bash_case(out, "''", catalogue.global, &format!("compgen -W '{}' -- \"$cur\"", names.join(" ")))?;
    writeln!(out, "        seccomp) COMPREPLY=($(compgen -W 'dump explain' -- \"$cur\")); return ;;")?;
    for &command in &catalogue.commands {
        let operand = bash_thing(first_operand(command));
        bash_case(out, &format!("'{}'", command.name()), command, &operand)?;
    }
    write!(
        out,
        "    esac\n\
         \x20   [[ $cur == -* ]] && COMPREPLY=($(compgen -W \"$flags\" -- \"$cur\"))\n\
         }}\n\
         complete -o bashdefault -F _orlop orlop\n"
    )
}

fn bash_thing(thing: Thing) -> String {
    match thing {
        Thing::Words(words) => format!("compgen -W '{}' -- \"$cur\"", words.replace('|', " ")),
        Thing::Directory => "compgen -d -- \"$cur\"".to_owned(),
        Thing::File => "compgen -f -- \"$cur\"".to_owned(),
        Thing::Container => "compgen -W \"$(_orlop_ids)\" -- \"$cur\"".to_owned(),
        Thing::Free => ":".to_owned(),
    }
}

fn bash_case(out: &mut String, label: &str, command: Command, operand: &str) -> std::fmt::Result {
    let all: Vec<String> = usable(command).map(spellings).collect();
    writeln!(out, "        {label})\n            flags='{}'\n            case $prev in", all.join(" "))?;
    for flag in usable(command) {
        if let Some(value) = flag.value {
            let names = spellings(flag).replace(' ', "|");
            writeln!(out, "                {names}) COMPREPLY=($({})); return ;;", bash_thing(thing(value)))?;
        }
    }
    writeln!(out, "                *) COMPREPLY=($({operand})) ;;\n            esac ;;")
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
        Thing::Container => "_orlop_ids".to_owned(),
        Thing::Free => String::new(),
    };
    format!(":{}:{action}", name.replace([':', '|'], " ").to_lowercase())
}

fn zsh_flags(out: &mut String, command: Command) -> std::fmt::Result {
    for flag in usable(command) {
        let help = quote(flag.help).replace('[', "(").replace(']', ")").replace(':', "\\:");
        let value = flag.value.map(|value| zsh_thing(value, thing(value))).unwrap_or_default();
        let many = if flag.many { "*" } else { "" };
        for name in spellings(flag).split(' ') {
            let equals = if flag.value.is_some() && name.starts_with("--") { "=" } else { "" };
            write!(out, " \\\n                '{many}{name}{equals}[{help}]{value}'")?;
        }
    }
    Ok(())
}

fn zsh(out: &mut String, catalogue: &Catalogue) -> std::fmt::Result {
    write!(
        out,
        "#compdef orlop\n\
         _orlop_ids() {{\n\
         \x20   local -a ids\n\
         \x20   ids=(${{(f)\"$(orlop ${{opt_args[--root]:+--root}} ${{opt_args[--root]}} list --quiet 2>/dev/null)\"}})\n\
         \x20   compadd -a ids\n\
         }}\n\
         _orlop() {{\n\
         \x20   local curcontext=$curcontext state line verb\n\
         \x20   typeset -A opt_args\n\
         \x20   local -a commands=(\n"
    )?;
    for (word, about) in first_words(catalogue) {
        writeln!(out, "        '{word}:{}'", quote(about).replace(':', "\\:"))?;
    }
    write!(out, "    )\n    _arguments -C -A '-*'")?;
    zsh_flags(out, catalogue.global)?;
    write!(
        out,
        " \\\n                '1:command:->verb' '*::argument:->arguments'\n\
         \x20   [[ $state == verb ]] && {{ _describe command commands; return; }}\n\
         \x20   [[ $state == arguments ]] || return\n\
         \x20   verb=$line[1]\n\
         \x20   if [[ $verb == seccomp ]]; then\n\
         \x20       (( CURRENT == 2 )) && {{ compadd dump explain; return; }}\n\
         \x20       verb+=\" $words[2]\"; shift words; (( CURRENT-- ))\n\
         \x20   fi\n\
         \x20   case $verb in\n"
    )?;
    for &command in &catalogue.commands {
        write!(out, "        '{}') _arguments -s", command.name())?;
        zsh_flags(out, command)?;
        if let Some(word) = command.operands().split_whitespace().next() {
            write!(out, " \\\n                '1{}'", zsh_thing(word.trim_matches(['[', ']', '.']), thing(word)))?;
        }
        writeln!(out, " ;;")?;
    }
    writeln!(out, "    esac\n}}\n_orlop \"$@\"")
}

fn fish(out: &mut String, catalogue: &Catalogue) -> std::fmt::Result {
    let escape = |text: &str| text.replace('\\', "\\\\").replace('\'', "\\'");
    writeln!(out, "# fish completion for orlop\ncomplete -c orlop -f")?;
    for (word, about) in first_words(catalogue) {
        writeln!(out, "complete -c orlop -n __fish_use_subcommand -a {word} -d '{}'", escape(about))?;
    }
    writeln!(
        out,
        "complete -c orlop -n '__fish_seen_subcommand_from seccomp; and not __fish_seen_subcommand_from dump explain' -a 'dump explain'"
    )?;
    for command in std::iter::once(catalogue.global).chain(catalogue.commands.iter().copied()) {
        let place = if command == catalogue.global {
            "__fish_use_subcommand".to_owned()
        } else {
            let last = command.name().split(' ').next_back().unwrap_or_default();
            format!("__fish_seen_subcommand_from {last}")
        };
        for flag in usable(command) {
            let short = flag.short.map(|letter| format!(" -s {letter}")).unwrap_or_default();
            let value = flag.value.map(|value| fish_value(thing(value))).unwrap_or_default();
            writeln!(out, "complete -c orlop -n '{place}' -l {}{short}{value} -d '{}'", flag.long, escape(flag.help))?;
        }
        if command != catalogue.global {
            let action = fish_thing(first_operand(command));
            if !action.is_empty() {
                writeln!(out, "complete -c orlop -n '{place}'{action}")?;
            }
        }
    }
    Ok(())
}

/// `-x`: a value and no files; `-r`: a value.
fn fish_value(thing: Thing) -> String {
    format!(" {}{}", if thing == Thing::File { "-r" } else { "-x" }, fish_thing(thing))
}

fn fish_thing(thing: Thing) -> String {
    match thing {
        Thing::Words(words) => format!(" -a '{}'", words.replace('|', " ")),
        Thing::Directory => " -a '(__fish_complete_directories)'".to_owned(),
        Thing::File => " -F".to_owned(),
        Thing::Container => " -a '(orlop list --quiet 2>/dev/null)'".to_owned(),
        Thing::Free => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands;

    #[test]
    fn every_script_names_every_command_and_flag() {
        for shell in ["bash", "zsh", "fish"] {
            let text = script(shell, &commands::catalogue()).unwrap();
            for command in commands::all() {
                for word in command.name().split(' ') {
                    assert!(text.contains(word), "{shell}: {word}");
                }
                for flag in usable(command) {
                    assert!(text.contains(flag.long), "{shell}: --{}", flag.long);
                }
            }
        }
        assert!(script("csh", &commands::catalogue()).is_none());
    }

    #[test]
    fn placeholders_say_what_to_complete() {
        assert_eq!(thing("DIR"), Thing::Directory);
        assert_eq!(thing("SOCKET"), Thing::File);
        assert_eq!(thing("ID"), Thing::Container);
        assert_eq!(thing("[ID...]"), Thing::Container);
        assert_eq!(thing("table|json"), Thing::Words("table|json"));
        assert_eq!(thing("N"), Thing::Free);
    }
}
