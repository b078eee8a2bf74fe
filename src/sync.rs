//! Locks that a panic elsewhere does not poison for us, and waits with a deadline.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// No lock of this crate is held while user code runs, so that a panic leaves nothing half done behind one.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    delay::point();
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A condition variable that knows who still sleeps: std's makes a system call at every notification.
///
/// All waits and notifications use the same mutex, under which everything is counted. So a notifier that finds nobody
/// asleep has nobody to wake: who comes later sees the change, and so does who is woken already and has not got the
/// mutex yet. One that counts as woken before it sleeps would be lost.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    condvar: Condvar,
    /// How many sleep, and `WOKEN` for each that was notified and has not come back.
    sleepers: AtomicU64,
}

/// Above the count of those asleep.
const WOKEN: u64 = 1 << 32;

impl Signal {
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.wait_until(guard, None)
    }

    /// Waits until notified, or until the deadline. May also end for no reason.
    pub(crate) fn wait_until<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Option<Instant>,
    ) -> MutexGuard<'a, T> {
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        delay::point();
        let guard = match deadline {
            None => self.condvar.wait(guard).unwrap_or_else(PoisonError::into_inner),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                self.condvar.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        // One that comes back for no reason may take the place of one that was notified. That one comes too.
        self.update(|sleepers| Some(if sleepers >= WOKEN { sleepers - WOKEN } else { sleepers - 1 }));
        guard
    }

    /// Gives the lock back and wakes one that waits.
    pub(crate) fn notify_one<T>(&self, guard: MutexGuard<'_, T>) {
        let wake = self.update(|sleepers| (sleepers % WOKEN > 0).then(|| sleepers - 1 + WOKEN));
        // Who wakes needs the lock.
        drop(guard);
        delay::point();
        if wake {
            self.condvar.notify_one();
        }
    }

    /// Gives the lock back and wakes all that wait.
    pub(crate) fn notify_all<T>(&self, guard: MutexGuard<'_, T>) {
        let wake = self.count_all_woken();
        drop(guard);
        delay::point();
        if wake {
            self.condvar.notify_all();
        }
    }

    /// As [`notify_all`](Self::notify_all), for a thread that needs the lock on.
    pub(crate) fn notify_all_held<T>(&self, _guard: &MutexGuard<'_, T>) {
        if self.count_all_woken() {
            self.condvar.notify_all();
        }
    }

    fn count_all_woken(&self) -> bool {
        self.update(|sleepers| (sleepers % WOKEN > 0).then(|| (sleepers / WOKEN + sleepers % WOKEN) * WOKEN))
    }

    fn update(&self, change: impl FnMut(u64) -> Option<u64>) -> bool {
        self.sleepers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change).is_ok()
    }
}

/// Where threads can get in each other's way, outside of tests: nothing happens.
#[cfg(not(test))]
mod delay {
    #[inline(always)]
    pub(super) fn point() {}
}

/// Delays by chance where threads can get in each other's way, for tests of races.
#[cfg(test)]
pub(crate) mod delay {
    use std::cell::RefCell;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;
    use std::time::Duration;

    use crate::hang::Chance;

    /// 0 for none.
    static SEED: AtomicU64 = AtomicU64::new(0);
    static THREADS: AtomicU64 = AtomicU64::new(0);

    thread_local! {
        static CHANCE: RefCell<Option<Chance>> = const { RefCell::new(None) };
    }

    /// Delays threads that start from now on, each in its own way.
    pub(crate) fn start(seed: u64) {
        SEED.store(seed.max(1), Ordering::Relaxed);
        THREADS.store(0, Ordering::Relaxed);
    }

    pub(crate) fn stop() {
        SEED.store(0, Ordering::Relaxed);
    }

    pub(super) fn point() {
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
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_notification_that_means_another_thread_hides_none() {
        delay::start(1);
        let (number, changed) = (Mutex::new(0), Signal::default());
        let (seen, sees) = channel();
        thread::scope(|scope| {
            let (number, changed) = (&number, &changed);
            scope.spawn(move || {
                for expected in 1..=2_000 {
                    let mut number = lock(number);
                    while *number < expected {
                        number = changed.wait(number);
                    }
                    drop(number);
                    seen.send(()).unwrap();
                }
            });
            let noise = scope.spawn(move || {
                while *lock(number) < 2_000 {
                    changed.notify_all(lock(number));
                }
            });
            for _ in 0..2_000 {
                let mut now = lock(number);
                *now += 1;
                changed.notify_all(now);
                sees.recv_timeout(Duration::from_secs(20)).expect("a change is seen");
            }
            noise.join().unwrap();
        });
        delay::stop();
    }
}
