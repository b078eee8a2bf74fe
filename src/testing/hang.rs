//! Helpers for unit tests and for the tests in `tests/`: a guard against hangs, and seeded random numbers. A
//! hang ends the process with a dump of its threads.

use std::fs;
use std::process::{self, Command};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// A guard that ends the process unless it is fed or dropped in time.
pub struct Watchdog(Sender<String>);

impl Watchdog {
    pub fn new(limit: Duration) -> Self {
        let (feed, fed) = channel();
        let watch = move || {
            let mut last = String::from("the start");
            loop {
                match fed.recv_timeout(limit) {
                    Ok(what) => last = what,
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => give_up(&format!("nothing for {limit:?} since {last}")),
                }
            }
        };
        thread::Builder::new().name("hang".into()).spawn(watch).unwrap();
        Watchdog(feed)
    }

    /// Restarts the time. `what` names the current step in the message at a hang.
    pub fn feed(&self, what: impl ToString) {
        self.0.send(what.to_string()).unwrap();
    }
}

/// Prints the threads and aborts the process. A panic would wait for the threads that hang.
pub fn give_up(why: &str) -> ! {
    eprintln!("HANG: {why}");
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let id = task.file_name().into_string().unwrap_or_default();
        eprintln!("{id} {:<16} {}", read("comm").trim_end(), read("wchan"));
    }
    // The debugger may not be installed.
    let pid = process::id().to_string();
    let _ = Command::new("gdb").args(["-batch", "-p", &pid, "-ex", "thread apply all bt 30"]).status();
    process::abort()
}

/// A generator of random numbers from a seed (splitmix64).
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Chance(seed)
    }

    #[allow(clippy::should_implement_trait, reason = "the numbers have no end")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A random number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// The seed of a test: a new one, or that of the environment variable `ENGINEIO_SEED`, to repeat a failure.
pub fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    match std::env::var("ENGINEIO_SEED") {
        Ok(seed) => seed.parse().expect("ENGINEIO_SEED is a number"),
        Err(_) => RandomState::new().hash_one(()),
    }
}

/// The number of repetitions: `long` if the environment variable `ENGINEIO_SOAK` is `long`, a fiftieth of
/// `normal` if it is `short`, otherwise `normal`.
pub fn times(normal: u64, long: u64) -> u64 {
    match std::env::var("ENGINEIO_SOAK").as_deref() {
        Ok("long") => long,
        Ok("short") => normal / 50,
        _ => normal,
    }
}

/// The memory of this process, in bytes.
pub fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}
