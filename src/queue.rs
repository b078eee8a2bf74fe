use std::fmt;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

/// A queue for threads that work for each other, from [`Client::create_queue`](crate::Client::create_queue).
///
/// Clones are the same queue.
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
pub struct Queue<T> {
    sender: Sender<T>,
    receiver: Receiver<T>,
}

/// There was nothing in the queue, in the time that there was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue is empty")]
pub struct QueueEmpty;

impl<T> Queue<T> {
    /// Capacity 0 is no limit, as in Python.
    pub(crate) fn new(capacity: usize) -> Self {
        let (sender, receiver) = if capacity == 0 { unbounded() } else { bounded(capacity) };
        Queue { sender, receiver }
    }

    /// Adds an item at the end. Blocks while the queue is full.
    ///
    /// # Examples
    ///
    /// ```
    /// let queue = engineio::Client::new().create_queue(0);
    /// queue.put(1);
    /// assert_eq!(queue.len(), 1);
    /// ```
    pub fn put(&self, item: T) {
        // The queue has a receiver itself, so that somebody listens.
        let _ = self.sender.send(item);
    }

    /// Takes the first item. Blocks, without a limit of time, while there is none.
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
        self.receiver.recv().expect("the queue has a sender itself")
    }

    /// As [`get`](Self::get), for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`QueueEmpty`] if nothing came in that time.
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
        self.receiver.recv_timeout(timeout).map_err(|_| QueueEmpty)
    }

    /// As [`get`](Self::get), without waiting.
    ///
    /// # Errors
    ///
    /// [`QueueEmpty`] if there is nothing.
    ///
    /// # Examples
    ///
    /// ```
    /// let queue = engineio::Client::new().create_queue(0);
    /// queue.put(1);
    /// assert_eq!((queue.get_nowait(), queue.get_nowait()), (Ok(1), Err(engineio::QueueEmpty)));
    /// ```
    pub fn get_nowait(&self) -> Result<T, QueueEmpty> {
        self.receiver.try_recv().map_err(|_| QueueEmpty)
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.receiver.len()
    }

    /// True if no item waits.
    pub fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Queue { sender: self.sender.clone(), receiver: self.receiver.clone() }
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("len", &self.len()).finish_non_exhaustive()
    }
}
