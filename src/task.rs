//! Helpers for programs with threads: background tasks, queues and flags, as in python-engineio.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::sync::{Mutex, Signal, lock};

impl Client {
    /// Runs `task` on a new thread named `eio-task`. The task does not end with the connection.
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

    /// Creates a queue for at most `capacity` items; 0 means no limit. The queue's memory grows with its
    /// items.
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

/// A first-in, first-out queue between threads, created by
/// [`Client::create_queue`](crate::Client::create_queue).
///
/// Clones are handles to the same queue.
///
/// # Examples
///
/// ```
/// let client = engineio::Client::new();
/// let queue = client.create_queue(10);
/// let worker = queue.clone();
/// client.start_background_task(move || worker.put("done"));
/// assert_eq!(queue.get(), "done");
/// ```
pub struct Queue<T>(Arc<QueueState<T>>);

/// The state of a queue. A bounded channel does not do, because it allocates its whole capacity at once.
struct QueueState<T> {
    capacity: usize,
    items: Mutex<VecDeque<T>>,
    /// Notified when an item is added or taken.
    changed: Signal,
}

/// The error for a queue in which no item arrived in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue is empty")]
pub struct QueueEmpty;

impl<T> Queue<T> {
    /// A capacity of 0 means no limit, as in Python.
    fn new(capacity: usize) -> Self {
        let capacity = if capacity == 0 { usize::MAX } else { capacity };
        Queue(Arc::new(QueueState { capacity, items: Mutex::default(), changed: Signal::default() }))
    }

    /// Adds an item at the end. Blocks while the queue is full, without a time limit.
    ///
    /// # Examples
    ///
    /// ```
    /// let queue = engineio::Client::new().create_queue(0);
    /// queue.put(1);
    /// assert_eq!(queue.len(), 1);
    /// ```
    pub fn put(&self, item: T) {
        let queue = &*self.0;
        let full = |items: &VecDeque<T>| items.len() >= queue.capacity;
        let mut items = queue.changed.wait_while(lock(&queue.items), None, full);
        items.push_back(item);
        queue.changed.notify_all(items);
    }

    /// Takes the first item. Blocks while the queue is empty, without a time limit.
    ///
    /// # Examples
    ///
    /// ```
    /// let queue = engineio::Client::new().create_queue(0);
    /// queue.put("first");
    /// queue.put("second");
    /// assert_eq!(queue.get(), "first");
    /// ```
    pub fn get(&self) -> T {
        loop {
            if let Ok(item) = self.get_by(None) {
                return item;
            }
        }
    }

    /// Takes the first item like [`get`](Self::get), but waits for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`QueueEmpty`] if no item came in that time.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let queue = engineio::Client::new().create_queue::<String>(0);
    /// assert_eq!(queue.get_timeout(Duration::from_millis(1)), Err(engineio::QueueEmpty));
    /// ```
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, QueueEmpty> {
        self.get_by(Instant::now().checked_add(timeout))
    }

    /// Takes the first item without waiting.
    ///
    /// # Errors
    ///
    /// [`QueueEmpty`] if the queue is empty.
    ///
    /// # Examples
    ///
    /// ```
    /// let queue = engineio::Client::new().create_queue(0);
    /// queue.put(1);
    /// assert_eq!((queue.get_nowait(), queue.get_nowait()), (Ok(1), Err(engineio::QueueEmpty)));
    /// ```
    pub fn get_nowait(&self) -> Result<T, QueueEmpty> {
        self.get_by(Some(Instant::now()))
    }

    fn get_by(&self, deadline: Option<Instant>) -> Result<T, QueueEmpty> {
        let queue = &*self.0;
        let mut items = queue.changed.wait_while(lock(&queue.items), deadline, VecDeque::is_empty);
        let item = items.pop_front().ok_or(QueueEmpty)?;
        queue.changed.notify_all(items);
        Ok(item)
    }

    /// The number of items in the queue.
    pub fn len(&self) -> usize {
        lock(&self.0.items).len()
    }

    /// True if the queue is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Queue(self.0.clone())
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("len", &self.len()).finish_non_exhaustive()
    }
}
