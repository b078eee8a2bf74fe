//! Helpers for programs with threads: background tasks, queues and flags, as in python-engineio.

mod queue;

use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::sync::{Mutex, Signal, lock};

pub use queue::{Queue, QueueEmpty, QueueFull, QueueItems};

/// Helpers for programs with threads, as in python-engineio.
impl Client {
    /// Runs `task` on a new thread named `eio-task`. The task does not end with the connection.
    ///
    /// The client does not see the task's result. If the handle is dropped, an error that the task returns
    /// leaves no trace: handle errors in the task, or join the handle. A panic is reported by the panic hook.
    ///
    /// # Panics
    ///
    /// Panics if the system cannot start a thread, like [`std::thread::spawn`].
    ///
    /// # Examples
    ///
    /// ```
    /// let client = engineio::Client::new();
    /// let task = client.start_background_task(|| 6 * 7);
    /// assert_eq!(task.join().unwrap(), 42);
    /// ```
    pub fn start_background_task<F, T>(&self, task: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Builder::new().name("eio-task".into()).spawn(task).expect("the system can start a thread")
    }

    /// Puts the current thread to sleep, like [`std::thread::sleep`].
    ///
    /// # Examples
    ///
    /// ```
    /// engineio::Client::new().sleep(std::time::Duration::from_millis(1));
    /// ```
    pub fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }

    /// Creates a queue for at most `capacity` items. The queue's memory grows with its items.
    ///
    /// A capacity of 0 means no limit, as in Python. Set a limit for a queue that a handler fills, because
    /// otherwise a fast server could fill the memory. For [`events`](Self::events), by contrast, 0 means that
    /// no event waits in the channel.
    ///
    /// # Examples
    ///
    /// ```
    /// let client = engineio::Client::new();
    /// let inbox = client.create_queue(100);
    /// let sender = inbox.clone();
    /// client.on_message(move |_, message| sender.put(message));
    /// assert!(inbox.is_empty());
    /// ```
    pub fn create_queue<T>(&self, capacity: usize) -> Queue<T> {
        Queue::new(capacity)
    }

    /// Creates a flag for threads to wait for. The flag is not set at first.
    ///
    /// # Examples
    ///
    /// ```
    /// let client = engineio::Client::new();
    /// let connected = client.create_event();
    /// let flag = connected.clone();
    /// client.on_connect(move |_| flag.set());
    /// assert!(!connected.is_set());
    /// ```
    pub fn create_event(&self) -> Flag {
        Flag::default()
    }
}

/// A flag that threads can wait for, created by [`Client::create_event`](crate::Client::create_event).
///
/// Clones are handles to the same flag.
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
pub struct Flag(Arc<FlagState>);

#[derive(Debug, Default)]
struct FlagState {
    set: Mutex<bool>,
    changed: Signal,
}

impl Flag {
    /// Sets the flag, and wakes all threads that wait for it.
    pub fn set(&self) {
        let mut set = lock(&self.0.set);
        *set = true;
        self.0.changed.notify_all(set);
    }

    /// Resets the flag.
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

    /// Waits until the flag is set, without a time limit.
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// Waits like [`wait`](Self::wait), for at most `timeout`. Returns true if the flag is set.
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
        *self.0.changed.wait_while(lock(&self.0.set), deadline, |set| !set)
    }
}
