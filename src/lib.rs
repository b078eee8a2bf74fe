//! A blocking, thread-based [Engine.IO](https://socket.io/docs/v4/engine-io-protocol/) v4 client: long
//! polling, websocket, and the upgrade between them, without an async runtime.
//!
//! The client works with every Engine.IO v4 server, such as python-engineio, npm's `engine.io` and
//! engineioxide. This crate is for programs that use threads. Socket.IO is a different protocol on top of
//! Engine.IO: for a Socket.IO server, use a Socket.IO client.
//!
//! | to | see |
//! |---|---|
//! | find the code for a task | [`guide`] |
//! | connect, send and receive | [`Client`] |
//! | set options | [`ClientBuilder`], [`ConnectOptions`] |
//! | react to errors | [`Error`] |
//! | look up the error that you see, or a function of python-engineio | the file `README.md` of the crate |
//!
//! # Quick start
//!
//! ```no_run
//! use engineio::Client;
//!
//! let client = Client::new();
//! client.on_connect(|client| client.send("Hello Server!"));
//! client.on_message(|_, message| println!("Server says: {message}"));
//! client.on_disconnect(|_, reason| println!("gone: {reason}"));
//! client.connect("http://localhost:5000")?;
//! client.wait();
//! # Ok::<(), engineio::Error>(())
//! ```
//!
//! # Threads
//!
//! A connection has at most three threads:
//!
//! | thread | task |
//! |---|---|
//! | `eio-reader` | receives packets and runs the handlers |
//! | `eio-writer` | writes queued messages, many at a time; it starts when a packet first has to wait |
//! | `eio-watchdog` | receives while a handler occupies the reader, so that the server gets its pongs |
//!
//! The watchdog starts before the first handler runs, or before the first event goes into a channel. All
//! threads of the connection have ended when [`Client::wait`] returns. [`Client::disconnect`] waits until the
//! disconnect handler has run and the writer and the watchdog have ended, but no longer than the request
//! timeout. The reader ends right after that, unless it has to wait for room in an event channel.
//!
//! All handlers of a connection run on its reader thread, one after the other. A handler may take as long as
//! it likes: the heartbeat goes on, and up to [`ClientBuilder::inbox_limit`] bytes of messages wait.
//! [`Client::events`] returns a channel of events for loops and `select!`. It can be used instead of handlers
//! or together with them.
//!
//! A new connection may begin while the disconnect handler of the old one is still running. This happens if
//! that handler calls `connect`, or if another thread calls `connect` and has waited for the handler for one
//! second. The handlers of the new connection then run on a reader thread of their own, at the same time as
//! the old disconnect handler. The same handler never runs on two threads at once: the second call waits
//! until the first one has returned. The function of [`ClientBuilder::on_packet`] runs on the threads that
//! receive and write.
//!
//! On an idle websocket, [`Client::send`] writes the message on the calling thread. On an idle connection,
//! [`Client::disconnect`] usually writes the close packet on the calling thread too. Dropping the last handle
//! writes nothing on the dropping thread: the writer thread writes the close packet. A client may therefore
//! be dropped anywhere, even while a thread is ending.
//!
//! Two more kinds of threads can appear. Each name lookup runs on a thread of its own. The thread
//! `eio-sigint` waits for Ctrl-C. It starts at the first call of `connect` of a client whose
//! `ClientBuilder::handle_sigint` is not `Ignore`, and stays for the life of the process.
//!
//! # Life of a connection
//!
//! [`Client::connect`] tries the transports in turn, upgrades long polling to a websocket if the server
//! offers it, runs the connect handler and returns. If the disconnect handler of the previous connection is
//! still running on another thread, `connect` first waits for it, for one second at most. The connection ends
//! when the server or the client ends it, when it breaks, or when nothing has come from the server for
//! `pingInterval + pingTimeout`. The time while the inbox is full does not count as silence, because the
//! client itself has stopped reading. The time while the machine sleeps does count.
//!
//! When the connection has ended, the disconnect handler is called once with the [`Reason`], and
//! [`Client::last_error`] returns the details. The handler may connect again, or you can set a policy that
//! does so ([`ClientBuilder::reconnection`]). [`Client::events`] also gets the steps of the policy. When the
//! last handle of a client is dropped, its connection is closed.
//!
//! # Delivery
//!
//! Messages arrive in the order of the calls to `send`, and at most once, because nothing is ever sent twice.
//! `Ok` from `send` means that the message was accepted. The messages of one [`Client::send_all`] call are
//! accepted together or not at all, and no message of another thread comes between them. [`Client::flush`]
//! waits until all messages that were accepted before the call are written.
//!
//! [`Client::disconnect`] writes all accepted messages before it ends the connection, or returns
//! [`Error::Unsent`] with the number of messages that are not known to be written. If the connection was lost
//! before the call, `disconnect` returns the number of that lost connection. Each number is returned only
//! once, and not after a new connection has begun. [`Stats::unsent`] is the sum over all connections.
//!
//! Call [`Client::disconnect`] or [`Client::flush`] at the end of a program that sends. A dropped client does
//! close its connection, but the end of `main` does not wait for that.
//!
//! # Errors
//!
//! [`Error`] has a table of all errors and of the reactions to them, with an example for each reaction. The
//! error that ended a connection is in [`Client::last_error`].
//!
//! # TLS and proxies
//!
//! Both transports connect in the same way. The system's TLS library checks certificates against the system's
//! authorities and those added by [`ClientBuilder::ca_certificate`]. A proxy comes from
//! [`ClientBuilder::proxy`], from the `ureq::Agent` passed to [`ClientBuilder::http_agent`], or from the
//! environment variables `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`. An HTTP proxy forwards the
//! requests of long polling to an `http://` server. All other connections through a proxy are tunnels (HTTP
//! CONNECT or SOCKS5).
//!
//! [`Client::connect_with`] also connects to Unix sockets. [`ClientBuilder::local_address`] sets the client's
//! address of TCP connections, and [`ClientBuilder::resolve`] the server's.
//!
//! # Limits
//!
//! | limit | default | set by |
//! |---|---|---|
//! | time for a request, a websocket's opening, a disconnect | 5 s | [`ClientBuilder::request_timeout`] |
//! | messages that wait to be written (the outbox) | 4 MiB | [`ClientBuilder::outbox_limit`] |
//! | messages that wait for a handler (the inbox) | 4 MiB | [`ClientBuilder::inbox_limit`] |
//! | size of a received message | 64 MiB | [`ClientBuilder::max_message_size`] |
//! | memory of a message decoded as JSON | 16 MiB plus 32 times the size of its text | fixed |
//! | packets in a POST | 16 | [`ClientBuilder::packets_per_post`] |
//! | size of a sent message | the server's `maxPayload` | the server |
//! | events in an event channel | your choice, at most 65,536 | [`Client::events`] |
//! | redirects of a request | 10 | [`ClientBuilder::http_agent`], to follow fewer |
//! | the server's cookies | 50 for each host, 3000 in all, 4 KiB each | fixed |
//!
//! # Older servers
//!
//! If the server speaks Engine.IO v3 (Socket.IO 2), `connect` returns an error that says so. Over polling,
//! the client recognizes such a server at once. Over websocket, v3 begins like v4: if the first packet looks
//! like one of v3, the client asks the server for its version over polling. A v3 server with unusual settings
//! is recognized only when it ends the connection, and then [`Client::last_error`] says so.
//!
//! # Logging
//!
//! The crate logs through the [`log`](https://docs.rs/log) facade, with the target `engineio`:
//!
//! | level | lines |
//! |---|---|
//! | error | failed handlers, and misuse of the client, such as `wait` in a handler |
//! | warn | fallbacks, lost messages and events, the first unexpected packet of a connection |
//! | info | states and transports |
//! | debug | session ids, and packets with their sizes |
//! | trace | the contents of packets |
//!
//! No line contains a password, a cookie or a header, and control characters are written as escapes.
//!
//! If there is no logger, or if the maximum level is off, errors are printed to stderr, one line each, with
//! all causes: `engineio: the message handler failed: …`. The warning that the path of a URL is not used is
//! printed too. The error of a connect handler is not printed if `connect` returns it.
//! [`ClientBuilder::quiet`] turns these lines off. The text of a panic is always printed by the panic hook.
//!
//! Some dependencies of this crate log through the same facade, and show what this crate hides. Keep their
//! targets at info, as in `RUST_LOG=info,engineio=debug`:
//!
//! | target | what its lines show |
//! |---|---|
//! | `ureq` | hosts at debug, whole URLs with the session id at trace |
//! | `ureq_proto` | requests and responses with all of their headers at trace |
//! | `cookie_store`, with ureq's feature `cookies` | cookies that are not `Secure` at debug |
//! | `tungstenite` | the headers of websocket frames at trace |
//!
//! A logger that is passed to [`ClientBuilder::logger`] gets the lines of this crate only.
//!
//! # Features
//!
//! - `sigint`, on by default: Ctrl-C disconnects (`ClientBuilder::handle_sigint`). The feature has no effect
//!   on Windows, where a program handles Ctrl-C itself.
//! - `vendored`: builds OpenSSL from source instead of linking the system's.

