//! The only module that locks, waits, starts threads, and reads the clock for waits.
//!
//! With `--cfg shuttle` the primitives are those of the model checker shuttle, and time stands still.

mod signal;

use std::time::{Duration, Instant};

pub(crate) use primitives::{AtomicBool, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, thread};
#[cfg(shuttle)]
pub(crate) use shuttle::thread_local;
pub(crate) use signal::Signal;
#[cfg(not(shuttle))]
pub(crate) use std::thread_local;

/// A 64-bit atomic counter for relaxed operations only. Even in a model, it is not the model checker's type.
#[cfg(target_has_atomic = "64")]
pub(crate) type RelaxedU64 = std::sync::atomic::AtomicU64;
#[cfg(not(target_has_atomic = "64"))]
pub(crate) type RelaxedU64 = portable_atomic::AtomicU64;

#[cfg(not(shuttle))]
mod primitives {
    pub(crate) use super::RelaxedU64 as AtomicU64;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use std::thread;
}

#[cfg(shuttle)]
mod primitives {
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use shuttle::thread;
}

/// Locks a mutex, even a poisoned one. No lock of this crate is held while user code runs, so a panic leaves
/// no half-changed state behind.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    delay::point();
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The current time, for the deadlines of waits.
#[cfg(not(shuttle))]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The current time in a model, which stands still. A wake-up that only a timeout would repair is then a
/// deadlock.
#[cfg(shuttle)]
pub(crate) fn now() -> Instant {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    *START
}

/// The longest wait, 49 days. Adding it to a time does not overflow.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_millis(u32::MAX as u64);

/// The deadline of a wait, which is cut to the longest.
pub(crate) fn after(wait: Duration) -> Instant {
    now() + wait.min(LONGEST_WAIT)
}

/// True if more than `duration` has passed since `start`.
#[cfg(not(shuttle))]
pub(crate) fn has_passed(duration: Duration, start: Instant) -> bool {
    start.elapsed() > duration
}

/// A random answer, so that a model explores both.
#[cfg(shuttle)]
pub(crate) fn has_passed(_: Duration, _: Instant) -> bool {
    use shuttle::rand::Rng;
    shuttle::rand::thread_rng().gen_bool(0.5)
}

/// Marks the places where the order of threads matters. Only in tests a delay happens there.
#[cfg(any(not(test), shuttle))]
pub(crate) mod delay {
    #[inline(always)]
    pub(crate) fn point() {}
}

#[cfg(all(test, not(shuttle)))]
pub(crate) use crate::testing::delay;
