//! A condition variable that avoids needless system calls.

use std::sync::PoisonError;
use std::time::Instant;

use super::primitives::{AtomicU64, Condvar, MutexGuard, Ordering};
use super::{delay, now};

/// A condition variable that counts its sleepers. The condition variable of std makes a system call for every
/// notification, even if no thread sleeps.
///
/// All waits and notifications use the same mutex, under which the count changes. A notifier that counts no
/// sleeper need not wake a thread: a thread that comes later sees the change, and so does a thread that was
/// woken but does not have the mutex yet. `tests/models` checks this with loom.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    condvar: Condvar,
    /// The number of sleeping threads, plus `WOKEN` for each thread that was notified and has not returned
    /// yet.
    sleepers: AtomicU64,
}

/// The unit of the count of woken threads, above the bits of the count of sleepers.
const WOKEN: u64 = 1 << 32;

impl Signal {
    /// Waits while the condition holds, until the deadline at most. `None` means no time limit.
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

    /// Waits until a notification or the deadline. It may also return without either.
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
        // A thread that returns without a notification may be counted in place of a notified one, which then
        // returns too.
        self.update(|sleepers| Some(if sleepers >= WOKEN { sleepers - WOKEN } else { sleepers - 1 }));
        guard
    }

    /// Releases the lock and wakes one waiting thread.
    #[inline]
    pub(crate) fn notify_one<T>(&self, guard: MutexGuard<'_, T>) {
        let wake = self.update(|sleepers| (sleepers % WOKEN > 0).then(|| sleepers - 1 + WOKEN));
        // The lock is released first, because the woken thread needs it.
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

    /// Wakes all waiting threads like [`notify_all`](Self::notify_all), but keeps the lock.
    pub(crate) fn notify_all_held<T>(&self, _guard: &MutexGuard<'_, T>) {
        if self.count_all_woken() {
            self.condvar.notify_all();
        }
    }

    /// Counts all sleepers as woken. Returns false if there are none.
    fn count_all_woken(&self) -> bool {
        self.update(|sleepers| (sleepers % WOKEN > 0).then(|| (sleepers / WOKEN + sleepers % WOKEN) * WOKEN))
    }

    /// Changes the count. Returns false if `change` returns `None`.
    #[inline]
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
