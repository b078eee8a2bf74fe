//! The event channels of a client, which are an alternative to handlers.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender, bounded, select};

use crate::event::Event;
use crate::session::BeforeHandler;
use crate::sync::{AtomicBool, Mutex, Ordering, Signal, lock};

/// The largest capacity of a channel, in events. The memory of a channel is allocated at once.
const LARGEST_CHANNEL: usize = 1 << 16;

/// The permission of a connection to wait for room in event channels. It is released when the user
/// disconnects or drops the last handle.
pub(super) struct Hold {
    /// The sender whose drop ends the waits; absent once the hold is released. Nothing is ever sent.
    end: Mutex<Option<Sender<Infallible>>>,
    released: Receiver<Infallible>,
}

impl Hold {
    /// Ends the connection's waits for room, now and in future.
    pub(super) fn release(&self) {
        drop(lock(&self.end).take());
    }
}

impl Default for Hold {
    fn default() -> Self {
        let (end, released) = bounded(0);
        Hold { end: Mutex::new(Some(end)), released }
    }
}

/// The channels that [`Client::events`](crate::Client::events) has returned.
#[derive(Default)]
pub(super) struct Subscriptions {
    state: Mutex<Subscribed>,
    /// Notified when a turn is over.
    over: Signal,
    /// Set while there are channels. Every message reads this flag, so it is outside of the lock.
    any: AtomicBool,
}

#[derive(Default)]
struct Subscribed {
    channels: Vec<Sender<Event>>,
    /// The numbers of the turns that are not over, in order.
    turns: VecDeque<u64>,
    last_turn: u64,
}

impl Subscriptions {
    pub(super) fn subscribe(&self, capacity: usize) -> Receiver<Event> {
        let (sender, receiver) = bounded(capacity.min(LARGEST_CHANNEL));
        lock(&self.state).channels.push(sender);
        self.any.store(true, Ordering::Release);
        receiver
    }

    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Sends the event to every channel that has room, outside of the connections' turns. If a channel is
    /// full, this waits for `grace` at most. Returns the number of channels that missed the event.
    pub(super) fn announce(&self, event: &Event, grace: Duration) -> usize {
        let channels = lock(&self.state).channels.clone();
        let missed = |channel: &&Sender<Event>| {
            matches!(channel.send_timeout(event.clone(), grace), Err(SendTimeoutError::Timeout(_)))
        };
        channels.iter().filter(missed).count()
    }

    /// Starts a connection's turn, which comes after the turns of earlier connections.
    pub(super) fn begin(self: &Arc<Self>, hold: &Hold) -> Turn {
        let mut state = lock(&self.state);
        state.last_turn += 1;
        let number = state.last_turn;
        state.turns.push_back(number);
        Turn {
            subscriptions: self.clone(),
            number,
            released: hold.released.clone(),
            left_out: Mutex::default(),
        }
    }

    /// Removes channels whose receivers were dropped.
    fn forget(&self, gone: &[Sender<Event>]) {
        let mut state = lock(&self.state);
        state.channels.retain(|channel| !gone.iter().any(|gone| gone.same_channel(channel)));
        self.any.store(!state.channels.is_empty(), Ordering::Release);
    }
}

/// The turn of a connection in the event channels, from its first event to its last, and on through the
/// reconnection that follows. If a disconnect handler has connected again, the first event of the new
/// connection waits for the last event of the old one. A turn ends when it is dropped.
pub(super) struct Turn {
    subscriptions: Arc<Subscriptions>,
    number: u64,
    released: Receiver<Infallible>,
    /// The channels that had no room for the connection's first event. They get none of its events.
    left_out: Mutex<Vec<Sender<Event>>>,
}

impl Turn {
    /// Sends the event to every channel. If a channel is full, this waits for room, without a time limit.
    /// Once the connection's hold is released, it waits for `grace` at most. Calls `before` ahead of any
    /// wait. Returns the number of channels that missed the event.
    pub(super) fn publish(&self, event: &Event, grace: Duration, before: BeforeHandler<'_>) -> usize {
        let mut missed = 0;
        let mut gone = Vec::new();
        for channel in self.channels(before) {
            if lock(&self.left_out).iter().any(|other| other.same_channel(&channel)) {
                missed += 1;
                continue;
            }
            match self.deliver(&channel, event, grace) {
                Delivery::Done => {}
                Delivery::Missed => {
                    missed += 1;
                    if *event == Event::Connect {
                        lock(&self.left_out).push(channel);
                    }
                }
                Delivery::Gone => gone.push(channel),
            }
        }
        if !gone.is_empty() {
            self.subscriptions.forget(&gone);
        }
        missed
    }

