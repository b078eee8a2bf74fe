use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;

use super::{Ending, Listener, Session, Thread, log_packets, panicked, writer};
use crate::clock::Moment;
use crate::event::Reason;
use crate::guarded::guarded;
use crate::logger::log;
use crate::net::TimeLeft;
use crate::protocol::Packet;
use crate::session::inbox::Next;
use crate::stats::Traffic;
use crate::sync::{Ordering, thread, thread_local};

thread_local! {
    /// The client whose reader this thread is.
    static OWNER: Cell<Option<usize>> = const { Cell::new(None) };
}

/// True on the reader threads of that client, which is where its handlers run.
pub(crate) fn is_reader_of(owner: usize) -> bool {
    OWNER.with(Cell::get) == Some(owner)
}

/// The reader thread: connect, every message in order, disconnect.
pub(super) fn run(session: Arc<Session>, mut listener: Box<dyn Listener>, watchdog: Thread, owner: usize) {
    OWNER.with(|cell| cell.set(Some(owner)));
    // The listener is told the end whatever happens here.
    if let Err(panic) = guarded(|| deliver(&session, listener.as_mut())) {
        session.end(Reason::TransportError, Some(panicked(panic)));
    }
    let ending = session.ending();
    log_end(&session, &ending);
    listener.ended(ending);
    // Both threads have been told to end.
    session.writer.join();
    let _ = watchdog.join();
    session.finish();
    // The listener may go on for long, with other connections.
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

/// Runs the connect handler, and delivers messages until there will be no more.
fn deliver(session: &Arc<Session>, listener: &mut dyn Listener) {
    if !listener.connected() {
        // A connection that the user's own code refuses has no messages.
        session.close(Reason::ClientDisconnect);
    }
    let (mut batch, mut received) = (VecDeque::new(), VecDeque::new());
    loop {
        match session.inbox.next(&mut batch) {
            // A handler may wait for a thread that waits for room: then nobody would receive.
            Next::Deliver if session.outbox.is_waited_for() => session.watchdog.stand_in(),
            Next::Deliver => {}
            Next::Receive => {
                receive(session, &mut received);
                session.liveness.release();
                session.inbox.release();
            }
            Next::Overdue => session.end_late(),
            Next::End if receive_rest(session, &mut received) => {}
            Next::End => return,
        }
        while let Some(packet) = batch.pop_front() {
            if session.inbox.deliver(&packet) {
                listener.message(packet);
            }
        }
        if session.outbox.bytes() > 0 {
            // The handlers' answers go out while the next messages come. Without a yield, on a busy CPU, both sides
            // wait for each other by turns.
            thread::yield_now();
        }
    }
}

/// Receives once, for the holder of the intake. `packets` is empty before and after; it spares an allocation.
pub(super) fn receive(session: &Arc<Session>, packets: &mut VecDeque<Packet>) {
    session.liveness.resume(Moment::now());
    let server: Arc<dyn TimeLeft> = session.liveness.clone();
    match session.transport.recv(packets, &server) {
        Ok(()) => accept(session, packets),
        Err(e) => session.fail(e),
    }
}

/// Takes over what the transport had received when the session ended, and had not handed on.
fn receive_rest(session: &Arc<Session>, packets: &mut VecDeque<Packet>) -> bool {
    let more = !session.inbox.muted() && session.transport.recv_rest(packets);
    accept(session, packets);
    more
}

/// Sorts received packets: messages go to the inbox, everything else is done here.
pub(super) fn accept(session: &Arc<Session>, packets: &mut VecDeque<Packet>) {
    session.options.counters.received.add(Traffic::of(&*packets));
    log_packets(session, "received", &*packets);
    let (mut pong, mut closed) = (None, false);
    packets.retain(|packet| {
        // What follows a close does not count.
        let message = !closed && accept_packet(session, packet, &mut pong);
        closed |= *packet == Packet::Close;
        message
    });
    session.outbox.received();
    session.inbox.push(packets);
    if let Some(pong) = pong {
        // A failed write ends the session by itself.
        let _ = writer::write(session, session.outbox.admit_pong(pong));
    }
    if closed {
        session.end(Reason::ServerDisconnect, None);
    }
}

/// True for a message. `pong` is the answer to the last ping.
fn accept_packet(session: &Session, packet: &Packet, pong: &mut Option<Packet>) -> bool {
    match packet {
        Packet::Text(_) | Packet::Binary(_) => return true,
        Packet::Ping(data) => {
            session.liveness.pinged(Moment::now());
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
