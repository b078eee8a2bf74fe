//! For tests, the unit tests' and those in `tests/`: a hang becomes a dump of the threads and the end of the process;
//! and seeded chance.

use std::fs;
use std::process::{self, Command};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// Ends the process unless it is fed, or dropped, in time.
pub(crate) struct Watchdog(Sender<String>);

impl Watchdog {
    pub(crate) fn new(limit: Duration) -> Self {
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

    /// Starts a new time; `what` is told if it runs out.
    pub(crate) fn feed(&self, what: impl ToString) {
        self.0.send(what.to_string()).unwrap();
    }
}

/// A panic would wait for threads that hang.
pub(crate) fn give_up(why: &str) -> ! {
    eprintln!("HANG: {why}");
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let id = task.file_name().into_string().unwrap_or_default();
        eprintln!("{id} {:<16} {}", read("comm").trim_end(), read("wchan"));
    }
    // If there is one.
    let pid = process::id().to_string();
    let _ = Command::new("gdb").args(["-batch", "-p", &pid, "-ex", "thread apply all bt 30"]).status();
    process::abort()
}

/// Numbers that the seed decides (splitmix64).
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Chance(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// The seed of a test: what the environment variable says, to repeat a failure, or a new one.
pub(crate) fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    match std::env::var("ENGINEIO_SEED") {
        Ok(seed) => seed.parse().expect("ENGINEIO_SEED is a number"),
        Err(_) => RandomState::new().hash_one(()),
    }
}

/// How often something is done: more in the long form, which the environment variable `ENGINEIO_SOAK=long` chooses.
pub(crate) fn times(normal: u64, long: u64) -> u64 {
    if std::env::var("ENGINEIO_SOAK").is_ok_and(|soak| soak == "long") { long } else { normal }
}

/// The memory of this process, in bytes.
pub(crate) fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}
