//! A blocking, thread-based [Engine.IO](https://socket.io/docs/v4/engine-io-protocol/) v4 client.

mod builder;
mod client;
mod connect;
mod error;
mod event;
mod logger;
mod message;
mod net;
mod protocol;
mod reconnection;
mod session;
mod sync;
mod task;
mod transport;

pub use builder::{ClientBuilder, ConnectOptions, Disconnect, WebSocketOptions};
pub use client::{Client, State};
pub use error::{Error, Result};
pub use event::{HandlerResult, Reason};
pub use message::Message;
pub use protocol::Handshake;
pub use reconnection::{Reconnection, ReconnectionEvent};
pub use transport::{TransportKind, UnknownTransport};
