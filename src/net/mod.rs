//! Sockets, TLS and HTTP: knows no Engine.IO.

mod dial;
mod http;
mod socket;
mod tls;

pub(crate) use http::{HttpClient, HttpError, HttpSettings};
pub(crate) use socket::{Heard, Stream, wait_for};
pub(crate) use tls::TlsSettings;
