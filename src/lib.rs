//! A blocking, thread-based [Engine.IO](https://socket.io/docs/v4/engine-io-protocol/) v4 client: long polling,
//! websocket, and the upgrade between them, without an async runtime.
//!
//! It talks to every Engine.IO 4 server: python-engineio, npm's `engine.io` (and so the transport of Socket.IO
//! servers), engineioxide. It is for programs that have threads; in an async program, use an async client.
//!
//! # Quick start
//!
//! ```no_run
//! use engineio::Client;
//!
//! let client = Client::new();
//! client.on_connect(|client| client.send("Hello Server!"));
//! client.on_message(|client, message| {
//!     println!("Server says: {message}");
//!     client.send("Thank you")
//! });
//! client.on_disconnect(|_, reason| println!("gone: {reason}"));
//! client.connect("http://localhost:5000")?;
//! client.wait();
//! # Ok::<(), engineio::Error>(())
//! ```
//!
//! # Threads
//!
//! A connection has at most three threads, which are over when [`Client::wait`] has returned. [`Client::disconnect`]
//! waits for them too, for the request timeout at most; the reader lives on while a handler runs or an event channel is
//! full.
//!
//! | thread | what it does |
//! |---|---|
//! | `eio-reader` | receives, and runs the handlers: connect, each message in the server's order, disconnect |
//! | `eio-writer` | writes what was sent while the connection was busy, many messages at a time; starts when it is needed |
//! | `eio-watchdog` | receives in the reader's place while a handler runs, so that the server gets its pongs |
//!
//! All handlers of a connection run on one thread, one after the other, and no handler runs twice at the same time. When
//! a disconnect handler connects again, the new connection's handlers run on a thread of their own. A handler may take as long as it likes: the heartbeat goes
//! on, and messages wait, up to [`ClientBuilder::inbox_limit`] bytes. [`Client::send`] writes from the calling
//! thread if nothing else is being written. A name lookup takes a thread for as long as it lasts, and one thread of the
//! process, `eio-sigint`, waits for Ctrl-C: from the first connection of a client with
//! `ClientBuilder::handle_sigint` on, for as long as the process lives.
//!
//! Instead of handlers, or beside them, [`Client::events`] gives a channel for loops and `select!`.
//!
//! # Life of a connection
//!
//! [`Client::connect`] tries the transports in order, upgrades long polling to a websocket if the server offers it,
//! runs the connect handler and returns. It ends when the server or the client says so, when it breaks, or when
//! nothing was heard for `pingInterval + pingTimeout`: then the disconnect handler gets the [`Reason`], once, and
//! [`Client::last_error`] has the details. The handler may connect again; [`ClientBuilder::reconnection`] does it by
//! a policy. A client whose last handle is dropped closes its connection.
//!
//! # What is delivered
//!
//! Messages arrive once and in the order of the calls to `send`, or not at all: nothing is ever sent twice. `Ok`
//! from `send` means accepted. [`Client::flush`] waits until everything accepted was written, and
//! [`Client::disconnect`] writes it before it ends the connection, or returns [`Error::Unsent`] with the number of
//! messages that it could not write: also if the connection was lost before, as long as no other has followed.
//! [`Stats::unsent`] counts them over all connections.
//!
//! A program that sends and ends must wait for that: a dropped client closes its connection, and the end of `main` does
//! not wait for it. End with [`Client::disconnect`], or with [`Client::flush`].
//!
//! # Errors
//!
//! | what | what to do |
//! |---|---|
//! | [`Error::InvalidUrl`], [`Error::InvalidOption`], [`Error::Separator`], [`Error::MessageTooLarge`], [`Error::Json`] | correct the input |
//! | [`Error::Connection`], [`Error::Timeout`], [`Error::Protocol`] | try again later, or tell the user |
//! | [`Error::SocketIsClosed`], [`Error::NotConnected`] | connect |
//! | [`Error::AlreadyConnected`] | nothing, or disconnect first |
//! | [`Error::QueueFull`] | wait, or drop the message |
//! | [`Error::Unsent`] | send them on the next connection, if they matter |
//!
//! # TLS and proxies
//!
//! Both transports connect in the same way. Certificates are checked by the system's TLS library against the system's
//! authorities, and those given to [`ClientBuilder::ca_certificate`]. Proxies come from [`ClientBuilder::proxy`], from the
//! [`ureq::Agent`] given to [`ClientBuilder::http_agent`], or from the environment: `HTTPS_PROXY`, `HTTP_PROXY`,
//! `ALL_PROXY`, `NO_PROXY`. Everything goes through a tunnel (HTTP CONNECT or SOCKS5), also what is not encrypted.
//!
//! # Coming from Python
//!
//! The client mirrors python-engineio's synchronous `Client`: the README has a table of the calls of both.
//!
//! # Limits
//!
//! | limit | default | set by |
//! |---|---|---|
//! | a request, the websocket's opening, a disconnect | 5 s | [`ClientBuilder::request_timeout`] |
//! | messages that wait to be written | 4 MiB | [`ClientBuilder::outbox_limit`] |
//! | messages that wait for a handler | 4 MiB | [`ClientBuilder::inbox_limit`] |
//! | a received message | 64 MiB | [`ClientBuilder::max_message_size`] |
//! | packets in a POST | 16 | [`ClientBuilder::packets_per_post`] |
//! | a sent message | the server's `maxPayload` | the server |
//! | redirects of a request | 10 | an [agent](ClientBuilder::http_agent) that follows fewer |
//! | the server's cookies | 50 of a host, 3000 in all, 4 KiB each | |
//!
//! # Logging
//!
//! Through the [`log`] facade, target `engineio`: failed handlers at error, fallbacks and losses at warn, states
//! and transports at info, session ids, and packets with their sizes, at debug, packets' contents at trace. Passwords,
//! cookies and headers are in none of these lines. They are in some of other crates': `cookie_store` logs cookies that
//! are not `Secure` at debug, and `ureq_proto` whole requests at trace, so those two targets are best kept at info.
//! [`ClientBuilder::logger`] has lines of this crate only.
//!
//! # Features
//!
//! - `sigint`, on by default: Ctrl-C disconnects (`ClientBuilder::handle_sigint`).
//! - `vendored`: builds OpenSSL from source instead of linking the system's.

mod client;
mod clock;
mod connect;
mod error;
mod event;
mod guarded;
mod json;
mod logger;
mod message;
mod net;
mod options;
mod protocol;
mod reconnection;
mod session;
#[cfg(all(feature = "sigint", unix))]
mod sigint;
mod stats;
mod sync;
mod task;
#[cfg(any(test, shuttle))]
mod testing;
mod transport;

#[cfg(shuttle)]
pub use testing::models;

pub use client::{Client, ClientBuilder, State};
pub use error::{Error, Result};
pub use event::{EVENT_NAMES, Event, HandlerResult, Reason};
pub use json::JsonCodec;
pub use message::Message;
pub use options::{ConnectOptions, Disconnect, WebSocketOptions};
pub use protocol::Handshake;
pub use reconnection::{Reconnection, ReconnectionEvent};
pub use stats::{Stats, Traffic};
pub use task::{Flag, Queue, QueueEmpty};
pub use transport::{TransportKind, UnknownTransport};

/// Compiles the README's snippets.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
