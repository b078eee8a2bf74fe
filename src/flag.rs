use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::sync::{Signal, lock};

/// A flag that threads wait for, from [`Client::create_event`](crate::Client::create_event).
///
/// Clones are the same flag.
///
/// # Examples
///
/// ```
/// let client = engineio::Client::new();
/// let ready = client.create_event();
/// let worker = ready.clone();
/// client.start_background_task(move || worker.set());
/// ready.wait();
/// assert!(ready.is_set());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Flag(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    set: Mutex<bool>,
    changed: Signal,
}

impl Flag {
    /// Sets the flag, and wakes everybody who waits for it.
    pub fn set(&self) {
        let mut set = lock(&self.0.set);
        *set = true;
        self.0.changed.notify_all(set);
    }

    /// Takes the flag back.
    ///
    /// # Examples
    ///
    /// ```
    /// let flag = engineio::Client::new().create_event();
    /// flag.set();
    /// flag.clear();
    /// assert!(!flag.is_set());
    /// ```
    pub fn clear(&self) {
        *lock(&self.0.set) = false;
    }

    /// True if the flag is set.
    pub fn is_set(&self) -> bool {
        *lock(&self.0.set)
    }

    /// Waits, without a limit of time, until the flag is set.
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// As [`wait`](Self::wait), for at most `timeout`. True if the flag is set.
    ///
    /// # Examples
    ///
    /// ```
    /// let flag = engineio::Client::new().create_event();
    /// assert!(!flag.wait_timeout(std::time::Duration::from_millis(1)));
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        let mut set = lock(&self.0.set);
        while !*set && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            set = self.0.changed.wait_until(set, deadline);
        }
        *set
    }
}
