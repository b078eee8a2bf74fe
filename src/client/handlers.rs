//! The public methods that register handlers and event channels.

use crossbeam_channel::Receiver;

use super::Client;
use crate::error::{Error, Result};
use crate::event::{Event, HandlerResult, Reason};
use crate::message::Message;

/// Handlers and event channels.
impl Client {
    /// Sets the handler for the start of a connection, in place of the previous one.
    ///
    /// The handler may send messages. [`connect`](Self::connect) returns when the handler has run. If the
    /// handler fails or panics, the connection is closed, and `connect` returns [`Error::ConnectHandler`].
    /// Neither the message handler nor the disconnect handler is called for that connection.
    ///
    /// The handler returns `()` or a `Result`: see [`HandlerResult`].
    ///
    /// # Examples
    ///
    /// ```
    /// let client = engineio::Client::new();
    /// client.on_connect(|client| -> engineio::Result<()> {
    ///     client.send("Hello Server!")?;
    ///     client.send_json(&("room", 7))?;
    ///     Ok(())
    /// });
    /// ```
    ///
    /// A handler that consists of a single call can return the result of that call:
    ///
    /// ```
    /// # let client = engineio::Client::new();
    /// client.on_connect(|client| client.send("Hello Server!"));
    /// ```
    pub fn on_connect<F, R, Kind>(&self, mut handler: F)
    where
        F: FnMut(&Client) -> R + Send + 'static,
        R: HandlerResult<Kind>,
    {
        self.core.handlers.connect.set(Box::new(move |client, ()| handler(client).into_result()));
    }

    /// Sets the handler for messages, in place of the previous one.
    ///
    /// The handler is called for one message at a time, in the server's order. While it runs, the heartbeat
    /// goes on, and further messages wait. If it fails or panics, the error is logged and the connection
    /// stays open. The handler returns `()` or a `Result`: see [`HandlerResult`].
    ///
    /// # Examples
    ///
    /// ```
    /// let client = engineio::Client::new();
    /// let mut count = 0;
    /// client.on_message(move |client, message| -> engineio::Result<()> {
    ///     count += 1;
    ///     client.send(format!("message {count} has arrived"))?;
    ///     client.send(message)?;
    ///     Ok(())
    /// });
    /// ```
    pub fn on_message<F, R, Kind>(&self, mut handler: F)
    where
        F: FnMut(&Client, Message) -> R + Send + 'static,
        R: HandlerResult<Kind>,
    {
        self.core
            .handlers
            .message
            .set(Box::new(move |client, message| handler(client, message).into_result()));
    }

    /// Sets the handler for the end of a connection, in place of the previous one.
    ///
    /// The handler is called once per connection, after the last message. It may connect again, and
    /// [`wait`](Self::wait) then waits for the new connection. A [`connect`](Self::connect) call on another
    /// thread waits for the handler to return, for one second at most. If the handler fails or panics, the
    /// error is logged. The handler returns `()` or a `Result`: see [`HandlerResult`].
    ///
    /// # Examples
    ///
    /// ```
    /// use engineio::{Client, Reason};
    ///
    /// let client = Client::new();
    /// client.on_disconnect(|client, reason| -> engineio::Result<()> {
    ///     println!("gone: {reason}");
    ///     if reason == Reason::ServerDisconnect {
    ///         client.connect("http://localhost:5000")?;
    ///     }
    ///     Ok(())
    /// });
    /// ```
    pub fn on_disconnect<F, R, Kind>(&self, mut handler: F)
    where
        F: FnMut(&Client, Reason) -> R + Send + 'static,
        R: HandlerResult<Kind>,
    {
        self.core
            .handlers
            .disconnect
            .set(Box::new(move |client, reason| handler(client, reason).into_result()));
    }

