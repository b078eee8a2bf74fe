//! The public methods that send, other than `send` itself.

use std::time::Duration;

use serde::Serialize;

use super::Client;
use crate::error::{Error, Result};
use crate::message::IntoMessage;
use crate::session::WhenFull;

/// More ways to send.
impl Client {
    /// Sends a message like [`send`](Self::send), but never waits for room.
    ///
    /// # Errors
    ///
    /// [`Error::QueueFull`] if there is no room, or if other senders already wait for room. Otherwise the
    /// same as for [`send`](Self::send).
    ///
    /// # Examples
    ///
    /// ```
    /// use engineio::{Client, Error};
    ///
    /// assert!(matches!(Client::new().try_send("hi"), Err(Error::SocketIsClosed)));
    /// ```
    pub fn try_send(&self, message: impl IntoMessage) -> Result<()> {
        self.core.send(message.into_message(), WhenFull::Fail)
    }

    /// Serializes a value as JSON and sends it like [`send`](Self::send).
    ///
    /// # Errors
    ///
    /// [`Error::Json`] if the value cannot be serialized. Otherwise the same as for [`send`](Self::send).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let client = engineio::Client::new();
    /// client.send_json(&("point", 3, 4))?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn send_json<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        self.send(self.core.options.json.serialize(value)?)
    }

    /// Serializes a value as JSON and sends it like [`try_send`](Self::try_send).
    ///
    /// # Errors
    ///
    /// [`Error::Json`] if the value cannot be serialized. Otherwise the same as for
    /// [`try_send`](Self::try_send).
    ///
    /// # Examples
    ///
    /// ```
    /// use engineio::{Client, Error};
    ///
    /// let sent = Client::new().try_send_json(&[1, 2]);
    /// assert!(matches!(sent, Err(Error::SocketIsClosed)));
    /// ```
    pub fn try_send_json<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        self.try_send(self.core.options.json.serialize(value)?)
    }

    /// Sends several messages as a group: no message of another thread comes between them. Socket.IO needs
    /// this for a header and its attachments.
    ///
    /// Either all messages are accepted, or none. If the outbox has too little room, the call waits in line
    /// with other senders, like [`send`](Self::send). A group that is larger than the whole outbox is treated
    /// as one large message: it waits until the outbox is empty.
    ///
    /// All messages are read from the iterator and converted before the first one is accepted, so the whole
    /// group is in memory at once. If the iterator panics, the panic reaches the caller, and nothing is sent.
    /// Over polling, a group may take several POSTs, one after the other. The client's own answers to pings
    /// may come between the messages. If the connection ends before all messages are written, the remaining
    /// ones count as [unsent](crate::Stats::unsent). An empty group is always `Ok`.
    ///
    /// # Errors
    ///
    /// The same as for [`send`](Self::send), for any of the messages. In that case none of them is sent.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use engineio::Message;
    ///
    /// # let client = engineio::Client::new();
    /// client.send_all(["first", "second"])?;
    ///
    /// // A Socket.IO event with an attachment.
    /// let header = r#"51-["upload",{"_placeholder":true,"num":0}]"#;
    /// client.send_all([Message::from(header), Message::from(vec![1, 2, 3])])?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn send_all(&self, messages: impl IntoIterator<Item: IntoMessage>) -> Result<()> {
        self.core.send_all(messages.into_iter().map(IntoMessage::into_message), WhenFull::Wait)
    }

    /// Sends a group of messages like [`send_all`](Self::send_all), but never waits for room.
    ///
    /// # Errors
    ///
    /// [`Error::QueueFull`] if there is no room for the whole group, or if other senders already wait for
    /// room. Otherwise the same as for [`send_all`](Self::send_all). In each case no message of the group is
    /// sent.
    ///
    /// # Examples
    ///
    /// ```
    /// use engineio::{Client, Error};
    ///
    /// let client = Client::new();
    /// let sent = client.try_send_all(["header", "attachment"]);
    /// assert!(matches!(sent, Err(Error::SocketIsClosed)));
    /// ```
    pub fn try_send_all(&self, messages: impl IntoIterator<Item: IntoMessage>) -> Result<()> {
        self.core.send_all(messages.into_iter().map(IntoMessage::into_message), WhenFull::Fail)
    }

    /// Waits until all messages that were accepted before this call are written. Over websocket, a message is
    /// written when the operating system has taken it. Over polling, it is written when the server has
    /// answered the POST. The call does not wait for messages that other threads send after it began.
    ///
    /// # Errors
    ///
    /// - [`Error::Timeout`] after `timeout`. The messages stay queued.
    /// - [`Error::SocketIsClosed`] if there is no connection, or if it ends before those messages are
    ///   written.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let client = engineio::Client::new();
    /// client.send("important")?;
    /// client.flush(std::time::Duration::from_secs(5))?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn flush(&self, timeout: Duration) -> Result<()> {
        self.core.session().ok_or(Error::SocketIsClosed)?.flush(timeout)
    }
}
