//! Queues between threads.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::{Mutex, Signal, lock};

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
    contents: Mutex<Contents<T>>,
    /// Notified when an item is added or taken, and when the queue is closed.
    changed: Signal,
}

struct Contents<T> {
    items: VecDeque<T>,
    closed: bool,
}

/// The error if no item arrived in a queue in time, or if the queue is closed and has no items left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue is empty")]
pub struct QueueEmpty;

/// The error if a queue had no room in time, or is closed. It contains the item that was not added.
///
/// # Examples
///
/// ```
/// let queue = engineio::Client::new().create_queue(1);
/// queue.put("first");
/// let engineio::QueueFull(back) = queue.put_nowait("second").unwrap_err();
/// assert_eq!(back, "second");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue is full")]
pub struct QueueFull<T>(pub T);

/// The item is not shown, so it need not be `Debug`.
impl<T> fmt::Debug for QueueFull<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QueueFull(..)")
    }
}

impl<T> Queue<T> {
    /// A capacity of 0 means no limit, as in Python.
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = if capacity == 0 { usize::MAX } else { capacity };
        let contents = Mutex::new(Contents { items: VecDeque::new(), closed: false });
        Queue(Arc::new(QueueState { capacity, contents, changed: Signal::default() }))
    }

    /// Adds an item at the end. Blocks while the queue is full, without a time limit.
    ///
    /// # Panics
    ///
    /// Panics if the queue is [closed](Self::close), before the call or while it waits. In a thread that may
    /// still add items then, use [`put_timeout`](Self::put_timeout) or [`put_nowait`](Self::put_nowait).
    ///
    /// # Examples
    ///
    /// ```
    /// let queue = engineio::Client::new().create_queue(0);
    /// queue.put(1);
    /// assert_eq!(queue.len(), 1);
    /// ```
    pub fn put(&self, item: T) {
        let put = self.put_by(item, None);
        assert!(put.is_ok(), "the queue is closed");
    }

    /// Adds an item like [`put`](Self::put), but waits for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`QueueFull`] with the item if there was no room in that time. If the queue is [closed](Self::close),
    /// the error is returned at once.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let queue = engineio::Client::new().create_queue(1);
    /// assert!(queue.put_timeout(1, Duration::from_millis(1)).is_ok());
    /// assert!(queue.put_timeout(2, Duration::from_millis(1)).is_err());
    /// ```
    pub fn put_timeout(&self, item: T, timeout: Duration) -> Result<(), QueueFull<T>> {
        self.put_by(item, Instant::now().checked_add(timeout))
    }

    /// Adds an item without waiting.
    ///
    /// # Errors
    ///
    /// [`QueueFull`] with the item if the queue is full or [closed](Self::close).
    ///
    /// # Examples
    ///
    /// ```
    /// use engineio::QueueFull;
    ///
    /// let queue = engineio::Client::new().create_queue(1);
    /// assert_eq!(queue.put_nowait(1), Ok(()));
    /// assert_eq!(queue.put_nowait(2), Err(QueueFull(2)));
    /// ```
    pub fn put_nowait(&self, item: T) -> Result<(), QueueFull<T>> {
        self.put_by(item, Some(Instant::now()))
    }

    fn put_by(&self, item: T, deadline: Option<Instant>) -> Result<(), QueueFull<T>> {
        let queue = &*self.0;
        let full = |contents: &Contents<T>| contents.items.len() >= queue.capacity;
        let waits = |contents: &Contents<T>| full(contents) && !contents.closed;
        let mut contents = queue.changed.wait_while(lock(&queue.contents), deadline, waits);
        if contents.closed || full(&contents) {
            return Err(QueueFull(item));
        }
        contents.items.push_back(item);
        queue.changed.notify_all(contents);
        Ok(())
    }

    /// Closes the queue, and wakes all threads that wait for it. No further items are accepted. The items
    /// that are in the queue can still be taken. After the last item:
    ///
    /// - a loop over the [items](Self::iter) ends,
    /// - [`get_timeout`](Self::get_timeout) and [`get_nowait`](Self::get_nowait) return [`QueueEmpty`] at
    ///   once,
    /// - [`get`](Self::get) panics, because it returns no error.
    ///
    /// [`is_closed`](Self::is_closed) distinguishes a closed queue from one that is merely empty.
    ///
    /// # Examples
    ///
    /// ```
    /// let client = engineio::Client::new();
    /// let jobs = client.create_queue(10);
    /// let worker = client.start_background_task({
    ///     let jobs = jobs.clone();
    ///     move || jobs.iter().sum::<i32>()
    /// });
    /// (1..=3).for_each(|job| jobs.put(job));
    /// jobs.close();
    /// assert_eq!(worker.join().unwrap(), 6);
    /// ```
    pub fn close(&self) {
        let mut contents = lock(&self.0.contents);
        contents.closed = true;
        self.0.changed.notify_all(contents);
    }

    /// True if the queue is [closed](Self::close). A closed queue may still have items.
    ///
    /// # Examples
    ///
    /// ```
    /// use engineio::QueueEmpty;
    ///
    /// let queue = engineio::Client::new().create_queue::<i32>(0);
    /// queue.close();
    /// assert_eq!((queue.get_nowait(), queue.is_closed()), (Err(QueueEmpty), true));
    /// ```
    pub fn is_closed(&self) -> bool {
        lock(&self.0.contents).closed
    }

    /// Takes the items one after the other, and waits for each without a time limit. The loop ends when the
    /// queue is [closed](Self::close) and has no items left. Several threads may do this at the same time:
    /// each item goes to one of them.
    ///
    /// # Examples
    ///
    /// ```
    /// let queue = engineio::Client::new().create_queue(0);
    /// (0..3).for_each(|i| queue.put(i));
    /// queue.close();
    /// assert_eq!(queue.iter().collect::<Vec<_>>(), [0, 1, 2]);
    /// ```
    pub fn iter(&self) -> QueueItems<'_, T> {
        QueueItems(self)
    }

    /// Takes the first item. Blocks while the queue is empty, without a time limit.
    ///
    /// # Panics
    ///
    /// Panics if the queue is [closed](Self::close) and has no items left, before the call or while it waits.
    /// In a thread that may still take items then, use [`iter`](Self::iter) or
    /// [`get_timeout`](Self::get_timeout).
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
        self.get_by(None).unwrap_or_else(|_| panic!("the queue is closed"))
    }

    /// Takes the first item like [`get`](Self::get), but waits for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`QueueEmpty`] if no item arrived in that time. If the queue is [closed](Self::close) and has no items
    /// left, the error is returned at once.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use engineio::{Client, QueueEmpty};
    ///
    /// let queue = Client::new().create_queue::<String>(0);
    /// let got = queue.get_timeout(Duration::from_millis(1));
    /// assert_eq!(got, Err(QueueEmpty));
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
    /// use engineio::{Client, QueueEmpty};
    ///
    /// let queue = Client::new().create_queue(0);
    /// queue.put(1);
    /// assert_eq!(queue.get_nowait(), Ok(1));
    /// assert_eq!(queue.get_nowait(), Err(QueueEmpty));
    /// ```
    pub fn get_nowait(&self) -> Result<T, QueueEmpty> {
        self.get_by(Some(Instant::now()))
    }

    fn get_by(&self, deadline: Option<Instant>) -> Result<T, QueueEmpty> {
        let queue = &*self.0;
        let waits = |contents: &Contents<T>| contents.items.is_empty() && !contents.closed;
        let mut contents = queue.changed.wait_while(lock(&queue.contents), deadline, waits);
        let item = contents.items.pop_front().ok_or(QueueEmpty)?;
        queue.changed.notify_all(contents);
        Ok(item)
    }

    /// The number of items in the queue.
    pub fn len(&self) -> usize {
        lock(&self.0.contents).items.len()
    }

    /// True if the queue is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An iterator that takes the items of a [`Queue`], from [`Queue::iter`].
#[derive(Debug)]
pub struct QueueItems<'a, T>(&'a Queue<T>);

impl<T> Iterator for QueueItems<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.0.get_by(None).ok()
    }
}

/// Takes the items like [`Queue::iter`], for loops such as `for item in &queue`.
impl<'a, T> IntoIterator for &'a Queue<T> {
    type Item = T;
    type IntoIter = QueueItems<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Queue(self.0.clone())
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("len", &self.len())
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
