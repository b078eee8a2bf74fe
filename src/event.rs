//! The events of a connection, and the reasons for its end.

use std::error::Error;
use std::fmt;

use crate::error::with_causes;
use crate::message::Message;
use crate::reconnection::ReconnectionEvent;

/// The reason for the end of a connection.
///
/// # Examples
///
/// ```
/// assert_eq!(engineio::Reason::PingTimeout.to_string(), "ping timeout");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The client ended the connection: [`Client::disconnect`](crate::Client::disconnect) was called, the
    /// last handle was dropped, or Ctrl-C was pressed.
    ClientDisconnect,
    /// The server ended the session, or closed the websocket cleanly (with code 1000, 1001 or none).
    ServerDisconnect,
    /// The connection broke, or the server violated the protocol.
    /// [`Client::last_error`](crate::Client::last_error) has the details.
    TransportError,
    /// Nothing came from the server for `pingInterval + pingTimeout`. The time while the inbox is full does
    /// not count, because the client itself has stopped reading. The time while the machine sleeps does
    /// count. A deadlock of that length also has this reason: the server does not read what the client
    /// writes, and the client does not read either, because its inbox is full.
    PingTimeout,
    /// The text given to [`Disconnect::reason`](crate::Disconnect::reason).
    Other(String),
}

impl Reason {
    /// True if the client itself has ended the connection.
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

/// The names of the events that have a handler, for [`Client::on`](crate::Client::on).
pub const EVENT_NAMES: &[&str] = &["connect", "message", "disconnect"];

/// An event of a client, for [`Client::on`](crate::Client::on) and
/// [`Client::events`](crate::Client::events).
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
    /// A step of the [reconnection policy](crate::ClientBuilder::reconnection). Only the channels of
    /// [`Client::events`](crate::Client::events) get this event, because no handler exists for it.
    /// [`Reconnection::on_event`](crate::Reconnection::on_event) sets a function for these steps.
    Reconnection(ReconnectionEvent),
}

impl Event {
    /// The name of the event: one of [`EVENT_NAMES`], or `reconnection`, which has no handler.
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
            Event::Reconnection(_) => "reconnection",
        }
    }

    /// True if the [reconnection policy](crate::ClientBuilder::reconnection) makes no more attempts after
    /// this event: it has given up, it was cancelled, or the client itself has ended the connection. A loop
    /// over [`Client::events`](crate::Client::events) can end there. If your own call of
    /// [`connect`](crate::Client::connect) has cancelled the policy, the events of a new connection follow.
    ///
    /// Without a policy, end the loop at every [`Disconnect`](Self::Disconnect), whatever this method
    /// returns.
    ///
    /// # Examples
    ///
    /// ```
    /// use engineio::{Event, Reason};
    ///
    /// assert!(Event::Disconnect(Reason::ClientDisconnect).ends_reconnection());
    /// assert!(!Event::Disconnect(Reason::PingTimeout).ends_reconnection());
    /// ```
    pub fn ends_reconnection(&self) -> bool {
        match self {
            Event::Disconnect(reason) => reason.is_own(),
            Event::Reconnection(step) => {
                matches!(step, ReconnectionEvent::GaveUp { .. } | ReconnectionEvent::Cancelled { .. })
            }
            Event::Connect | Event::Message(_) => false,
        }
    }
}

/// The return type of a handler: `()`, or `Result<(), E>`. The error `E` is any type that `?` converts to a
/// `Box<dyn Error>`, such as [`Error`](crate::Error), `&str`, `String` or `anyhow::Error`. It may also be
/// such a box, with or without `Send` and `Sync`. The error need not be `Send`.
///
/// A handler may also never return, because it ends the process, panics or loops forever.
///
/// The parameter `Kind` tells the kinds of results apart. The compiler infers it, and you never name it.
///
/// # Examples
///
/// ```
/// use engineio::Client;
///
/// let client = Client::new();
/// client.on_connect(|client| client.send("a result"));
/// client.on_message(|client, message| -> engineio::Result<()> {
///     client.send("a result, after `?`")?;
///     client.send(message)?;
///     Ok(())
/// });
/// client.on_disconnect(|_, reason| println!("no result: {reason}"));
/// ```
///
/// A handler that returns any other value does not compile, as in this example. A semicolon at the end would
/// discard the value:
///
/// ```compile_fail
/// let client = engineio::Client::new();
/// client.on_message(|client, message| message.as_bytes().len());
/// ```
#[diagnostic::on_unimplemented(
    message = "a handler returns `()` or `Result<(), E>`, and not `{Self}`",
    label = "this handler returns `{Self}`",
    note = "end the closure with `;`, or return `Result<(), E>` whose error converts to `Box<dyn Error>`"
)]
pub trait HandlerResult<Kind>: private::Sealed<Kind> {
    #[doc(hidden)]
    fn into_result(self) -> Result<(), String>;
}

mod private {
    use std::error::Error;

    /// The kind of `()`.
    pub enum Nothing {}
    /// The kind of a result whose error converts to a `Box<dyn Error>`.
    pub enum Converts {}
    /// The kind of a result whose error is a `Box<dyn Error>` of a thread-safe error, which does not.
    pub enum IsBoxed {}
    /// The kind of a handler that never returns.
    pub enum Diverges {}

    pub trait Sealed<Kind> {}
    impl Sealed<Nothing> for () {}
    impl Sealed<Diverges> for super::Never {}
    impl<E: Into<Box<dyn Error>>> Sealed<Converts> for Result<(), E> {}
    impl Sealed<IsBoxed> for Result<(), Box<dyn Error + Send>> {}
    impl Sealed<IsBoxed> for Result<(), Box<dyn Error + Send + Sync>> {}

    /// A function pointer, and the type of its result.
    pub trait Returns {
        type Output;
    }

    impl<T> Returns for fn() -> T {
        type Output = T;
    }
}

/// The type `!`, which stable Rust accepts as a return type only. Here it is taken from one.
type Never = <fn() -> ! as private::Returns>::Output;

impl HandlerResult<private::Diverges> for Never {
    fn into_result(self) -> Result<(), String> {
        self
    }
}

impl HandlerResult<private::Nothing> for () {
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: Into<Box<dyn Error>>> HandlerResult<private::Converts> for Result<(), E> {
    fn into_result(self) -> Result<(), String> {
        self.map_err(|e| with_causes(&*e.into()))
    }
}

impl HandlerResult<private::IsBoxed> for Result<(), Box<dyn Error + Send>> {
    fn into_result(self) -> Result<(), String> {
        self.map_err(|e| with_causes(&*e))
    }
}

impl HandlerResult<private::IsBoxed> for Result<(), Box<dyn Error + Send + Sync>> {
    fn into_result(self) -> Result<(), String> {
        self.map_err(|e| with_causes(&*e))
    }
}
