//! The reader thread, which runs the handlers, and all that is done with a received packet.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Ending, Listener, Session, panicked, report, writer};
use crate::clock::Moment;
use crate::event::Reason;
use crate::guarded::guarded;
use crate::logger::log;
use crate::net::TimeLeft;
use crate::observation::Direction;
use crate::protocol::Packet;
use crate::session::inbox::Next;
use crate::stats::Traffic;
use crate::sync::{Ordering, thread};

/// The number of messages that are delivered before the writer gets CPU time. Measured with 512 messages of
/// 16 bytes in flight, each of which is answered: with a larger part, the server idles while the client
/// works, and the other way round; with a smaller part, switching threads costs more.
const PART: usize = 250;

/// Runs the reader thread: the connect handler, every message in order, the disconnect handler.
pub(super) fn run(session: Arc<Session>, mut listener: Box<dyn Listener>) {
    // After a panic here, the listener still has to learn of the end.
    if let Err(panic) = guarded(|| deliver(&session, listener.as_mut())) {
        session.end(Reason::TransportError, Some(panicked(panic)));
    }
    let ending = session.ending();
    log_end(&session, &ending);
    listener.ended(ending);
    // The writer and the watchdog have been told to end, so these waits are short.
    session.writer.join();
    session.watchdog.join();
    session.finish();
    // The session is freed first: the listener may connect again, and return only after that connection's
    // end.
    drop(session);
    listener.finished();
}

fn log_end(session: &Session, ending: &Ending) {
    let logger = &session.options.logger;
    match &ending.error {
        Some(error) if matches!(ending.reason, Reason::TransportError | Reason::PingTimeout) => {
            log!(logger, Warn, "disconnected: {}: {error:?}", ending.reason);
        }
        _ => log!(logger, Info, "disconnected: {}", ending.reason),
    }
    if ending.unsent > 0 {
        log!(logger, Warn, "{} message(s) were not sent before the connection ended", ending.unsent);
    }
}

/// Runs the connect handler, then delivers messages until no more can come.
fn deliver(session: &Arc<Session>, listener: &mut dyn Listener) {
    let mut is_watched = false;
    let mut before_handler = || {
        if !mem::replace(&mut is_watched, true) {
            session.watchdog.start(session);
        }
    };
    if !listener.connected(&mut before_handler) {
        // A connection that the connect handler refuses delivers no messages.
        session.close(Reason::ClientDisconnect);
    }
    let (mut batch, mut received) = (VecDeque::new(), VecDeque::new());
    loop {
        match session.inbox.next(&mut batch) {
            // The watchdog receives at once, and not only when the handlers take long: a waiting sender may
            // need the server's messages to be received first, and a broken session waits for the server's
            // last words.
            Next::Deliver if session.outbox.is_waited_for() || !session.is_open() => {
                session.watchdog.stand_in();
            }
            Next::Deliver => {}
            Next::Receive => {
                receive(session, &mut received);
                session.liveness.release();
                session.inbox.release();
            }
            Next::Overdue => session.end_overdue(),
            Next::End => {
                if !receive_rest(session, &mut received) {
                    return;
                }
            }
        }
        session.outbox.batch_answers(batch.len() > 1);
        while !batch.is_empty() {
            let part = batch.drain(..batch.len().min(PART));
            let mut part = part.filter(|packet| session.inbox.deliver(packet));
            listener.messages(&mut part, &mut before_handler);
            if session.outbox.bytes() > 0 {
                // This lets the writer write the handlers' answers, so that the server works on them while
                // the next messages are delivered. On a busy CPU, client and server would otherwise wait for
                // each other in turn.
                thread::yield_now();
            }
        }
        session.outbox.batch_answers(false);
    }
}

/// Receives once. Only the thread that holds the right to receive (the intake) may call this. `packets` is
/// empty before and after the call; it is passed in to spare an allocation.
pub(super) fn receive(session: &Arc<Session>, packets: &mut VecDeque<Packet>) {
    session.liveness.resume(Moment::now());
    let server: Arc<dyn TimeLeft> = session.liveness.clone();
    match session.transport.recv(packets, &server) {
        Ok(()) => accept(session, packets),
        Err(e) => session.fail(e),
    }
}

/// Takes packets that the transport had received before the session ended, and had not handed on. Returns
/// false if there are none.
fn receive_rest(session: &Arc<Session>, packets: &mut VecDeque<Packet>) -> bool {
    let more = !session.inbox.muted() && session.transport.recv_rest(packets);
    accept(session, packets);
    more
}

/// Sorts received packets: messages go to the inbox, and all others are handled here.
pub(super) fn accept(session: &Arc<Session>, packets: &mut VecDeque<Packet>) {
    session.options.counters.received.add(Traffic::of(&*packets));
    report(session, Direction::Received, &*packets);
    let (mut pong, mut closed) = (None, false);
    packets.retain(|packet| {
        // Packets after a close are ignored.
        let message = !closed && accept_packet(session, packet, &mut pong);
        closed |= *packet == Packet::Close;
        message
    });
    session.outbox.expect_answer();
    session.inbox.push(packets);
    if let Some(pong) = pong {
        // If the write fails, it ends the session by itself.
        let _ = writer::write(session, session.outbox.admit_pong(pong));
    }
    if closed {
        session.end(Reason::ServerDisconnect, None);
    }
}

/// Handles a packet that is not a message; returns true for a message. For a ping, `pong` becomes its answer.
fn accept_packet(session: &Session, packet: &Packet, pong: &mut Option<Packet>) -> bool {
    match packet {
        Packet::Text(_) | Packet::Binary(_) => return true,
        Packet::Ping(data) => {
            session.liveness.pinged(Moment::now());
            session.options.counters.pings.fetch_add(1, Relaxed);
            *pong = Some(Packet::Pong(data.clone()));
        }
        Packet::Close | Packet::Noop => {}
        Packet::Open(_) | Packet::Pong(_) | Packet::Upgrade => {
            // A server may send millions of them.
            let told = session.unexpected_told.swap(true, Ordering::Relaxed);
            let (kind, logger) = (packet.kind_name(), &session.options.logger);
            match told {
                false => {
                    log!(logger, Warn, "unexpected packet from the server: {kind} (others are at debug)")
                }
                true => log!(logger, Debug, "unexpected packet from the server: {kind}"),
            }
        }
    }
    false
}
