//! What happens on a connection, and the handlers for it: user code is called here and nowhere else.

use std::fmt;
use std::sync::Mutex;

use crate::client::Client;
use crate::guarded::guarded;
use crate::message::Message;
use crate::sync::{Signal, lock};

/// Why a connection ended.
///
/// # Examples
///
/// ```
/// assert_eq!(engineio::Reason::PingTimeout.to_string(), "ping timeout");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// This client called [`Client::disconnect`], or its last handle was dropped.
    ClientDisconnect,
    /// The server ended the session.
    ServerDisconnect,
    /// The connection broke, or the server broke the protocol; [`Client::last_error`] tells more.
    TransportError,
    /// Nothing was heard from the server for `pingInterval + pingTimeout`; or, for as long, neither side read what
    /// the other wrote.
    PingTimeout,
    /// The text given to [`Disconnect::reason`](crate::Disconnect::reason).
    Other(String),
}

impl Reason {
    /// The client itself has ended the connection.
    pub(crate) fn is_own(&self) -> bool {
        matches!(self, Reason::ClientDisconnect | Reason::Other(_))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::ClientDisconnect => "client disconnect",
            Reason::ServerDisconnect => "server disconnect",
            Reason::TransportError => "transport error",
            Reason::PingTimeout => "ping timeout",
            Reason::Other(text) => text,
        })
    }
}

/// The names of the events, as [`Client::on`] takes them.
pub const EVENT_NAMES: &[&str] = &["connect", "message", "disconnect"];

/// What happens on a connection, for [`Client::on`] and [`Client::events`].
///
/// # Examples
///
/// ```
/// use engineio::Event;
///
/// fn describe(event: &Event) -> String {
///     match event {
///         Event::Connect => "connected".into(),
///         Event::Message(message) => format!("received {message}"),
///         Event::Disconnect(reason) => format!("gone: {reason}"),
///         _ => "something new".into(),
///     }
/// }
///
/// assert_eq!(describe(&Event::Message("hi".into())), "received hi");
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The connection is up.
    Connect,
    /// The server has sent a message.
    Message(Message),
    /// The connection is over.
    Disconnect(Reason),
}

impl Event {
    /// One of [`EVENT_NAMES`].
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(engineio::Event::Connect.name(), "connect");
    /// ```
    pub fn name(&self) -> &'static str {
        match self {
            Event::Connect => "connect",
            Event::Message(_) => "message",
            Event::Disconnect(_) => "disconnect",
        }
    }
}

/// What a handler may return: nothing, or a `Result` whose error can be displayed.
pub trait HandlerResult: private::Sealed {
    #[doc(hidden)]
    fn into_result(self) -> Result<(), String>;
}

mod private {
    pub trait Sealed {}
    impl Sealed for () {}
    impl<E: std::fmt::Display> Sealed for Result<(), E> {}
}

impl HandlerResult for () {
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: fmt::Display> HandlerResult for Result<(), E> {
    fn into_result(self) -> Result<(), String> {
        self.map_err(|e| e.to_string())
    }
}

type Handler<T> = Box<dyn FnMut(&Client, T) -> Result<(), String> + Send>;

/// The handlers of a client.
pub(crate) struct Handlers {
    pub(crate) connect: Slot<()>,
    pub(crate) message: Slot<Message>,
    pub(crate) disconnect: Slot<Reason>,
}

impl Handlers {
    pub(crate) fn new() -> Self {
        Handlers { connect: Slot::new(), message: Slot::new(), disconnect: Slot::new() }
    }
}

/// A place for one handler. It is taken out while it runs, so that no lock is held meanwhile.
pub(crate) struct Slot<T> {
    state: Mutex<SlotState<T>>,
    free: Signal,
}

struct SlotState<T> {
    handler: Option<Handler<T>>,
    running: bool,
}

impl<T> Slot<T> {
    fn new() -> Self {
        Slot { state: Mutex::new(SlotState { handler: None, running: false }), free: Signal::default() }
    }

    /// Registers a handler in place of the former one. If that is running, it ends first.
    pub(crate) fn set(&self, handler: Handler<T>) {
        let former = lock(&self.state).handler.replace(handler);
        // Without the lock: it may hold anything of the user's.
        drop(former);
    }

    /// Runs the handler, if there is one: its error, or the text of its panic.
    ///
    /// Waits, without a bound, while it is running for the client's former connection: a disconnect handler
    /// that has connected again.
    pub(crate) fn call(&self, client: &Client, event: T) -> Result<(), String> {
        let mut state = lock(&self.state);
        while state.running {
            state = self.free.wait(state);
        }
        let Some(mut handler) = state.handler.take() else { return Ok(()) };
        state.running = true;
        drop(state);
        let result = guarded(|| handler(client, event));
        let mut state = lock(&self.state);
        state.running = false;
        // One that was registered meanwhile stays.
        let former = if state.handler.is_none() { state.handler.replace(handler) } else { Some(handler) };
        self.free.notify_one(state);
        guarded(|| drop(former)).and(result).unwrap_or_else(Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot_with(handler: impl FnMut(&Client, i32) -> Result<(), String> + Send + 'static) -> Slot<i32> {
        let slot = Slot::new();
        slot.set(Box::new(handler));
        slot
    }

    #[test]
    fn a_handler_keeps_its_state_between_calls() {
        let mut sum = 0;
        let slot = slot_with(move |_, n| {
            sum += n;
            if sum == 5 { Err(sum.to_string()) } else { Ok(()) }
        });
        let client = Client::new();
        assert_eq!(slot.call(&client, 2), Ok(()));
        assert_eq!(slot.call(&client, 3), Err("5".into()));
    }

    #[test]
    fn a_panic_is_told_and_the_handler_stays() {
        let slot = slot_with(|_, n| if n == 1 { panic!("no {n}") } else { Ok(()) });
        let client = Client::new();
        assert_eq!(slot.call(&client, 1), Err("panicked: no 1".into()));
        assert_eq!(slot.call(&client, 2), Ok(()));
    }

    #[test]
    fn a_panic_of_what_a_former_handler_held_is_told() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("what the handler held");
            }
        }
        let slot = std::sync::Arc::new(Slot::new());
        let (inner, bomb) = (slot.clone(), Bomb);
        slot.set(Box::new(move |_, ()| {
            let _ = &bomb;
            inner.set(Box::new(|_, ()| Ok(())));
            Ok(())
        }));
        assert_eq!(slot.call(&Client::new(), ()), Err("panicked: what the handler held".into()));
        assert_eq!(slot.call(&Client::new(), ()), Ok(()));
    }

    #[test]
    fn a_handler_may_register_its_successor() {
        let slot = std::sync::Arc::new(Slot::new());
        let inner = slot.clone();
        slot.set(Box::new(move |_, ()| {
            inner.set(Box::new(|_, ()| Err("the successor".into())));
            Ok(())
        }));
        let client = Client::new();
        assert_eq!(slot.call(&client, ()), Ok(()));
        assert_eq!(slot.call(&client, ()), Err("the successor".into()));
    }
}
