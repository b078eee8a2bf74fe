use std::sync::PoisonError;
use std::time::Instant;

use super::primitives::{AtomicU64, Condvar, MutexGuard, Ordering};
use super::{delay, now};

/// A condition variable that counts its sleepers: std's makes a system call at every notification.
///
/// All waits and notifications use the same mutex, under which the count changes. A notifier that finds no sleeper
/// has nobody to wake: a thread that comes later sees the change, and so does a thread that was woken already and
/// has not got the mutex yet. `tests/models` checks this with loom.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    condvar: Condvar,
    /// The number of threads asleep, plus `WOKEN` for each thread that was notified and has not come back.
    sleepers: AtomicU64,
}

/// The count of woken threads stands above the count of those asleep.
const WOKEN: u64 = 1 << 32;

impl Signal {
    /// Waits while the condition holds, until the deadline at the latest. No deadline means no bound.
    pub(crate) fn wait_while<'a, T>(
        &self,
        mut guard: MutexGuard<'a, T>,
        deadline: Option<Instant>,
        condition: impl Fn(&T) -> bool,
    ) -> MutexGuard<'a, T> {
        while condition(&guard) && deadline.is_none_or(|deadline| now() < deadline) {
            guard = self.wait(guard, deadline);
        }
        guard
    }

    /// Waits until notified, or until the deadline. May also return for no reason.
    pub(crate) fn wait<'a, T>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Option<Instant>,
    ) -> MutexGuard<'a, T> {
        self.sleepers.fetch_add(1, Ordering::Relaxed);
        delay::point();
        let guard = match deadline {
            None => self.condvar.wait(guard).unwrap_or_else(PoisonError::into_inner),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(now());
                self.condvar.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        // A thread that returns for no reason may take the place of a notified one, which returns as well.
        self.update(|sleepers| Some(if sleepers >= WOKEN { sleepers - WOKEN } else { sleepers - 1 }));
        guard
    }

    /// Releases the lock and wakes one waiting thread.
    pub(crate) fn notify_one<T>(&self, guard: MutexGuard<'_, T>) {
        let wake = self.update(|sleepers| (sleepers % WOKEN > 0).then(|| sleepers - 1 + WOKEN));
        // The woken thread needs the lock.
        drop(guard);
        delay::point();
        if wake {
            self.condvar.notify_one();
        }
    }

    /// Releases the lock and wakes all waiting threads.
    pub(crate) fn notify_all<T>(&self, guard: MutexGuard<'_, T>) {
        let wake = self.count_all_woken();
        drop(guard);
        delay::point();
        if wake {
            self.condvar.notify_all();
        }
    }

    /// As [`notify_all`](Self::notify_all), for a thread that still needs the lock.
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

#[cfg(all(test, not(any(shuttle, loom))))]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::sync::lock;

    #[test]
    fn a_notification_that_means_another_thread_hides_none() {
        delay::start(1);
        let (number, changed) = (Mutex::new(0), Signal::default());
        let (seen, sees) = channel();
        thread::scope(|scope| {
            let (number, changed) = (&number, &changed);
            scope.spawn(move || {
                for expected in 1..=2_000 {
                    drop(changed.wait_while(lock(number), None, |number| *number < expected));
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
