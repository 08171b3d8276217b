//! The process beside a container in the background: its output, its exit code, its end.
