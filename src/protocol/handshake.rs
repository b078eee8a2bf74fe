use std::fmt;
use std::time::Duration;

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
///     println!("{}: a ping every {:?}", handshake.sid(), handshake.ping_interval());
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

    /// The time between two pings of the server (`pingInterval`).
    pub fn ping_interval(&self) -> Duration {
        self.ping_interval
    }

    /// The grace period after a ping was due (`pingTimeout`). The connection counts as lost if nothing has
    /// arrived by its end.
    pub fn ping_timeout(&self) -> Duration {
        self.ping_timeout
    }

    /// The names of the transports that the server offers for an upgrade. This client knows only `websocket`.
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
    #[error("the handshake is not JSON: \"{json}\"")]
    Json {
        /// An escaped excerpt.
        json: String,
        source: serde_json::Error,
    },
    #[error("the handshake is longer than {MAX_LENGTH} bytes")]
    TooLong,
    #[error("the handshake is not a JSON object: \"{0}\"")]
    NotAnObject(String),
    #[error("the handshake has no {0}")]
    Missing(&'static str),
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
            Ok(_) => return Err(HandshakeError::NotAnObject(excerpt(json))),
            Err(source) => return Err(HandshakeError::Json { json: excerpt(json), source }),
        };
        Ok(Handshake {
            sid: sid(&fields)?,
            ping_interval: millis(&fields, "pingInterval", 1.0, "a number of milliseconds above 0")?,
            ping_timeout: millis(&fields, "pingTimeout", 0.0, "a number of milliseconds")?,
            upgrades: upgrades(&fields)?,
            max_payload: max_payload(&fields)?,
        })
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
        // The value may be an id all the same.
        _ => Err(invalid("sid", &"***".into(), "a string that can be a session id")),
    }
}

/// An integer that is written as an integer, a float or a string: servers use all three.
fn integer(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    // NaN and the infinities are left out, because their fraction is NaN.
    number.filter(|number| number.fract() == 0.0)
}

