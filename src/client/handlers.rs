use crossbeam_channel::Receiver;

use super::Client;
use crate::error::{Error, Result};
use crate::event::{Event, HandlerResult, Reason};
use crate::message::Message;

/// What happens on a connection, told to handlers and channels.
impl Client {
    /// Sets the handler for the start of a connection, in place of the former one.
    ///
    /// It may send. [`connect`](Self::connect) returns when it has. If it fails or panics, the connection is
    /// closed and `connect` returns [`Error::ConnectHandler`]; the disconnect handler is not called then.
    ///
    /// # Examples
    ///
    /// ```
    /// let client = engineio::Client::new();
    /// client.on_connect(|client| client.send("Hello Server!"));
    /// ```
    pub fn on_connect<F, R>(&self, mut handler: F)
    where
        F: FnMut(&Client) -> R + Send + 'static,
        R: HandlerResult,
    {
        self.core.handlers.connect.set(Box::new(move |client, ()| handler(client).into_result()));
    }

    /// Sets the handler for messages, in place of the former one.
    ///
    /// It is called for one message at a time, in the order in which the server sent them. While it runs the
    /// heartbeat goes on, and messages wait. If it fails or panics, that is logged and the connection goes on.
    ///
    /// # Examples
    ///
    /// ```
    /// let client = engineio::Client::new();
    /// let mut count = 0;
    /// client.on_message(move |client, message| {
    ///     count += 1;
    ///     client.send(format!("{count}: {message}"))
    /// });
    /// ```
    pub fn on_message<F, R>(&self, mut handler: F)
    where
        F: FnMut(&Client, Message) -> R + Send + 'static,
        R: HandlerResult,
    {
        self.core
            .handlers
            .message
            .set(Box::new(move |client, message| handler(client, message).into_result()));
    }

    /// Sets the handler for the end of a connection, in place of the former one.
    ///
    /// It is called once per connection, after the last message. It may connect again: then
    /// [`wait`](Self::wait) goes on. If it fails or panics, that is logged.
    ///
    /// # Examples
    ///
    /// ```
    /// let client = engineio::Client::new();
    /// client.on_disconnect(|_, reason| println!("gone: {reason}"));
    /// ```
    pub fn on_disconnect<F, R>(&self, mut handler: F)
    where
        F: FnMut(&Client, Reason) -> R + Send + 'static,
        R: HandlerResult,
    {
        self.core
            .handlers
            .disconnect
            .set(Box::new(move |client, reason| handler(client, reason).into_result()));
    }

    /// Sets the handler of an event by its name, one of [`EVENT_NAMES`](crate::EVENT_NAMES), in place of the former
    /// one: as [`on_connect`](Self::on_connect), [`on_message`](Self::on_message) and
    /// [`on_disconnect`](Self::on_disconnect).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidEvent`] for another name.
    ///
    /// # Examples
    ///
    /// ```
    /// use engineio::{Client, Event};
    ///
    /// let client = Client::new();
    /// client.on("message", |_, event| {
    ///     if let Event::Message(message) = event {
    ///         println!("{message}");
    ///     }
    /// })?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn on<F, R>(&self, event: &str, mut handler: F) -> Result<()>
    where
        F: FnMut(&Client, Event) -> R + Send + 'static,
        R: HandlerResult,
    {
        match event {
            "connect" => self.on_connect(move |client| handler(client, Event::Connect)),
            "message" => self.on_message(move |client, message| handler(client, Event::Message(message))),
            "disconnect" => {
                self.on_disconnect(move |client, reason| handler(client, Event::Disconnect(reason)))
            }
            _ => return Err(Error::InvalidEvent { name: event.into() }),
        }
        Ok(())
    }

    /// The events of all of this client's connections from now on, as a channel, for loops and
    /// [`crossbeam_channel::select!`]. Handlers are called as well, before. Each call gives another channel, which
    /// gets every event.
    ///
    /// When `capacity` events wait in it, the reader thread waits for room, as for a slow handler: the heartbeat goes
    /// on, and messages wait. With capacity 0 an event is handed over when it is received. When the client
    /// disconnects, or its last handle is dropped, messages that find no room are dropped, and the last event waits for
    /// it for the request timeout: also if the server was first to end the connection.
    ///
    /// The events of one connection come before those of the next. So while a disconnect handler that has connected again
    /// goes on, nothing of the new connection is delivered: with a channel, that handler must not wait for a message.
    ///
    /// Drop the receiver to end it. The channel ends when the last handle of the client is dropped and its
    /// connection is over: the receiver does not keep the client alive.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use engineio::{Client, Event};
    ///
    /// let client = Client::new();
    /// let events = client.events(100);
    /// client.connect("http://localhost:5000")?;
    /// for event in events {
    ///     match event {
    ///         Event::Message(message) => println!("{message}"),
    ///         Event::Disconnect(_) => break,
    ///         _ => {}
    ///     }
    /// }
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn events(&self, capacity: usize) -> Receiver<Event> {
        self.core.subscriptions.subscribe(capacity)
    }
}
