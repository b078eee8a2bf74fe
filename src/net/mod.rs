//! Sockets, TLS, proxies and HTTP. Nothing in this module knows Engine.IO.

mod agent;
pub(crate) mod authorization;
mod body;
mod buffers;
mod connector;
pub(crate) mod cookies;
mod dial;
mod excerpt;
mod exchange;
mod http;
mod http_error;
mod pem;
mod printable;
mod proxy;
mod read_ahead;
mod redirect;
mod socket;
mod tls;
mod tls_error;
mod user_agent;

pub(crate) use agent::AgentSource;
pub(crate) use cookies::is_token;
pub(crate) use http::{Headers, HttpClient, HttpSettings};
pub(crate) use http_error::{HttpError, without_sid};
pub(crate) use proxy::{ProxySettings, Routes};
pub(crate) use read_ahead::ReadAhead;
pub(crate) use socket::{LastActivity, TimeLeft, wait_for};
pub(crate) use tls::TlsSettings;
