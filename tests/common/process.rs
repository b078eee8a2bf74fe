//! What this process uses, as Linux tells.

use std::ffi::OsStr;
use std::fs;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::eventually;

/// For tests that count what is the process's: one of them runs at a time, and finds no connection's threads.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    eventually("the client's threads have ended", || threads().is_empty());
    alone
}

/// The ids of the connections' threads by their names, sorted. `eio-sigint` is none: it lives as long as the process.
pub(crate) fn threads() -> Vec<(String, String)> {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux").map(|task| task.expect("Linux").file_name());
    let mut threads: Vec<_> = tasks
        .filter_map(|task| {
            let id = task.into_string().expect("a number");
            // It may have ended meanwhile.
            let name = fs::read_to_string(format!("/proc/self/task/{id}/comm")).ok()?;
            let name = name.trim_end();
            (name.starts_with("eio-") && name != "eio-sigint").then(|| (name.to_owned(), id))
        })
        .collect();
    threads.sort();
    threads
}

/// A program for which SIGINT is `default` or `ignore`, whatever it is here: in the background of a script it is ignored.
pub(crate) fn with_sigint(disposition: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("env");
    command.arg(format!("--{disposition}-signal=INT")).arg(program);
    command
}

/// Open file descriptors.
pub(crate) fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("Linux").count()
}
