//! Events as channels, for loops and `select!`.

use std::collections::VecDeque;
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
/// Each connection has a turn, from its first event to its last: when a disconnect handler has connected again, the
/// new connection's first event waits for the old one's last, if there is a channel for them.
#[derive(Default)]
pub(crate) struct Subscriptions {
    state: Mutex<State>,
    /// A turn is over.
    over: Signal,
    /// Whether there are any, without the lock: asked for each message.
    any: AtomicBool,
}

#[derive(Default)]
struct State {
    subscribers: Vec<Sender<Event>>,
    /// Those that are not over, in order.
    turns: VecDeque<Turn>,
    last_turn: Turn,
}

/// A connection's number.
pub(crate) type Turn = u64;

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

    /// A connection's turn, behind those of the connections before.
    pub(crate) fn begin(&self) -> Turn {
        let mut state = lock(&self.state);
        state.last_turn += 1;
        let turn = state.last_turn;
        state.turns.push_back(turn);
        turn
    }

    pub(crate) fn end(&self, turn: Turn) {
        let mut state = lock(&self.state);
        state.turns.retain(|other| *other != turn);
        self.over.notify_all(state);
    }

    /// Those who listen. Waits for the turn, without a bound, if there are any.
    fn subscribers(&self, turn: Turn) -> Vec<Sender<Event>> {
        let mut state = lock(&self.state);
        while !state.subscribers.is_empty() && state.turns.front() != Some(&turn) {
            state = self.over.wait(state);
        }
        state.subscribers.clone()
    }

    /// Sends the event to every channel. A full one is waited for: as long as it takes, as for a slow handler, but
    /// once the wait is released for `grace` at most. How many have not got it.
    pub(crate) fn publish(&self, turn: Turn, event: &Event, released: &Released, grace: Duration) -> usize {
        let subscribers = self.subscribers(turn);
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
    use crate::event::Reason;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn a_full_channel_is_waited_for_until_released() {
        let subscriptions = Subscriptions::default();
        let turn = subscriptions.begin();
        let events = subscriptions.subscribe(1);
        let (hold, released) = bounded(0);
        assert_eq!(subscriptions.publish(turn, &Event::Connect, &released, Duration::ZERO), 0);
        thread::scope(|scope| {
            let late =
                scope.spawn(|| subscriptions.publish(turn, &Event::Connect, &released, Duration::ZERO));
            assert_eq!(events.recv_timeout(PATIENCE), Ok(Event::Connect));
            assert_eq!(late.join().unwrap(), 0);
            let released =
                scope.spawn(|| subscriptions.publish(turn, &Event::Connect, &released, Duration::ZERO));
            drop(hold);
            assert_eq!(released.join().unwrap(), 1, "the channel is full");
        });
    }

    #[test]
    fn a_connection_waits_for_the_end_of_the_former_ones_turn() {
        let subscriptions = Subscriptions::default();
        let (_hold, released) = bounded(0);
        let (first, second) = (subscriptions.begin(), subscriptions.begin());
        // Nobody listens.
        subscriptions.publish(second, &Event::Connect, &released, Duration::ZERO);
        let events = subscriptions.subscribe(2);
        thread::scope(|scope| {
            scope.spawn(|| subscriptions.publish(second, &Event::Connect, &released, Duration::ZERO));
            let last = Event::Disconnect(Reason::ServerDisconnect);
            subscriptions.publish(first, &last, &released, Duration::ZERO);
            subscriptions.end(first);
            assert_eq!(events.recv_timeout(PATIENCE), Ok(last));
            assert_eq!(events.recv_timeout(PATIENCE), Ok(Event::Connect));
        });
    }

    #[test]
    fn a_channel_that_nobody_reads_is_forgotten() {
        let subscriptions = Subscriptions::default();
        let turn = subscriptions.begin();
        let (_hold, released) = bounded(0);
        drop(subscriptions.subscribe(0));
        let kept = subscriptions.subscribe(1);
        assert_eq!(subscriptions.publish(turn, &Event::Connect, &released, Duration::ZERO), 0);
        assert!(subscriptions.any());
        drop(kept);
        subscriptions.publish(turn, &Event::Connect, &released, Duration::ZERO);
        assert!(!subscriptions.any());
    }
}
