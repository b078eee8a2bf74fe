use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::Session;
use super::inbox::StandIn;
use super::reader;
use crate::clock::Moment;
use crate::error::Error;
use crate::event::Reason;
use crate::sync::{Mutex, Signal, after, lock, now};

/// What the watchdog thread is told by the others.
#[derive(Default)]
pub(super) struct Watchdog {
    orders: Mutex<Orders>,
    changed: Signal,
}

#[derive(Default)]
struct Orders {
    stop: bool,
    /// Receive now if nobody does: somebody cannot send until the server reads.
    stand_in: bool,
    /// When a session that is closing or broken must be over.
    end_by: Option<Instant>,
}

/// What there is to do.
enum Duty {
    CheckReader,
    End,
}

impl Watchdog {
    fn order(&self, give: impl FnOnce(&mut Orders)) {
        let mut orders = lock(&self.orders);
        give(&mut orders);
        self.changed.notify_one(orders);
    }

    pub(super) fn stand_in(&self) {
        self.order(|orders| orders.stand_in = true);
    }

    /// Ends the session at that time. Receives until then if nobody does, as the server may read what is left to write
    /// only when it is read from.
    pub(super) fn end_by(&self, by: Instant) {
        self.order(|orders| (orders.end_by, orders.stand_in) = (Some(by), true));
    }

    pub(super) fn stop(&self) {
        self.order(|orders| orders.stop = true);
    }

    /// Waits until the reader must be checked, or an order comes. `None` at the end.
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

/// The watchdog thread. It receives in the reader's place while a handler runs and a ping is due, so that pongs go out
/// however slow the handlers are; and it ends a session that is closing or broken for too long.
pub(super) fn run(session: &Arc<Session>) {
    loop {
        let rest = session.liveness.next_check(Moment::now());
        match session.watchdog.wait(after(rest)) {
            Some(Duty::CheckReader) if session.inbox.claim() => stand_in(session),
            // The reader is receiving: the server's silence is its to notice.
            Some(Duty::CheckReader) => {}
            Some(Duty::End) => session.end_late(),
            None => return,
        }
    }
}

fn stand_in(session: &Arc<Session>) {
    let mut received = VecDeque::new();
    let mut look = now();
    loop {
        match session.inbox.stand_in(look) {
            StandIn::Receive => reader::receive(session, &mut received),
            StandIn::CheckProgress => {
                session.liveness.stop_reading();
                look = check_progress(session);
            }
            StandIn::Overdue => session.end_late(),
            StandIn::Done => break,
        }
    }
    session.liveness.release();
    session.inbox.release();
}

/// Ends a session whose inbox is full if nothing can be written either. Returns when to look again.
fn check_progress(session: &Session) -> Instant {
    let left = match session.outbox.batch_since() {
        Some(since) if !session.transport.send_is_bounded() => {
            session.liveness.left_without_progress(since, Moment::now())
        }
        _ => session.liveness.longest_wait(),
    };
    if left.is_zero() {
        let what = "writing to a server that reads nothing, with the inbox full";
        session.end(Reason::PingTimeout, Some(Error::Timeout { what }));
    }
    after(left)
}
