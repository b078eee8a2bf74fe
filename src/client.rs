//! The public handle of a client, and the modules behind it.

// The documentation of `Client` has the methods of these modules in this order: `basics`, `handlers`,
// `sending`, `status`.
mod basics;
mod builder;
mod channels;
mod connecting;
mod connection;
mod core;
mod disconnecting;
mod handlers;
mod life;
mod listener;
mod sending;
mod slot;
mod status;

use std::fmt;
use std::sync::Arc;

use self::core::{Core, Handle};
use crate::options::Options;

pub use builder::ClientBuilder;
pub use life::State;

/// An Engine.IO client, which has at most one connection at a time. Clones are handles to the same client.
///
/// All handlers of a connection run on one thread, one after the other: first the connect handler, then the
/// message handler for each message in the server's order, and finally the disconnect handler, once. Handlers
/// get the client as an argument, so they need no clone of it. A clone that a handler stores keeps the client
/// alive. When the last handle is dropped, the connection is closed in the background, so dropping neither
/// waits nor writes. The [guide](crate::guide) has code for common tasks.
///
/// # Examples
///
/// ```no_run
/// use engineio::Client;
///
/// let client = Client::new();
/// client.on_connect(|client| client.send("Hello Server!"));
/// client.on_message(|_, message| println!("Server says: {message}"));
/// client.on_disconnect(|_, reason| println!("gone: {reason}"));
/// client.connect("http://localhost:5000")?;
/// client.wait();
/// # Ok::<(), engineio::Error>(())
/// ```
pub struct Client {
    core: Arc<Core>,
    /// Absent in the client that handlers are given, which does not keep the client alive.
    handle: Option<Arc<Handle>>,
}

impl Client {
    /// Makes a client that does not handle Ctrl-C, for a model.
    #[cfg(shuttle)]
    pub(crate) fn for_model(reconnection: Option<crate::reconnection::Reconnection>) -> Self {
        Self::from_options(Options { reconnection, ..Options::default() })
    }

    #[cfg(shuttle)]
    pub(crate) fn connect_by(&self, way: Arc<dyn crate::connect::Way>) -> crate::Result<()> {
        self.core.connect_by(way)
    }

    fn from_options(options: Options) -> Self {
        Core::new(options).handle()
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes another handle to the same client. A clone keeps the client alive, even if it is made in a handler.
impl Clone for Client {
    fn clone(&self) -> Self {
        match &self.handle {
            Some(handle) => Client { core: self.core.clone(), handle: Some(handle.clone()) },
            None => self.core.handle(),
        }
    }
}

/// The session id is not shown, because anybody who knows it can take over the session.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("state", &self.state())
            .field("transport", &self.transport().ok())
            .finish_non_exhaustive()
    }
}
