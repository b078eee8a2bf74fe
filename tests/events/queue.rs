//! Queues that are full or closed.

use std::time::Duration;

use common::{PATIENCE, within};
use crossbeam_channel::unbounded;
use engineio::{Client, Queue, QueueEmpty, QueueFull};

fn queue<T>(capacity: usize) -> Queue<T> {
    Client::new().create_queue(capacity)
}

/// Runs `task` with the queue on a thread of its own, closes the queue when that thread has begun, and
/// returns the result.
fn closed_during<T, R: Send + 'static>(
    queue: &Queue<T>,
    task: impl FnOnce(Queue<T>) -> R + Send + 'static,
) -> R
where
    T: Send + 'static,
{
    let (begin, begun) = unbounded();
    let (own, other) = (queue.clone(), queue.clone());
    let waiter = std::thread::spawn(move || {
        begin.send(()).unwrap();
        task(other)
    });
    begun.recv_timeout(PATIENCE).unwrap();
    own.close();
    within(PATIENCE, "the close wakes the thread", move || waiter.join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[test]
fn a_full_queue_gives_the_item_back() {
    let queue = queue(1);
    assert_eq!(queue.put_nowait("first".to_owned()), Ok(()));
    assert_eq!(queue.put_nowait("second".to_owned()), Err(QueueFull("second".into())));
    let QueueFull(back) = queue.put_timeout("third".to_owned(), Duration::from_millis(1)).unwrap_err();
    assert_eq!((back.as_str(), QueueFull(()).to_string()), ("third", "the queue is full".into()));
    assert_eq!(queue.get(), "first");
    assert_eq!(queue.put_timeout("fourth".to_owned(), PATIENCE), Ok(()));
    let endless = self::queue(0);
    (0..1000).for_each(|i| endless.put_nowait(i).unwrap());
}

#[test]
fn room_ends_a_wait_with_a_limit() {
    let queue = queue(1);
    queue.put(1);
    let putter = std::thread::spawn({
        let queue = queue.clone();
        move || queue.put_timeout(2, PATIENCE)
    });
    assert_eq!((queue.get(), queue.get()), (1, 2));
    assert_eq!(putter.join().unwrap(), Ok(()));
}

#[test]
fn a_closed_queue_hands_out_what_it_has() {
    let queue = queue(0);
    (0..3).for_each(|i| queue.put(i));
    queue.close();
    queue.close();
    assert!(queue.is_closed() && queue.len() == 3);
    assert_eq!(queue.put_nowait(3), Err(QueueFull(3)));
    assert_eq!((queue.get(), queue.get_nowait(), queue.get_timeout(PATIENCE)), (0, Ok(1), Ok(2)));
    assert_eq!((queue.get_nowait(), queue.get_timeout(Duration::MAX)), (Err(QueueEmpty), Err(QueueEmpty)));
    assert_eq!(queue.iter().next(), None);
}

#[test]
fn a_close_wakes_those_who_wait() {
    assert_eq!(closed_during(&queue::<i32>(1), |queue| queue.get_timeout(Duration::MAX)), Err(QueueEmpty));
    assert_eq!(closed_during(&queue::<i32>(1), |queue| queue.iter().count()), 0);
    let full = queue(1);
    full.put(1);
    assert_eq!(closed_during(&full, |queue| queue.put_timeout(2, Duration::MAX)), Err(QueueFull(2)));
    assert_eq!(full.get(), 1, "what was in it stays");
    let caught = |task: fn(Queue<i32>)| {
        let queue = queue(1);
        queue.put(1);
        closed_during(&queue, move |queue| std::panic::catch_unwind(move || task(queue)).is_err())
    };
    assert!(caught(|queue| queue.put(2)));
    assert!(caught(|queue| {
        queue.get();
        queue.get();
    }));
}

#[test]
fn workers_end_with_their_queue() {
    let client = Client::new();
    let jobs = client.create_queue(4);
    let workers: Vec<_> = (0..3)
        .map(|_| {
            let jobs = jobs.clone();
            client.start_background_task(move || (&jobs).into_iter().sum::<u64>())
        })
        .collect();
    (1..=1000).for_each(|job| jobs.put(job));
    jobs.close();
    let sum: u64 = workers.into_iter().map(|worker| worker.join().unwrap()).sum();
    assert_eq!(sum, 500_500);
}
