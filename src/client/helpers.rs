use std::thread::JoinHandle;
use std::time::Duration;

use super::Client;
use crate::flag::Flag;
use crate::queue::Queue;
use crate::task;

/// Threads, and what they need to work with each other.
impl Client {
    /// Runs `task` on a new thread, named `eio-task`. It does not end with the connection.
    ///
    /// # Panics
    ///
    /// If the system cannot start a thread, as [`std::thread::spawn`].
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
        task::start(task)
    }

    /// Sleeps, as [`std::thread::sleep`].
    ///
    /// # Examples
    ///
    /// ```
    /// engineio::Client::new().sleep(std::time::Duration::from_millis(1));
    /// ```
    pub fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }

    /// A queue that holds at most `capacity` items, or any number with 0.
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

    /// A flag for threads to wait for, at first not set.
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
