//! Engine.IO v4 as text and bytes: packets, payloads, the handshake and URLs. All functions are pure, without
//! I/O.
//!
//! In these files "the protocol" stands for <https://socket.io/docs/v4/engine-io-protocol/>.

mod endpoint;
mod handshake;
mod packet;
pub(crate) mod payload;
mod user_url;

pub(crate) use endpoint::{Endpoint, EndpointError};
pub use handshake::Handshake;
pub(crate) use packet::{DecodeError, Packet, VERSION_3, binary_text_len};