    /// Waits for this turn if there are channels, and returns them. The wait is as bounded as the turns
    /// before this one: a disconnect releases their holds too.
    fn channels(&self, before: BeforeHandler<'_>) -> Vec<Sender<Event>> {
        if lock(&self.subscriptions.state).channels.is_empty() {
            return Vec::new();
        }
        before();
        let waits =
            |state: &Subscribed| !state.channels.is_empty() && state.turns.front() != Some(&self.number);
        let state = lock(&self.subscriptions.state);
        self.subscriptions.over.wait_while(state, None, waits).channels.clone()
    }

    fn deliver(&self, channel: &Sender<Event>, event: &Event, grace: Duration) -> Delivery {
        let waited = select! {
            send(channel, event.clone()) -> sent => Some(sent.is_ok()),
            recv(self.released) -> _ => None,
        };
        match waited {
            Some(true) => Delivery::Done,
            Some(false) => Delivery::Gone,
            None => match channel.send_timeout(event.clone(), grace) {
                Ok(()) => Delivery::Done,
                Err(SendTimeoutError::Timeout(_)) => Delivery::Missed,
                Err(SendTimeoutError::Disconnected(_)) => Delivery::Gone,
            },
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = lock(&self.subscriptions.state);
        state.turns.retain(|other| *other != self.number);
        self.subscriptions.over.notify_all(state);
    }
}

enum Delivery {
    Done,
    Missed,
    /// The receiver was dropped.
    Gone,
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::thread;

    use super::*;
    use crate::event::Reason;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn publish(turn: &Turn, event: &Event) -> usize {
        turn.publish(event, Duration::ZERO, &mut || {})
    }

    #[test]
    fn a_full_channel_is_waited_for_until_released() {
        let (subscriptions, hold) = (Arc::new(Subscriptions::default()), Hold::default());
        let turn = subscriptions.begin(&hold);
        let events = subscriptions.subscribe(1);
        assert_eq!(publish(&turn, &Event::Connect), 0);
        thread::scope(|scope| {
            let late = scope.spawn(|| publish(&turn, &Event::Connect));
            assert_eq!(events.recv_timeout(PATIENCE), Ok(Event::Connect));
            assert_eq!(late.join().unwrap(), 0);
            let released = scope.spawn(|| publish(&turn, &Event::Connect));
            hold.release();
            assert_eq!(released.join().unwrap(), 1, "the channel is full");
        });
    }

    #[test]
    fn a_channel_without_room_for_the_first_event_gets_none_of_the_connection() {
        let (subscriptions, hold) = (Arc::new(Subscriptions::default()), Hold::default());
        let turn = subscriptions.begin(&hold);
        let events = subscriptions.subscribe(1);
        let message = Event::Message("of a former connection".into());
        assert_eq!(publish(&turn, &message), 0);
        hold.release();
        assert_eq!(publish(&turn, &Event::Connect), 1);
        assert_eq!(events.recv_timeout(PATIENCE), Ok(message));
        assert_eq!(publish(&turn, &Event::Disconnect(Reason::ClientDisconnect)), 1);
        assert!(events.try_recv().is_err());
    }

    #[test]
    fn a_connection_waits_for_the_end_of_the_former_ones_turn() {
        let (subscriptions, hold) = (Arc::new(Subscriptions::default()), Hold::default());
        let (first, second) = (subscriptions.begin(&hold), subscriptions.begin(&hold));
        // Without a channel, an event does not wait for the turn.
        publish(&second, &Event::Connect);
        let events = subscriptions.subscribe(2);
        thread::scope(|scope| {
            scope.spawn(|| publish(&second, &Event::Connect));
            let last = Event::Disconnect(Reason::ServerDisconnect);
            publish(&first, &last);
            drop(first);
            assert_eq!(events.recv_timeout(PATIENCE), Ok(last));
            assert_eq!(events.recv_timeout(PATIENCE), Ok(Event::Connect));
        });
    }

    #[test]
    fn a_channel_that_nobody_reads_is_forgotten() {
        let (subscriptions, hold) = (Arc::new(Subscriptions::default()), Hold::default());
        let turn = subscriptions.begin(&hold);
        drop(subscriptions.subscribe(0));
        let kept = subscriptions.subscribe(1);
        assert_eq!(publish(&turn, &Event::Connect), 0);
        assert!(subscriptions.any());
        drop(kept);
        publish(&turn, &Event::Connect);
        assert!(!subscriptions.any());
    }
}