// The unit tests belong to the package `tests/unit`, which has what they need. That package is empty when
// it is not tested, and this one is empty when it is.
#![cfg(any(all(test, unit_tests), not(any(test, unit_tests))))]

mod client;
mod clock;
mod connect;
mod error;
mod event;
mod guarded;
pub mod guide;
mod json;
mod logger;
mod message;
mod net;
mod observation;
mod options;
mod printable;
mod protocol;
mod reconnection;
mod session;
mod session_id;
#[cfg(all(feature = "sigint", unix))]
mod sigint;
mod stats;
mod sync;
mod task;
#[cfg(any(test, shuttle, fuzz))]
mod testing;
mod transport;

#[cfg(fuzz)]
pub use testing::fuzz;
#[cfg(shuttle)]
pub use testing::models;

pub use client::{Client, ClientBuilder, State};
pub use error::{Error, ErrorCause, ErrorKind, Result};
pub use event::{EVENT_NAMES, Event, HandlerResult, Reason};
pub use json::JsonCodec;
pub use message::{IntoMessage, Message};
pub use net::TlsVersion;
pub use observation::{Direction, PacketInfo, PacketKind};
#[cfg(feature = "sigint")]
pub use options::OnSigint;
pub use options::{Compression, ConnectOptions, Disconnect, WebSocketOptions};
pub use protocol::Handshake;
pub use reconnection::{NextAttempt, Reconnection, ReconnectionEvent, UpcomingAttempt};
pub use stats::{Stats, Traffic};
pub use task::{Flag, Queue, QueueEmpty, QueueFull, QueueItems};
pub use transport::{TransportKind, UnknownTransport};

