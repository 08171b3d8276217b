//! `orlop ps`.

use std::process::Command as Process;

use orlop::HostPid;

use crate::failure::Failure;
use crate::parse::Args;
use crate::session::{Session, container_id};
use crate::table::command;

command! {
    "ps: ID [PS-OPTION...]
list the processes of a container
",
    [
        FORMAT = "-f, --format table|json | a table made by ps(1), or the pids as JSON (default: table)",
    ],
    "
What follows ID is passed to ps(1); without it, -ef. The pids are those of the host. JSON needs no ps(1).

$ orlop ps web1
$ orlop ps web1 -o pid,rss,args
$ orlop ps --format json web1
"
}

pub(crate) fn run(session: &Session<'_>, args: &Args<'_>) -> Result<u8, Failure> {
    let format = args.choice(FORMAT)?.unwrap_or("table");
    let [name, options @ ..] = args.operands()? else { return Err(Failure::usage("which container?")) };
    if format == "json" && !options.is_empty() {
        return Err(Failure::usage("options for ps(1) and --format json exclude each other"));
    }
    let pids = orlop::ps(&session.runtime, &container_id(name)?)?;
    if format == "json" {
        return super::print(&json(&pids));
    }
    let mut ps = Process::new("ps");
    if options.is_empty() {
        ps.arg("-ef")
    } else {
        ps.args(options)
    };
    let output = ps.output().map_err(|error| Failure::io("execute ps", &error))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!("ps: {}: {}", output.status, why.trim().replace('\n', " "))));
    }
    super::print(&select(&String::from_utf8_lossy(&output.stdout), &pids)?)
}

/// One line of JSON; of no processes, `null`, as Go writes an empty list.
fn json(pids: &[HostPid]) -> String {
    let numbers: Vec<String> = pids.iter().map(HostPid::to_string).collect();
    if numbers.is_empty() { "null\n".to_owned() } else { format!("[{}]\n", numbers.join(",")) }
}

/// The title of a table of ps(1), and the lines of these processes.
fn select(table: &str, pids: &[HostPid]) -> Result<String, Failure> {
    let mut lines = table.lines();
    let title = lines.next().unwrap_or_default();
    let column = title.split_whitespace().position(|name| name == "PID");
    let column = column.ok_or_else(|| Failure::new("the output of ps has no column PID; add -o pid"))?;
    let mut text = format!("{title}\n");
    for line in lines.filter(|line| !line.is_empty()) {
        let field = line.split_whitespace().nth(column).unwrap_or_default();
        let pid: i32 = field.parse().map_err(|_| Failure::new(format!("{field:?} in the output of ps is no pid")))?;
        if pids.iter().any(|each| each.get() == pid) {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_s_lines_are_picked_by_the_pid_column() {
        let pids = [HostPid::new(14).unwrap(), HostPid::new(77).unwrap()];
        let table = "UID        PID  PPID  CMD\nroot     14  1  sleep 77\nroot  15  14 sh\nx 77 14 sh 15\n\n";
        assert_eq!(
            select(table, &pids).unwrap(),
            "UID        PID  PPID  CMD\nroot     14  1  sleep 77\nx 77 14 sh 15\n"
        );
        assert!(select("CMD\nsh\n", &pids).is_err());
        assert!(select("PID\nsh\n", &pids).is_err());
        assert_eq!(json(&pids), "[14,77]\n");
        assert_eq!(json(&[]), "null\n");
    }
}
