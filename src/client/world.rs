use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::Sender;

use super::Client;
use super::core::Core;
use crate::connect::Plan;
use crate::event::{Event, Reason};
use crate::events::{Released, Turn};
use crate::logger::log;
use crate::message::Message;
use crate::protocol::Packet;
use crate::session::{Ending, World};

/// What the reader thread of a session calls: the handlers, and the client's own book-keeping.
pub(super) struct ClientWorld {
    pub(super) core: Arc<Core>,
    pub(super) client: Client,
    /// How this connection was made, and when: for the next one, if it is lost.
    pub(super) plan: Arc<Plan>,
    pub(super) epoch: u64,
    /// Where `connect` waits for the connect handler.
    pub(super) outcome: Option<Sender<Result<(), String>>>,
    /// What ends the wait for room in an event channel.
    pub(super) released: Released,
    /// The connect handler failed: to the user there has been no connection.
    pub(super) refused: bool,
    /// The last event, until it is published.
    pub(super) ending: Option<Reason>,
    /// In the event channels, while it lasts.
    pub(super) turn: Option<Turn>,
}

/// The reader thread has ended, however it came to that.
impl Drop for ClientWorld {
    fn drop(&mut self) {
        self.end_turn();
        self.core.reader_finished();
    }
}

impl ClientWorld {
    fn report(&self, event: &str, result: Result<(), String>) {
        if let Err(e) = result {
            log!(self.core.options.logger, Error, "the {event} handler failed: {e}");
        }
    }

    /// Also passes the event on to the channels, behind the handler.
    fn publish(&self, event: &Event, grace: Duration) {
        let Some(turn) = self.turn else { return };
        let missed = self.core.subscriptions.publish(turn, event, &self.released, grace);
        if missed > 0 {
            log!(self.core.options.logger, Warn, "{missed} full event channel(s) missed {}", event.name());
        }
    }

    fn end_turn(&mut self) {
        if let Some(turn) = self.turn.take() {
            self.core.subscriptions.end(turn);
        }
    }

    fn connect_again(&self) {
        // The connection was lost, or the server ended it, and the user has not connected again. Whether
        // an attempt succeeds, the policy's observer is told.
        if let Some(Ok(())) = self.core.connect_again(&self.plan, self.epoch) {
            self.core.counters.reconnections.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl World for ClientWorld {
    fn connected(&mut self) -> bool {
        let result = self.core.handlers.connect.call(&self.client, ());
        self.refused = result.is_err();
        self.report("connect", result.clone());
        if !self.refused {
            self.turn = Some(self.core.subscriptions.begin());
        }
        // Only a thread that waits for it can have gone, and `connect` does not before it has come.
        let _ = self.outcome.take().map(|outcome| outcome.send(result));
        if !self.refused {
            // `connect` has returned, so that whoever called it can read the channel.
            self.publish(&Event::Connect, Duration::ZERO);
        }
        !self.refused
    }

    fn message(&mut self, packet: Packet) {
        let message = match packet {
            Packet::Text(text) => self.core.options.json.message(text),
            Packet::Binary(bytes) => Message::Binary(bytes),
            _ => return,
        };
        let event = self.core.subscriptions.any().then(|| Event::Message(message.clone()));
        let result = self.core.handlers.message.call(&self.client, message);
        self.report("message", result);
        if let Some(event) = event {
            self.publish(&event, Duration::ZERO);
        }
    }

    fn ended(&mut self, ending: Ending) {
        self.core.ended(ending.error);
        if !self.refused {
            let result = self.core.handlers.disconnect.call(&self.client, ending.reason.clone());
            self.report("disconnect", result);
            self.ending = Some(ending.reason);
        }
    }

    fn left(&mut self, unsent: usize) {
        self.core.left(unsent);
    }

    fn finished(&mut self) {
        // `disconnect` has returned, so that whoever called it can read the channel.
        if let Some(reason) = self.ending.take() {
            self.publish(&Event::Disconnect(reason), self.core.options.request_timeout);
        }
        self.end_turn();
        if !self.refused && self.core.is_in(self.epoch) {
            self.connect_again();
        }
    }
}
