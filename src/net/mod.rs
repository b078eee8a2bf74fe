//! Sockets, TLS, proxies and HTTP. Nothing in this module knows Engine.IO.

mod agent;
pub(crate) mod authorization;
mod body;
mod buffers;
mod certificate;
mod connector;
pub(crate) mod cookies;
mod dial;
mod excerpt;
mod exchange;
#[cfg(any(test, fuzz))]
#[cfg_attr(test, allow(unreachable_pub, reason = "the fuzz package reaches it"))]
pub(crate) mod fuzz;
mod http;
mod http_error;
mod http_transport;
mod link;
mod no_jar;
mod pem;
mod progress;
mod proxy;
mod redirect;
mod settings;
mod socket;
mod tcp;
mod tls;
mod tls_error;
mod user_agent;
mod waker;

pub(crate) use agent::AgentSource;
pub(crate) use cookies::is_token;
pub(crate) use dial::{AnsweredAddresses, DialSettings, Override, check_socket};
pub(crate) use http::{HttpClient, Response};
pub(crate) use http_error::{HttpError, without_sid};
pub(crate) use progress::unacknowledged;
pub(crate) use proxy::{ProxySettings, Routes};
pub(crate) use settings::{Headers, HttpSettings};
pub(crate) use socket::{LastActivity, Stream, TimeLeft};
pub(crate) use tcp::Tcp;
pub use tls::TlsVersion;
pub(crate) use tls::{ClientIdentity, TlsSettings};
pub(crate) use user_agent::Place;
