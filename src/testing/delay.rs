//! Random delays at the places where the order of threads matters, for tests of races.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::hang::Chance;

/// The seed of all delays; 0 means that there are none.
static SEED: AtomicU64 = AtomicU64::new(0);
static THREADS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static CHANCE: RefCell<Option<Chance>> = const { RefCell::new(None) };
}

/// Starts the delays, for threads that start from now on. Each thread has random numbers of its own.
pub(crate) fn start(seed: u64) {
    SEED.store(seed.max(1), Ordering::Relaxed);
    THREADS.store(0, Ordering::Relaxed);
}

/// Stops the delays.
pub(crate) fn stop() {
    SEED.store(0, Ordering::Relaxed);
}

/// Delays the current thread, or does not, at random.
pub(crate) fn point() {
    let seed = SEED.load(Ordering::Relaxed);
    if seed == 0 {
        return;
    }
    let chance = CHANCE.with_borrow_mut(|chance| {
        let own = || Chance::new(seed ^ (THREADS.fetch_add(1, Ordering::Relaxed) << 32));
        chance.get_or_insert_with(own).below(64)
    });
    match chance {
        0..8 => thread::yield_now(),
        8..10 => thread::sleep(Duration::from_micros(chance * 10)),
        _ => {}
    }
}
