use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::packet::excerpt;

/// The parameters of a session, as the server announced them when the connection was opened. See
/// [`Client::handshake`](crate::Client::handshake).
///
/// # Examples
///
/// ```no_run
/// use engineio::Client;
///
/// let client = Client::new();
/// client.connect("http://localhost:5000")?;
/// if let Some(handshake) = client.handshake() {
///     println!("a ping every {:?}", handshake.ping_interval());
/// }
/// # Ok::<(), engineio::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Handshake {
    sid: String,
    ping_interval: Duration,
    ping_timeout: Duration,
    upgrades: Vec<String>,
    max_payload: Option<usize>,
}

impl Handshake {
    /// The id of the session. Keep it out of logs: anybody who knows it can take over the session.
    pub fn sid(&self) -> &str {
        &self.sid
    }

    /// The time between two pings of the server (`pingInterval`). If the server announces 0, this is one
    /// second: python-engineio truncates its interval to whole seconds, so 0 means less than a second.
    pub fn ping_interval(&self) -> Duration {
        self.ping_interval
    }

    /// The time that a ping may be late (`pingTimeout`). The connection counts as lost if nothing has arrived
    /// for [`ping_interval`](Self::ping_interval) plus this time, and for at least 100 ms.
    pub fn ping_timeout(&self) -> Duration {
        self.ping_timeout
    }

    /// The names of the transports that the server offers for an upgrade. This client supports only
    /// `websocket`.
    pub fn upgrades(&self) -> &[String] {
        &self.upgrades
    }

    /// The largest request body or websocket frame that the server accepts, in encoded bytes (`maxPayload`).
    /// `None` if the server has not announced a limit.
    pub fn max_payload(&self) -> Option<usize> {
        self.max_payload
    }
}

/// Hides the session id: anybody who knows it can take over the session.
impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake")
            .field("ping_interval", &self.ping_interval)
            .field("ping_timeout", &self.ping_timeout)
            .field("upgrades", &self.upgrades)
            .field("max_payload", &self.max_payload)
            .finish_non_exhaustive()
    }
}

/// The data of the open packet is not a valid handshake.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// The texts of serde_json's syntax errors name a place and quote nothing, such as the session id.
    #[error("the handshake is not JSON: {0}")]
    Json(serde_json::Error),
    #[error("the handshake is longer than {MAX_LENGTH} bytes")]
    TooLong,
    #[error("the handshake is not a JSON object")]
    NotAnObject,
    /// The number is valid JSON, but no `f64` can hold it.
    #[error("the handshake's {} is too large a number", excerpt(.0))]
    TooLarge(String),
    #[error("the handshake has no {0}")]
    Missing(&'static str),
    #[error("the handshake's sid is not a string that can be a session id")]
    Sid,
    #[error("the handshake's {field} is \"{value}\", not {expected}")]
    Invalid {
        field: &'static str,
        /// An escaped excerpt of the JSON.
        value: String,
        expected: &'static str,
    },
}

/// The limit for the JSON text in bytes. The parsed value takes a multiple of it in memory.
const MAX_LENGTH: usize = 64 * 1024;

/// The upper bound for both times in milliseconds, 49 days. With it no sum of both, or of them and an
/// instant, overflows.
const MAX_MILLIS: f64 = u32::MAX as f64;

/// The interval of a server that announces 0. python-engineio announces whole seconds, rounded down.
const ZERO_INTERVAL: Duration = Duration::from_secs(1);

