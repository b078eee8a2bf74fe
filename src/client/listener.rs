//! The listener of a session: it passes the session's events to the handlers, the event channels and the
//! client's state.

use std::sync::Arc;
use std::time::Duration;

use super::Client;
use super::channels::Turn;
use super::connection::Record;
use super::core::Core;
use super::slot::Failure;
use crate::event::Event;
use crate::logger::log;
use crate::message::Message;
use crate::protocol::Packet;
use crate::session::{BeforeHandler, Ending, Listener};

pub(super) type Reconnect = Box<dyn FnOnce(Option<&Turn>) + Send>;

/// The listener of one connection. The reader thread of its session calls it.
pub(super) struct ClientListener {
    core: Arc<Core>,
    /// The client that is passed to handlers. It does not count as a handle.
    client: Client,
    record: Arc<Record>,
    /// Set if a connect handler was registered before the session started.
    has_connect_handler: bool,
    /// Runs the reconnection policy, whose events belong to the connection's turn.
    reconnect: Option<Reconnect>,
    /// True if the caller of `connect` gets the error of the connect handler.
    is_returned: bool,
    /// Set when the connect handler has failed: the user gets no further events of this connection.
    refused: bool,
    /// The last event, until it is published.
    last: Option<Event>,
    /// The connection's turn in the event channels, from its first event to its last.
    turn: Option<Turn>,
}

impl ClientListener {
    pub(super) fn new(
        core: Arc<Core>,
        client: Client,
        record: Arc<Record>,
        reconnect: Reconnect,
        is_returned: bool,
    ) -> Self {
        let has_connect_handler = core.handlers.connect.is_set();
        ClientListener {
            core,
            client,
            record,
            has_connect_handler,
            reconnect: Some(reconnect),
            is_returned,
            refused: false,
            last: None,
            turn: None,
        }
    }

    /// Lets `connect` return at once if there is no connect handler, because waking the reader thread takes
    /// time.
    pub(super) fn open_without_handler(&mut self) {
        if !self.has_connect_handler {
            self.open(Ok(()));
        }
    }

    /// Records the result of the connect handler. From then on, `connect` may return and be called again, so
    /// the turn begins before that.
    fn open(&mut self, result: Result<(), Failure>) {
        if result.is_ok() {
            self.turn = Some(self.core.subscriptions.begin(&self.record.hold));
        }
        self.record.open(result);
    }

    fn report(&self, event: &str, result: Result<(), Failure>) {
        let logger = &self.core.options.logger;
        match result {
            Ok(()) => {}
            // The panic hook has written the text to stderr.
            Err(Failure::Panic(_)) if logger.uses_stderr() => {
                log!(logger, Error, "the {event} handler panicked");
            }
            Err(failure) => log!(logger, Error, "the {event} handler failed: {failure}"),
        }
    }

    /// Sends the event to the channels, after its handler has run.
    fn publish(&self, event: &Event, grace: Duration, before: BeforeHandler<'_>) {
        let Some(turn) = &self.turn else { return };
        self.core.report_missed(turn.publish(event, grace, before), event);
    }
}

impl Listener for ClientListener {
    fn connected(&mut self, before: BeforeHandler<'_>) -> bool {
        // Without a connect handler, `connect` may have returned already. A handler that was registered since
        // then is for the next connection.
        if self.has_connect_handler {
            let result = self.core.handlers.connect.call(&self.client, (), before);
            self.refused = result.is_err();
            // On stderr, a program that prints the error of `connect` itself would show it twice.
            if !(self.is_returned && self.core.options.logger.uses_stderr()) {
                self.report("connect", result.clone());
            }
            self.open(result);
        }
        // `connect` has to be able to return before this waits for room in a channel, because its caller may
        // be the thread that reads the channel.
        self.publish(&Event::Connect, Duration::ZERO, before);
        !self.refused
    }

    fn messages(&mut self, packets: &mut dyn Iterator<Item = Packet>, before: BeforeHandler<'_>) {
        let json = &self.core.options.json;
        let mut lease = None;
        for packet in packets {
            let message = match packet {
                Packet::Text(text) => {
                    if json.decode {
                        // Decoding may take long: the codec may be the user's, and the text may have any
                        // length.
                        lease = None;
                        before();
                    }
                    json.message(text)
                }
                Packet::Binary(bytes) => Message::Binary(bytes),
                _ => continue,
            };
            let event = self.core.subscriptions.any().then(|| Event::Message(message.clone()));
            let handler = lease.get_or_insert_with(|| self.core.handlers.message.lease(before));
            self.report("message", handler.call(&self.client, message, before));
            if let Some(event) = event {
                lease = None;
                self.publish(&event, Duration::ZERO, before);
            }
        }
    }

    fn ended(&mut self, ending: Ending) {
        self.core.end(&self.record, ending.error, ending.unsent);
        if !self.refused {
            let result = self.core.handlers.disconnect.call(&self.client, ending.reason.clone(), &mut || {});
            self.report("disconnect", result);
            self.last = Some(Event::Disconnect(ending.reason));
        }
    }

    fn finished(&mut self) {
        self.record.set_handled();
        // `disconnect` may return from here on. A wait for room in a channel must not delay it, because its
        // caller may be the thread that reads the channel.
        let last = self.last.take();
        if let Some(last) = &last {
            self.publish(last, self.core.options.request_timeout, &mut || {});
        }
        let is_lost = last.is_some_and(|last| !last.ends_reconnection());
        if let Some(reconnect) = self.reconnect.take().filter(|_| is_lost) {
            reconnect(self.turn.as_ref());
        }
        self.turn = None;
    }
}

/// The drop comes when the reader thread has done all its work, or has panicked.
impl Drop for ClientListener {
    fn drop(&mut self) {
        // The turn of the next connection begins before any thread sees the end of this one.
        self.turn = None;
        self.core.finish(&self.record);
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;
    use crate::event::Reason;
    use crate::options::Options;

    /// Plays the reader thread of a connection without messages.
    fn run(mut listener: ClientListener, reason: &str, before: BeforeHandler<'_>) {
        listener.connected(before);
        listener.ended(Ending { reason: Reason::Other(reason.into()), error: None, unsent: 0 });
        listener.finished();
    }

    /// Without a connect handler, `connect` returns before the reader thread has run, and the next `connect`
    /// may be called before that.
    #[test]
    fn the_events_of_connections_stay_in_order_however_late_their_threads_run() {
        let core = Core::new(Options::default());
        let events = core.subscriptions.subscribe(8);
        let connect = || {
            let (client, record) = (core.uncounted(), Arc::default());
            let mut listener = ClientListener::new(core.clone(), client, record, Box::new(|_| {}), true);
            listener.open_without_handler();
            listener
        };
        let (first, second) = (connect(), connect());
        let (tell, told) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(move || run(second, "second", &mut || tell.send(()).unwrap()));
            // The second connection has begun to publish its first event.
            told.recv().unwrap();
            run(first, "first", &mut || {});
        });
        let ends: Vec<_> = events.try_iter().filter(|event| *event != Event::Connect).collect();
        assert_eq!(ends, ["first", "second"].map(|end| Event::Disconnect(Reason::Other(end.into()))));
    }
}
