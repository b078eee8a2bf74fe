//! The one way in which this crate locks, waits, starts threads and reads the clock for a wait.
//!
//! Under `--cfg shuttle` the primitives are those of the model checker, and time stands still: see `tests/models`.

mod signal;

use std::time::{Duration, Instant};

pub(crate) use primitives::{AtomicBool, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, thread};
#[cfg(shuttle)]
pub(crate) use shuttle::thread_local;
pub(crate) use signal::Signal;
#[cfg(not(shuttle))]
pub(crate) use std::thread_local;

#[cfg(not(shuttle))]
mod primitives {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
    pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use std::thread;
}

#[cfg(shuttle)]
mod primitives {
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use shuttle::thread;
}

/// Locks a mutex whether or not it is poisoned. No lock of this crate is held while user code runs, so that a panic
/// leaves nothing half done behind it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    delay::point();
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The time for the deadlines of waits.
#[cfg(not(shuttle))]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The time in a model stands still, so that a wake-up that only a timeout would repair is a deadlock.
#[cfg(shuttle)]
pub(crate) fn now() -> Instant {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    *START
}

/// The end of a wait of that length, which is cut to 49 days: no sum overflows.
pub(crate) fn after(wait: Duration) -> Instant {
    now() + wait.min(Duration::from_millis(u32::MAX.into()))
}

/// Whether more than `duration` has passed since `start`.
#[cfg(not(shuttle))]
pub(crate) fn has_passed(duration: Duration, start: Instant) -> bool {
    start.elapsed() > duration
}

/// A model explores both answers.
#[cfg(shuttle)]
pub(crate) fn has_passed(_: Duration, _: Instant) -> bool {
    use shuttle::rand::Rng;
    shuttle::rand::thread_rng().gen_bool(0.5)
}

/// The places where threads can get in each other's way. Outside of tests nothing happens there.
#[cfg(any(not(test), shuttle))]
pub(crate) mod delay {
    #[inline(always)]
    pub(crate) fn point() {}
}

#[cfg(all(test, not(shuttle)))]
pub(crate) use crate::testing::delay;