impl Handshake {
    /// Parses the data of the open packet. `sid`, `pingInterval` and `pingTimeout` are required. `upgrades`
    /// and `maxPayload` are optional here, although the protocol requires them: older servers leave
    /// `maxPayload` out.
    pub(crate) fn parse(json: &str) -> Result<Handshake, HandshakeError> {
        if json.len() > MAX_LENGTH {
            return Err(HandshakeError::TooLong);
        }
        let fields = match serde_json::from_str(json) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return Err(HandshakeError::NotAnObject),
            Err(source) if source.to_string().starts_with("number out of range") => {
                return Err(HandshakeError::TooLarge(last_key(json)));
            }
            Err(source) => return Err(HandshakeError::Json(source)),
        };
        let interval = |announced: Duration| if announced.is_zero() { ZERO_INTERVAL } else { announced };
        Ok(Handshake {
            sid: sid(&fields)?,
            ping_interval: interval(millis(&fields, "pingInterval")?),
            ping_timeout: millis(&fields, "pingTimeout")?,
            upgrades: upgrades(&fields)?,
            max_payload: max_payload(&fields)?,
        })
    }
}

impl Handshake {
    /// True if the open packet, which came by websocket, looks like that of a server of Engine.IO v3 with
    /// default options. Those of v4 have a `maxPayload`, or other times, except for engine.io 4.0.
    pub(crate) fn may_be_version_3(&self) -> bool {
        const INTERVAL: Duration = Duration::from_secs(25);
        /// The timeouts of engine.io 3.2 and later, and of other servers.
        const TIMEOUTS: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(60)];
        self.max_payload.is_none() && self.ping_interval == INTERVAL && TIMEOUTS.contains(&self.ping_timeout)
    }
}

/// The value of a field. `null` counts as a missing field.
fn field<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}

fn invalid(field: &'static str, value: &Value, expected: &'static str) -> HandshakeError {
    HandshakeError::Invalid { field, value: excerpt(&value.to_string()), expected }
}

fn sid(fields: &Map<String, Value>) -> Result<String, HandshakeError> {
    let value = field(fields, "sid").ok_or(HandshakeError::Missing("sid"))?;
    match value.as_str() {
        Some(sid) if !sid.is_empty() && !sid.contains(char::is_control) => Ok(sid.to_owned()),
        _ => Err(HandshakeError::Sid),
    }
}

/// A number that is written as a number or as a string: servers use both.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A time in milliseconds, which may have a fraction.
fn millis(fields: &Map<String, Value>, name: &'static str) -> Result<Duration, HandshakeError> {
    const NANOS: f64 = 1e6;
    let value = field(fields, name).ok_or(HandshakeError::Missing(name))?;
    match number(value) {
        // NaN and the infinities are in no range. The product is below 2^53, so that its cast is exact.
        Some(millis) if (0.0..=MAX_MILLIS).contains(&millis) => {
            Ok(Duration::from_nanos((millis * NANOS).round() as u64))
        }
        _ => Err(invalid(name, value, "a number of milliseconds, 0 or more, and at most 49 days")),
    }
}

/// The last key of the object in front of the place where the JSON cannot be read.
fn last_key(json: &str) -> String {
    struct LastKey<'a>(&'a mut String);

    impl<'de> Visitor<'de> for LastKey<'_> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key()? {
                *self.0 = key;
                map.next_value::<Value>()?;
            }
            Ok(())
        }
    }

    let mut key = String::new();
    // The error is known already: only the key is of interest.
    let _ = serde_json::Deserializer::from_str(json).deserialize_map(LastKey(&mut key));
    key
}

fn upgrades(fields: &Map<String, Value>) -> Result<Vec<String>, HandshakeError> {
    match field(fields, "upgrades") {
        None => Ok(Vec::new()),
        Some(Value::Array(names)) => Ok(names.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
        Some(other) => Err(invalid("upgrades", other, "a list of transports")),
    }
}

/// The largest payload. Zero and negative values mean no limit, as in the configuration of servers.
fn max_payload(fields: &Map<String, Value>) -> Result<Option<usize>, HandshakeError> {
    let Some(value) = field(fields, "maxPayload") else { return Ok(None) };
    match number(value) {
        // The fraction of NaN and of the infinities is NaN. The cast saturates above `usize::MAX`.
        Some(bytes) if bytes.fract() == 0.0 => Ok((bytes > 0.0).then_some(bytes as usize)),
        _ => Err(invalid("maxPayload", value, "a number of bytes")),
    }
}

#[cfg(test)]
mod tests;