/// The crates whose types are part of this crate's API, in the versions that it uses. The types are the bytes
/// of a [`Message`], the channels of [`Client::events`], the logger of [`ClientBuilder::logger`], JSON
/// values, and the agent of [`ClientBuilder::http_agent`]. A program that uses the crates from here needs no
/// dependency of its own on a matching version.
///
/// These crates have the features that this crate enables. To enable more, such as another TLS library for
/// ureq or the cookie jar of its agents, depend on the same version yourself: Cargo combines the features.
///
/// ```
/// use engineio::crossbeam_channel::select;
/// use engineio::serde_json::json;
/// use engineio::{Client, ureq};
///
/// let config = ureq::Agent::config_builder().user_agent("mine/1.0").build();
/// let agent = config.new_agent();
/// let client = Client::builder().http_agent(agent).build()?;
/// # let _ = client.send(json!({"x": 1}));
/// let events = client.events(10);
/// select! {
///     recv(events) -> event => println!("{event:?}"),
///     default => println!("nothing yet"),
/// }
/// # Ok::<(), engineio::Error>(())
/// ```
#[doc(no_inline)]
pub use {bytes, crossbeam_channel, log, serde_json, ureq};

/// Compiles the README's snippets.
#[cfg(all(doctest, feature = "sigint"))]
#[doc = include_str!("../README.md")]
struct Readme;