    /// Sets the handler for the event with the name `event`, which is one of
    /// [`EVENT_NAMES`](crate::EVENT_NAMES). The call does the same as [`on_connect`](Self::on_connect),
    /// [`on_message`](Self::on_message) or [`on_disconnect`](Self::on_disconnect).
    ///
    /// # Errors
    ///
    /// [`Error::InvalidEvent`] for any other name.
    ///
    /// # Examples
    ///
    /// ```
    /// use engineio::{Client, Event};
    ///
    /// let client = Client::new();
    /// client.on("message", |client, event| -> engineio::Result<()> {
    ///     if let Event::Message(message) = event {
    ///         client.send(message)?;
    ///     }
    ///     Ok(())
    /// })?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn on<F, R, Kind>(&self, event: &str, mut handler: F) -> Result<()>
    where
        F: FnMut(&Client, Event) -> R + Send + 'static,
        R: HandlerResult<Kind>,
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

    /// Returns a channel of events, for loops and `crossbeam_channel::select!`. From this call on, the
    /// channel gets the events of all connections of this client, and the steps of its reconnection policy.
    /// The handler for an event runs before the event is sent to the channel. Each call returns a new
    /// channel, and every channel gets every event.
    ///
    /// If `capacity` events wait in the channel, the reader thread waits for room, as it does for a slow
    /// handler: the heartbeat goes on, and further messages wait. The memory of a channel is allocated at
    /// once, so a capacity above 65,536 counts as 65,536. With capacity 0, each event is handed over directly
    /// to the receiving thread. Unlike for [`create_queue`](Self::create_queue), 0 does not mean "no limit",
    /// because the server decides how many events there are, and could fill the memory.
    ///
    /// When the client disconnects or its last handle is dropped, messages that find no room in the channel
    /// are dropped. The last event waits for room, for the request timeout at most.
    /// [`disconnect`](Self::disconnect) does not wait for that: it returns when the disconnect handler has
    /// run.
    ///
    /// The events of one connection come before those of the next. If a disconnect handler has connected
    /// again, no events of the new connection are delivered until that handler has returned. While there is a
    /// channel, the handler must therefore not wait for a message of the new connection.
    ///
    /// The steps of the [reconnection policy](crate::ClientBuilder::reconnection) arrive as
    /// [`Event::Reconnection`]. They come after the disconnect event of the lost connection, and before the
    /// events of the new one. They wait for room like other events, so the policy pauses while the channel is
    /// full. Its last step, `Connected`, `GaveUp` or `Cancelled`, waits for room as the last event of a
    /// connection does.
    ///
    /// If the policy repeats a first `connect` ([`first_connect`](crate::Reconnection::first_connect)), its
    /// steps are sent at once. If `connect` was called in the disconnect handler of an earlier connection,
    /// the steps may come before the disconnect event of that connection. The step `Connected` may come after
    /// the event `Connect`. The thread that reads the channel may be the one that connects, so such a step
    /// waits for room for 100 ms at most, and is then dropped.
    ///
    /// The channel does not end with a connection. To unsubscribe, drop the receiver. The receiver does not
    /// keep the client alive: the channel ends when the last handle of the client is dropped and its
    /// connection is over.
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
    ///
    /// With a reconnection policy, the loop goes on until the policy gives up, or the program or Ctrl-C
    /// disconnects: see [`Event::ends_reconnection`].
    ///
    /// ```no_run
    /// use engineio::{Client, Event, Reconnection};
    ///
    /// let policy = Reconnection::new().max_attempts(5);
    /// let client = Client::builder().reconnection(policy).build()?;
    /// let events = client.events(100);
    /// client.connect("http://localhost:5000")?;
    /// for event in events {
    ///     let is_over = event.ends_reconnection();
    ///     match event {
    ///         Event::Message(message) => println!("{message}"),
    ///         Event::Disconnect(reason) => println!("gone: {reason}"),
    ///         Event::Reconnection(step) => println!("{step}"),
    ///         _ => {}
    ///     }
    ///     if is_over {
    ///         break;
    ///     }
    /// }
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn events(&self, capacity: usize) -> Receiver<Event> {
        self.core.subscriptions.subscribe(capacity)
    }
}
