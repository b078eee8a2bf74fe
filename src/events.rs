//! Events as channels, for loops and `select!`.

use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded, select};

use crate::event::Event;
use crate::sync::{Signal, lock};

/// Ends waits when its other end is dropped. Nothing is ever sent.
pub(crate) type Released = Receiver<Infallible>;

/// Lets connections wait for room, until it is dropped: the user has disconnected, or dropped the last handle. That
/// holds for all connections up to then, as one that is over may still have its last event to deliver.
pub(crate) struct Hold {
    _end: Sender<Infallible>,
    released: Released,
}

impl Hold {
    pub(crate) fn released(&self) -> Released {
        self.released.clone()
    }
}

impl Default for Hold {
    fn default() -> Self {
        let (end, released) = bounded(0);
        Hold { _end: end, released }
    }
}

/// The channels that [`Client::events`](crate::Client::events) has given out.
///
/// One connection has the turn, from its first event to its last: when a disconnect handler has connected again, the
/// new connection's first event waits for the old one's last.
#[derive(Default)]
pub(crate) struct Subscriptions {
    state: Mutex<State>,
    /// The turn is over.
    free: Signal,
    /// Whether there are any, without the lock: asked for each message.
    any: AtomicBool,
}

#[derive(Default)]
struct State {
    subscribers: Vec<Sender<Event>>,
    taken: bool,
}

impl Subscriptions {
    pub(crate) fn subscribe(&self, capacity: usize) -> Receiver<Event> {
        let (sender, receiver) = bounded(capacity);
        lock(&self.state).subscribers.push(sender);
        self.any.store(true, Ordering::Release);
        receiver
    }

    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Starts a connection's turn. Waits, without a bound, for the end of the former one's.
    pub(crate) fn begin(&self) {
        let mut state = lock(&self.state);
        while state.taken {
            state = self.free.wait(state);
        }
        state.taken = true;
    }

    pub(crate) fn end(&self) {
        let mut state = lock(&self.state);
        state.taken = false;
        self.free.notify_one(state);
    }

    /// Sends the event to every channel. A full one is waited for: as long as it takes, as for a slow handler, but
    /// once the wait is released for `grace` at most. How many have not got it.
    pub(crate) fn publish(&self, event: &Event, released: &Released, grace: Duration) -> usize {
        let subscribers = lock(&self.state).subscribers.clone();
        let mut missed = 0;
        let mut gone = Vec::new();
        for subscriber in subscribers {
            match deliver(&subscriber, event, released, grace) {
                Delivery::Done => {}
                Delivery::Missed => missed += 1,
                Delivery::Gone => gone.push(subscriber),
            }
        }
        if !gone.is_empty() {
            self.forget(&gone);
        }
        missed
    }

    fn forget(&self, gone: &[Sender<Event>]) {
        let mut state = lock(&self.state);
        state.subscribers.retain(|subscriber| !gone.iter().any(|gone| gone.same_channel(subscriber)));
        self.any.store(!state.subscribers.is_empty(), Ordering::Release);
    }
}

enum Delivery {
    Done,
    Missed,
    /// Nobody listens any more.
    Gone,
}

fn deliver(subscriber: &Sender<Event>, event: &Event, released: &Released, grace: Duration) -> Delivery {
    let waited = select! {
        send(subscriber, event.clone()) -> sent => Some(sent.is_ok()),
        recv(released) -> _ => None,
    };
    match waited {
        Some(true) => Delivery::Done,
        Some(false) => Delivery::Gone,
        None => match subscriber.send_timeout(event.clone(), grace) {
            Ok(()) => Delivery::Done,
            Err(SendTimeoutError::Timeout(_)) => Delivery::Missed,
            Err(SendTimeoutError::Disconnected(_)) => Delivery::Gone,
        },
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn a_full_channel_is_waited_for_until_released() {
        let subscriptions = Subscriptions::default();
        let events = subscriptions.subscribe(1);
        let (hold, released) = bounded(0);
        assert_eq!(subscriptions.publish(&Event::Connect, &released, Duration::ZERO), 0);
        thread::scope(|scope| {
            let late = scope.spawn(|| subscriptions.publish(&Event::Connect, &released, Duration::ZERO));
            assert_eq!(events.recv_timeout(PATIENCE), Ok(Event::Connect));
            assert_eq!(late.join().unwrap(), 0);
            let released = scope.spawn(|| subscriptions.publish(&Event::Connect, &released, Duration::ZERO));
            drop(hold);
            assert_eq!(released.join().unwrap(), 1, "the channel is full");
        });
    }

    #[test]
    fn a_channel_that_nobody_reads_is_forgotten() {
        let subscriptions = Subscriptions::default();
        let (_hold, released) = bounded(0);
        drop(subscriptions.subscribe(0));
        let kept = subscriptions.subscribe(1);
        assert_eq!(subscriptions.publish(&Event::Connect, &released, Duration::ZERO), 0);
        assert!(subscriptions.any());
        drop(kept);
        subscriptions.publish(&Event::Connect, &released, Duration::ZERO);
        assert!(!subscriptions.any());
    }
}
