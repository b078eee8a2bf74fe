//! Locks that a panic elsewhere does not poison for us, and waits with a deadline.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// No lock of this crate is held while user code runs, so that a panic leaves nothing half done behind one.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// Waits until notified, or until the deadline; without one as [`wait`].
pub(crate) fn wait_until<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    deadline: Option<Instant>,
) -> MutexGuard<'a, T> {
    let Some(deadline) = deadline else { return wait(condvar, guard) };
    let left = deadline.saturating_duration_since(Instant::now());
    condvar.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0
}
