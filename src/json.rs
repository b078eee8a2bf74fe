mod demand;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::guarded::guarded;
use crate::message::Message;

/// Converts JSON values into text and back. [`ClientBuilder::json`](crate::ClientBuilder::json) installs a
/// codec for a client. Without one the client uses serde_json.
///
/// # Examples
///
/// A codec that writes indented JSON:
///
/// ```
/// use engineio::{Client, JsonCodec};
/// use serde_json::Value;
///
/// struct Pretty;
///
/// type Error = Box<dyn std::error::Error + Send + Sync>;
///
/// impl JsonCodec for Pretty {
///     fn dumps(&self, value: &Value) -> Result<String, Error> {
///         Ok(serde_json::to_string_pretty(value)?)
///     }
///     fn loads(&self, text: &str) -> Result<Value, Error> {
///         Ok(serde_json::from_str(text)?)
///     }
/// }
///
/// let client = Client::builder().json(Pretty).build()?;
/// # Ok::<(), engineio::Error>(())
/// ```
pub trait JsonCodec: Send + Sync + 'static {
    /// Converts a value into text.
    ///
    /// # Errors
    ///
    /// Any error of the conversion. [`Client::send`](crate::Client::send) returns it as [`Error::Json`].
    fn dumps(&self, value: &Value) -> Result<String, Box<dyn StdError + Send + Sync>>;

    /// Converts text from the server into a value.
    ///
    /// A text whose arrays and objects are nested more than 127 levels deep is not passed to this function
    /// and stays [`Message::Text`]. A server can therefore not exhaust the stack of a JSON library that has
    /// no limit of its own. The same applies to a text whose value would take too much memory: see
    /// [`decode_json`](crate::ClientBuilder::decode_json).
    ///
    /// # Errors
    ///
    /// Any error of the conversion. After an error or a panic, the message is delivered as [`Message::Text`].
    fn loads(&self, text: &str) -> Result<Value, Box<dyn StdError + Send + Sync>>;
}

/// A client's settings for JSON.
#[derive(Clone, Default)]
pub(crate) struct Json {
    /// The user's codec. Without one the client uses serde_json.
    pub(crate) codec: Option<Arc<dyn JsonCodec>>,
    pub(crate) decode: bool,
}

impl Json {
    pub(crate) fn dumps(&self, value: &Value) -> Result<String> {
        match &self.codec {
            None => Ok(value.to_string()),
            Some(codec) => codec.dumps(value).map_err(Error::json),
        }
    }

    pub(crate) fn serialize<T: Serialize + ?Sized>(&self, value: &T) -> Result<String> {
        match &self.codec {
            None => serde_json::to_string(value).map_err(Error::json),
            Some(_) => self.dumps(&serde_json::to_value(value).map_err(Error::json)?),
        }
    }

    /// Converts a received text into the message for the handler.
    ///
    /// A text that starts with a digit stays text, as in python-engineio: numbers, and ids that look like
    /// numbers, are rarely meant as JSON.
    #[inline]
    pub(crate) fn message(&self, text: String) -> Message {
        if !self.decode || text.starts_with(|first: char| first.is_ascii_digit()) {
            return Message::Text(text);
        }
        let value = match &self.codec {
            _ if demand::is_too_high(&text) => None,
            None => serde_json::from_str(&text).ok(),
            // The user's codec may panic, and the reader thread has to survive that.
            Some(codec) => guarded(|| codec.loads(&text)).ok().and_then(|loaded| loaded.ok()),
        };
        value.map_or(Message::Text(text), Message::Json)
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Json").field("codec", &self.codec.is_some()).field("decode", &self.decode).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_that_are_json_are_decoded_on_request() {
        let on = Json { codec: None, decode: true };
        let deep = "[".repeat(100_000);
        let table = [
            (r#"{"a": 1}"#, Some(json!({"a": 1}))),
            ("[1]", Some(json!([1]))),
            ("true", Some(json!(true))),
            ("null", Some(Value::Null)),
            ("\"x\"", Some(json!("x"))),
            ("-1", Some(json!(-1))),
            // A text with a digit first stays text, as in python-engineio.
            ("1", None),
            ("1.5", None),
            ("", None),
            ("hello", None),
            ("{\"a\": ", None),
            // This nesting is too deep for any stack.
            (&deep, None),
        ];
        for (text, expected) in table {
            let expected = expected.map_or(Message::from(text), Message::Json);
            assert_eq!(on.message(text.into()), expected);
            assert_eq!(Json::default().message(text.into()), Message::from(text));
        }
    }
}
