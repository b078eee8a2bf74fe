//! What this process uses, as Linux tells.

use std::fs;

/// The names of the threads that begin with `prefix`.
pub(crate) fn threads(prefix: &str) -> Vec<String> {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux");
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
    let names = tasks.filter_map(|task| name(task.ok()?));
    names.map(|name| name.trim().to_owned()).filter(|name| name.starts_with(prefix)).collect()
}

/// Open file descriptors, this one's own not counted.
pub(crate) fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("Linux").count() - 1
}

/// What the threads whose names begin with `prefix` have used so far, in nanoseconds.
pub(crate) fn cpu_nanos(prefix: &str) -> u64 {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux");
    let used = |task: fs::DirEntry| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let stat = fs::read_to_string(task.path().join("schedstat")).ok()?;
        name.starts_with(prefix).then(|| stat.split(' ').next()?.parse::<u64>().ok()).flatten()
    };
    tasks.filter_map(|task| used(task.ok()?)).sum()
}
