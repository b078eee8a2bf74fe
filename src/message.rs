use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{Error, Result};

/// A message to or from the server.
///
/// # Examples
///
/// ```
/// use engineio::Message;
///
/// assert_eq!(Message::from("hi"), Message::Text("hi".into()));
/// assert_eq!(Message::from("hi").as_text(), Some("hi"));
/// let point: (i32, i32) = Message::from("[3, 4]").json()?;
/// assert_eq!(point, (3, 4));
/// # Ok::<(), engineio::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Message {
    /// A text message, in UTF-8.
    Text(String),
    /// A binary message.
    Binary(Bytes),
    /// A JSON value, which is sent as text.
    Json(Value),
}

impl Message {
    /// The text of a text message; `None` for any other message. To get the JSON text of a JSON value, use
    /// [`to_string`](ToString::to_string).
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Message::Text(text) => Some(text),
            Message::Binary(_) | Message::Json(_) => None,
        }
    }

    /// The bytes of a binary message, or the UTF-8 bytes of a text message. For a JSON value, the bytes are
    /// those of the text that serde_json writes; only this case allocates memory.
    ///
    /// # Examples
    ///
    /// ```
    /// use engineio::Message;
    /// use serde_json::json;
    ///
    /// assert_eq!(*Message::from(vec![1, 2]).as_bytes(), [1, 2]);
    /// assert_eq!(*Message::from("ab").as_bytes(), *b"ab");
    /// assert_eq!(*Message::from(json!([1, 2])).as_bytes(), *b"[1,2]");
    /// ```
    pub fn as_bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Message::Text(text) => text.as_bytes().into(),
            Message::Binary(bytes) => Cow::Borrowed(bytes),
            Message::Json(value) => value.to_string().into_bytes().into(),
        }
    }

    /// Deserializes a message of any kind from JSON.
    ///
    /// # Errors
    ///
    /// [`Error::Json`] if the message is not JSON, or if its JSON does not fit the type `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        match self {
            Message::Text(text) => serde_json::from_str(text),
            Message::Binary(bytes) => serde_json::from_slice(bytes),
            Message::Json(value) => T::deserialize(value),
        }
        .map_err(Error::json)
    }
}

/// Shows text and JSON in full, and the length of a binary message.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Message::Text(text) => f.write_str(text),
            Message::Binary(bytes) => write!(f, "<{} bytes>", bytes.len()),
            Message::Json(value) => write!(f, "{value}"),
        }
    }
}

/// A value that can be sent. Every type that implements [`Into<Message>`](Message) implements this trait:
/// texts, bytes and JSON values. [`Client::send_json`](crate::Client::send_json) sends any other value that
/// serde can serialize.
///
/// To send a type of your own, implement `From` for [`Message`]:
///
/// ```
/// use engineio::{Client, Message};
///
/// struct Move(u8, u8);
///
/// impl From<Move> for Message {
///     fn from(to: Move) -> Self {
///         vec![to.0, to.1].into()
///     }
/// }
///
/// # let client = Client::new();
/// # let _ =
/// client.send(Move(3, 4));
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a message",
    label = "not a text, bytes, or a JSON value",
    note = "to send a value as JSON, use `send_json(&value)` or `try_send_json(&value)`",
    note = "to send a type of your own, implement `From<{Self}>` for `Message`"
)]
pub trait IntoMessage {
    #[doc(hidden)]
    fn into_message(self) -> Message;
}

// Otherwise the compiler would show the bound of this implementation, which it cannot explain.
#[diagnostic::do_not_recommend]
impl<T: Into<Message>> IntoMessage for T {
    fn into_message(self) -> Message {
        self.into()
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        // The spare byte is for the type digit that precedes the text on the wire.
        let mut owned = String::with_capacity(text.len() + 1);
        owned.push_str(text);
        Message::Text(owned)
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Message::Text(text)
    }
}

impl From<&String> for Message {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Message::Binary(bytes.into())
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Self {
        Message::Binary(Bytes::copy_from_slice(bytes))
    }
}

impl<const N: usize> From<&[u8; N]> for Message {
    fn from(bytes: &[u8; N]) -> Self {
        Message::Binary(Bytes::copy_from_slice(bytes))
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Message::Binary(bytes)
    }
}

impl From<Value> for Message {
    fn from(value: Value) -> Self {
        Message::Json(value)
    }
}
