//! The options of a client, of a connection, and of a disconnect.

mod compression;
pub(crate) mod connect;
mod disconnect;
mod headers;
#[cfg(feature = "sigint")]
mod on_sigint;
mod websocket;

use std::time::Duration;

use crate::json::Json;
use crate::logger::Logger;
use crate::net::{AgentSource, DialSettings, ProxySettings, TlsSettings};
use crate::observation::PacketHook;
use crate::reconnection::Reconnection;
use crate::transport::WebSocketSettings;

pub use compression::Compression;
pub use connect::ConnectOptions;
pub use disconnect::Disconnect;
#[cfg(feature = "sigint")]
pub use on_sigint::OnSigint;
pub use websocket::WebSocketOptions;

/// The options that a client was built with.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) request_timeout: Duration,
    pub(crate) timestamp_requests: bool,
    pub(crate) tls: TlsSettings,
    pub(crate) proxy_tls: TlsSettings,
    pub(crate) agent: Option<AgentSource>,
    pub(crate) proxy: ProxySettings,
    pub(crate) dial: DialSettings,
    pub(crate) outbox_limit: usize,
    pub(crate) inbox_limit: usize,
    pub(crate) max_message_size: usize,
    pub(crate) packets_per_post: usize,
    pub(crate) websocket: WebSocketSettings,
    pub(crate) reconnection: Option<Reconnection>,
    pub(crate) remember_upgrade: bool,
    pub(crate) json: Json,
    #[cfg(feature = "sigint")]
    pub(crate) on_sigint: OnSigint,
    pub(crate) logger: Logger,
    pub(crate) on_packet: Option<PacketHook>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            request_timeout: Duration::from_secs(5),
            timestamp_requests: true,
            tls: TlsSettings::default(),
            proxy_tls: TlsSettings::default(),
            agent: None,
            proxy: ProxySettings::default(),
            dial: DialSettings::default(),
            outbox_limit: 4 << 20,
            inbox_limit: 4 << 20,
            max_message_size: 64 << 20,
            packets_per_post: 16,
            websocket: WebSocketSettings::default(),
            reconnection: None,
            remember_upgrade: false,
            json: Json::default(),
            #[cfg(feature = "sigint")]
            on_sigint: OnSigint::default(),
            logger: Logger::default(),
            on_packet: None,
        }
    }
}
