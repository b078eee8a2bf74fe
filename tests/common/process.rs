//! The threads and file descriptors of this process, read from Linux's `/proc`.

use std::ffi::OsStr;
use std::fs;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, Once, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use engineio::Client;

use super::eventually;

/// A lock for tests that count resources of the process. One of them runs at a time, and starts without any
/// thread of a connection.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    eventually("the client's threads have ended", || threads().is_empty());
    alone
}

/// The names and ids of the connections' threads, sorted. `eio-sigint` does not count, because it lives as
/// long as the process.
pub fn threads() -> Vec<(String, String)> {
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

/// The id of the calling thread, for [`is_asleep`].
pub fn this_thread() -> String {
    let link = fs::read_link("/proc/thread-self").expect("Linux");
    link.file_name().and_then(OsStr::to_str).expect("a number").to_owned()
}

/// The fields of a thread's `stat` file after its name, which may contain spaces. The first field is the
/// state. Returns `None` if the thread has ended.
fn stat(id: &str) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/self/task/{id}/stat")).ok()?;
    let fields = &stat[stat.rfind(')').expect("a name") + 1..];
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

/// True while that thread sleeps. It shows that a call waits which has no other visible effect.
pub fn is_asleep(id: &str) -> bool {
    stat(id).is_some_and(|fields| fields[0] == "S")
}

/// The number of times that a thread has gone to sleep; 0 if it has ended.
pub fn sleeps(id: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/self/task/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.map_or(0, |count| count.trim().parse().unwrap())
}

/// The CPU time of a thread, in ticks of 10 ms; 0 if it has ended.
pub fn ticks(id: &str) -> u64 {
    // These are fields 14 and 15 of the line, utime and stime.
    stat(id).map_or(0, |fields| fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum())
}

/// Runs a call on a thread of its own. Returns when the call waits.
pub fn waiting<T: Send + 'static>(what: &str, call: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let (tell, told) = mpsc::sync_channel(1);
    let thread = thread::spawn(move || {
        // The channel has room, so this send does not wait.
        tell.send(this_thread()).expect("the test listens");
        call()
    });
    let id = told.recv().expect("the thread runs");
    // The thread may wait for a lock on the way, but not at three moments in a row.
    let mut asleep = 0;
    eventually(what, || {
        asleep = if is_asleep(&id) { asleep + 1 } else { 0 };
        asleep == 3 || thread.is_finished()
    });
    thread
}

/// A command that starts a program with the disposition `default` or `ignore` for SIGINT. It does not inherit
/// ours, which is `ignore` in the background of a script.
pub fn with_sigint(disposition: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("env");
    command.arg(format!("--{disposition}-signal=INT")).arg(program);
    command
}

/// The number of open file descriptors, with those of the handler of Ctrl-C. The first `connect` of the
/// process opens these, and they stay.
pub fn descriptors() -> usize {
    static FIRST_CONNECT: Once = Once::new();
    FIRST_CONNECT.call_once(|| drop(Client::new().connect("http://127.0.0.1:1")));
    fs::read_dir("/proc/self/fd").expect("Linux").count()
}