fn millis(
    fields: &Map<String, Value>,
    name: &'static str,
    min: f64,
    expected: &'static str,
) -> Result<Duration, HandshakeError> {
    let value = field(fields, name).ok_or(HandshakeError::Missing(name))?;
    match integer(value) {
        // The cast is exact, because the value is an integer in the range of u32.
        Some(millis) if (min..=MAX_MILLIS).contains(&millis) => Ok(Duration::from_millis(millis as u64)),
        _ => Err(invalid(name, value, expected)),
    }
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
    match integer(value) {
        // The cast saturates for numbers above `usize::MAX`.
        Some(bytes) => Ok((bytes > 0.0).then_some(bytes as usize)),
        None => Err(invalid("maxPayload", value, "a number of bytes")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// A handshake with one field replaced, or removed.
    fn with(field: &str, value: Option<Value>) -> String {
        let mut json = json!({"sid": "x", "pingInterval": 25000, "pingTimeout": 20000,
            "upgrades": ["websocket"], "maxPayload": 1000000});
        let fields = json.as_object_mut().unwrap();
        match value {
            Some(value) => fields.insert(field.into(), value),
            None => fields.remove(field),
        };
        json.to_string()
    }

    fn parse_with(field: &str, value: Value) -> Result<Handshake, String> {
        Handshake::parse(&with(field, Some(value))).map_err(|e| e.to_string())
    }

    #[test]
    fn the_example_of_the_protocol() {
        let handshake = Handshake::parse(
            r#"{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":25000,
                "pingTimeout":20000,"maxPayload":1000000,"more":{}}"#,
        )
        .unwrap();
        assert_eq!(handshake.sid(), "lv_VI97HAXpY6yYWAAAC");
        assert_eq!(handshake.ping_interval(), Duration::from_secs(25));
        assert_eq!(handshake.ping_timeout(), Duration::from_secs(20));
        assert_eq!(handshake.upgrades(), ["websocket"]);
        assert_eq!(handshake.max_payload(), Some(1_000_000));
    }

    #[test]
    fn times() {
        let table = [
            (json!(1), 1),
            (json!(25000), 25000),
            (json!(25000.0), 25000),
            (json!("25000"), 25000),
            (json!(" 25000.0 "), 25000),
            (json!(u32::MAX), u64::from(u32::MAX)),
        ];
        for (value, millis) in table {
            let handshake = parse_with("pingInterval", value.clone()).unwrap();
            assert_eq!(handshake.ping_interval(), Duration::from_millis(millis));
            let handshake = parse_with("pingTimeout", value).unwrap();
            assert_eq!(handshake.ping_timeout(), Duration::from_millis(millis));
        }
        assert_eq!(parse_with("pingTimeout", json!(0)).unwrap().ping_timeout(), Duration::ZERO);
    }

    #[test]
    fn malformed_times() {
        let bad = [
            json!(-1),
            json!(0.5),
            json!("-1"),
            json!("NaN"),
            json!("inf"),
            json!("25 s"),
            json!(""),
            json!(true),
            json!([25000]),
            json!({}),
            json!(u64::from(u32::MAX) + 1),
            json!(1e300),
            json!(u64::MAX),
            json!("1e999"),
        ];
        for value in bad {
            for field in ["pingInterval", "pingTimeout"] {
                let error = parse_with(field, value.clone()).unwrap_err();
                assert!(error.starts_with(&format!("the handshake's {field} is ")), "{error}");
            }
        }
        let error = parse_with("pingInterval", json!(0)).unwrap_err();
        assert_eq!(error, r#"the handshake's pingInterval is "0", not a number of milliseconds above 0"#);
    }

    #[test]
    fn session_ids() {
        for sid in ["a", "a b&c=d/é", &"x".repeat(1000)] {
            assert_eq!(parse_with("sid", json!(sid)).unwrap().sid(), sid);
        }
        for bad in [json!(""), json!(7), json!(["x"]), json!("a\nb"), json!("a\0"), json!("\u{85}")] {
            let error = parse_with("sid", bad).unwrap_err();
            assert!(error.starts_with("the handshake's sid is "), "{error}");
        }
    }

    #[test]
    fn required_fields() {
        for field in ["sid", "pingInterval", "pingTimeout"] {
            for json in [with(field, None), with(field, Some(Value::Null))] {
                let error = Handshake::parse(&json).unwrap_err();
                assert_eq!(error.to_string(), format!("the handshake has no {field}"));
            }
        }
    }

    #[test]
    fn upgrades_are_optional() {
        assert!(Handshake::parse(&with("upgrades", None)).unwrap().upgrades().is_empty());
        assert!(parse_with("upgrades", Value::Null).unwrap().upgrades().is_empty());
        let mixed = parse_with("upgrades", json!(["webtransport", 7, null, "websocket"])).unwrap();
        assert_eq!(mixed.upgrades(), ["webtransport", "websocket"]);
        let error = parse_with("upgrades", json!("websocket")).unwrap_err();
        assert_eq!(error, r#"the handshake's upgrades is "\"websocket\"", not a list of transports"#);
    }

    #[test]
    fn max_payload_is_optional() {
        assert_eq!(Handshake::parse(&with("maxPayload", None)).unwrap().max_payload(), None);
        let table = [
            (Value::Null, None),
            (json!(0), None),
            (json!(-5), None),
            (json!("1000"), Some(1000)),
            (json!(1e8), Some(100_000_000)),
            (json!(1e300), Some(usize::MAX)),
        ];
        for (value, expected) in table {
            assert_eq!(parse_with("maxPayload", value).unwrap().max_payload(), expected);
        }
        for bad in [json!("many"), json!(1.5), json!(false), json!([])] {
            assert!(parse_with("maxPayload", bad).unwrap_err().starts_with("the handshake's maxPayload is "));
        }
    }

    #[test]
    fn malformed_handshakes() {
        let table = [
            ("", r#"the handshake is not JSON: """#),
            ("{", r#"the handshake is not JSON: "{""#),
            (r#"{"sid":"x"} 7"#, r#"the handshake is not JSON: "{\"sid\":\"***\"} 7""#),
            (r#"{"pingInterval":NaN}"#, r#"the handshake is not JSON: "{\"pingInterval\":NaN}""#),
            ("[]", r#"the handshake is not a JSON object: "[]""#),
            ("null", r#"the handshake is not a JSON object: "null""#),
            ("{}", "the handshake has no sid"),
        ];
        for (json, message) in table {
            assert_eq!(Handshake::parse(json).map_err(|e| e.to_string()), Err(message.into()));
        }
        assert!(Handshake::parse(&"[".repeat(100_000)).is_err());
    }

    /// Any JSON value, of valid and invalid types for a field.
    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "-?[0-9.e]{0,12}".prop_map(Value::from),
            proptest::collection::vec(any::<String>(), 0..3).prop_map(Value::from),
        ]
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_or_refused(json in any::<String>()) {
            let _ = Handshake::parse(&json).map_err(|e| e.to_string());
        }

        #[test]
        fn any_fields_are_parsed_or_refused(fields in proptest::array::uniform5(value())) {
            let [sid, interval, timeout, upgrades, max] = fields;
            let json = json!({"sid": sid, "pingInterval": interval, "pingTimeout": timeout,
                "upgrades": upgrades, "maxPayload": max});
            if let Ok(handshake) = Handshake::parse(&json.to_string()) {
                prop_assert!(!handshake.sid().is_empty() && !handshake.ping_interval().is_zero());
                prop_assert_ne!(handshake.max_payload(), Some(0));
            }
        }
    }
}
