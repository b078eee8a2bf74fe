//! The resources of this process, from Linux's /proc.

use std::ffi::OsStr;
use std::fs;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::eventually;

/// A lock for tests that count resources of the process. One of them runs at a time, and starts without any
/// thread of a connection.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    eventually("the client's threads have ended", || threads().is_empty());
    alone
}

/// The names and ids of the connections' threads, sorted. `eio-sigint` does not count, because it lives as
/// long as the process.
pub(crate) fn threads() -> Vec<(String, String)> {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux").map(|task| task.expect("Linux").file_name());
    let mut threads: Vec<_> = tasks
        .filter_map(|task| {
            let id = task.into_string().expect("a number");
            // The thread may have ended in the meantime.
            let name = fs::read_to_string(format!("/proc/self/task/{id}/comm")).ok()?;
            let name = name.trim_end();
            (name.starts_with("eio-") && name != "eio-sigint").then(|| (name.to_owned(), id))
        })
        .collect();
    threads.sort();
    threads
}

/// A command that starts a program with the disposition `default` or `ignore` for SIGINT. It does not inherit
/// ours, which is `ignore` in the background of a script.
pub(crate) fn with_sigint(disposition: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("env");
    command.arg(format!("--{disposition}-signal=INT")).arg(program);
    command
}

/// The number of open file descriptors.
pub(crate) fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("Linux").count()
}
