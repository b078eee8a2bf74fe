//! The watchdog thread. It receives in the reader's place while a handler runs and a ping is due, so that
//! pongs are sent however slow the handlers are, and it ends a session that takes too long to close.
//!
//! The thread starts before the first handler runs. Until then, the reader is always receiving, and notices
//! the server's silence itself. The thread also starts for a deadline that no other thread waits for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::Session;
use super::inbox::StandIn;
use super::late_thread::LateThread;
use super::reader;
use crate::clock::Moment;
use crate::error::Error;
use crate::event::Reason;
use crate::sync::{Mutex, Signal, after, lock, now};

/// The watchdog thread, and the orders that other threads give it. Orders that come before the thread has
/// started are carried out when it starts.
#[derive(Default)]
pub(super) struct Watchdog {
    orders: Mutex<Orders>,
    changed: Signal,
    thread: LateThread,
}

#[derive(Default)]
struct Orders {
    /// The session is over, and the thread ends.
    stop: bool,
    /// Set to receive now if no thread does, because a sender waits, and the server may not read before its
    /// own messages are received.
    stand_in: bool,
    /// The time at which a session that is closing or broken must be over.
    end_by: Option<Instant>,
}

/// The next task of the watchdog thread.
enum Duty {
    CheckReader,
    End,
}

impl Watchdog {
    /// Starts the thread, unless it runs already or the session is over. If that fails, the session ends.
    pub(super) fn start(&self, session: &Arc<Session>) {
        let over = lock(&self.orders).stop;
        if !over {
            self.thread.start(session, "eio-watchdog", run);
        }
    }

    #[cfg(all(test, not(shuttle)))]
    pub(super) fn is_running(&self) -> bool {
        self.thread.is_running()
    }

    /// Joins the thread, which ends when the session is over.
    pub(super) fn join(&self) {
        self.thread.join();
    }

    fn order(&self, give: impl FnOnce(&mut Orders)) {
        let mut orders = lock(&self.orders);
        give(&mut orders);
        self.changed.notify_one(orders);
    }

    /// Makes the watchdog receive now, if no other thread does.
    pub(super) fn stand_in(&self) {
        self.order(|orders| orders.stand_in = true);
    }

    /// Makes the watchdog end the session at that time, and receive until then if no other thread does: the
    /// server may not read the rest before its own messages are received.
    pub(super) fn end_by(&self, by: Instant) {
        self.order(|orders| (orders.end_by, orders.stand_in) = (Some(by), true));
    }

    /// Ends the watchdog thread.
    pub(super) fn stop(&self) {
        self.order(|orders| orders.stop = true);
    }

    /// Waits until the reader must be checked or an order comes. Returns `None` if the thread must end.
    fn wait(&self, check: Instant) -> Option<Duty> {
        let mut orders = lock(&self.orders);
        loop {
            let now = now();
            if orders.stop {
                return None;
            }
            if orders.end_by.is_some_and(|by| now >= by) {
                return Some(Duty::End);
            }
            if std::mem::take(&mut orders.stand_in) || now >= check {
                return Some(Duty::CheckReader);
            }
            let until = orders.end_by.map_or(check, |by| by.min(check));
            orders = self.changed.wait(orders, Some(until));
        }
    }
}

/// Runs the watchdog thread.
fn run(session: &Arc<Session>) {
    loop {
        let rest = session.liveness.next_check(Moment::now());
        match session.watchdog.wait(after(rest)) {
            Some(Duty::CheckReader) if session.inbox.claim() => stand_in(session),
            // The reader is receiving, and notices the server's silence itself.
            Some(Duty::CheckReader) => {}
            Some(Duty::End) => session.end_overdue(),
            None => return,
        }
    }
}

/// Receives until the reader waits for messages again, or the session is over.
fn stand_in(session: &Arc<Session>) {
    let mut received = VecDeque::new();
    let mut look = now();
    loop {
        match session.inbox.stand_in(look) {
            StandIn::Receive => {
                reader::receive(session, &mut received);
                // If this has filled the inbox, that is noticed at once.
                look = now();
            }
            StandIn::CheckProgress => {
                session.liveness.stop_reading();
                look = check_progress(session);
            }
            StandIn::Overdue => session.end_overdue(),
            StandIn::Done => break,
        }
    }
    session.liveness.release();
    session.inbox.release();
}

/// Ends a session whose inbox is full if nothing can be written either. Returns the time of the next check.
fn check_progress(session: &Session) -> Instant {
    let left = match session.outbox.batch_since() {
        Some(since) if !session.transport.send_is_bounded() => {
            session.liveness.left_without_progress(since, Moment::now())
        }
        _ => session.liveness.silence(),
    };
    if left.is_zero() {
        let what = "writing to a server that reads nothing, with the inbox full";
        session.end(Reason::PingTimeout, Some(Error::Timeout { what }));
    }
    after(left)
}
