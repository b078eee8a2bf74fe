use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex};

use super::{Session, Thread, panicked};
use crate::guarded::guarded;
use crate::protocol::Packet;
use crate::stats::Traffic;
use crate::sync::lock;
use crate::transport::{SendError, TransportError};

/// The writer thread, which starts when something has to wait for the first time.
#[derive(Default)]
pub(super) struct Writer(Mutex<State>);

#[derive(Default)]
enum State {
    #[default]
    NotStarted,
    Running(Thread),
    /// It has ended, and none starts any more.
    Ended,
}

impl Writer {
    /// Starts it; without it the session cannot go on.
    pub(super) fn start(&self, session: &Arc<Session>) {
        let mut state = lock(&self.0);
        if !matches!(*state, State::NotStarted) {
            return;
        }
        match session.spawn("eio-writer", |session| run(&session)) {
            Ok(thread) => *state = State::Running(thread),
            Err(e) => {
                drop(state);
                session.fail(TransportError::Failed(e));
            }
        }
    }

    /// Waits for its end, which the outbox's is.
    pub(super) fn join(&self) {
        let state = mem::replace(&mut *lock(&self.0), State::Ended);
        if let State::Running(thread) = state {
            let _ = thread.join();
        }
    }
}

/// The thread: everything that waits becomes one batch.
fn run(session: &Arc<Session>) {
    let mut batch = VecDeque::new();
    while session.outbox.take(&mut batch) {
        session.log_packets("sending", &batch);
        let traffic = Traffic::of(&batch);
        match send(session, &mut batch, traffic) {
            Ok(()) => {
                // Before `flush` can return.
                session.options.counters.sent.add(traffic);
                session.outbox.written(0);
            }
            Err(e) => {
                session.options.counters.sent.add(traffic.without(e.lost));
                // Before anybody sees the loss, and acts on it.
                session.write_failed(e.cause);
                session.outbox.written(e.lost.messages as usize);
            }
        }
    }
}

/// Of a batch in which the transport panics everything counts as lost.
fn send(session: &Session, batch: &mut VecDeque<Packet>, traffic: Traffic) -> Result<(), SendError> {
    guarded(|| session.transport.send(batch, &|| session.take_pong())).unwrap_or_else(|panic| {
        let cause = TransportError::Failed(panicked(panic));
        Err(SendError { cause, lost: traffic })
    })
}
