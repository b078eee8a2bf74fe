use std::fmt;
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use serde::Serialize;

use crate::builder::{ClientBuilder, ConnectOptions, Disconnect, Options};
use crate::connect::{Attempt, Connected, Plan};
use crate::error::{Error, Result};
use crate::event::{HandlerResult, Handlers, Reason};
use crate::logger::log;
use crate::message::Message;
use crate::protocol::{Handshake, Packet};
use crate::session::{Ending, Session, SessionOptions, WhenFull, World, is_reader_of};
use crate::sync::{lock, wait_until};
use crate::task;
use crate::transport::TransportKind;

/// An Engine.IO client: a handle to one connection at a time. Clones are handles to the same client.
///
/// Handlers run on one thread, in order: connect, each message in the order in which the server sent it, then
/// disconnect, once. When the last handle is dropped, the connection is closed without waiting for it.
///
/// # Examples
///
/// ```no_run
/// use engineio::Client;
///
/// let client = Client::new();
/// client.on_connect(|client| client.send("Hello Server!"));
/// client.on_message(|_, message| println!("Server says: {message}"));
/// client.on_disconnect(|_, reason| println!("gone: {reason}"));
/// client.connect("http://localhost:5000")?;
/// client.wait();
/// # Ok::<(), engineio::Error>(())
/// ```
pub struct Client {
    core: Arc<Core>,
    /// Absent in the handle that handlers are given, which does not keep the client alive.
    handle: Option<Arc<Handle>>,
}

/// Counts the user's handles.
struct Handle(Arc<Core>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

struct Core {
    options: Options,
    handlers: Handlers,
    /// Taken after `handle` where both are. Not held while the session's locks are taken, nor while anything
    /// waits but on `changed`.
    life: Mutex<Life>,
    /// `life.state` or `life.readers` changed.
    changed: Condvar,
    /// The user's handles, if there are any.
    handle: Mutex<Weak<Handle>>,
}

/// Where the client is between connections.
struct Life {
    state: State,
    /// Present while `Connected` or `Disconnecting`.
    session: Option<Arc<Session>>,
    /// Present while `Connecting`.
    attempt: Option<Arc<Attempt>>,
    /// Connections whose reader has not finished: more than one when a disconnect handler has connected again.
    readers: usize,
    /// The last handle was dropped.
    abandoned: bool,
    last_error: Option<Arc<Error>>,
}

/// The state of a client.
///
/// `Disconnected → Connecting → Connected → Disconnecting → Disconnected`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// There is no connection. So it is when the disconnect handler runs.
    Disconnected,
    /// `connect` is at work.
    Connecting,
    /// Messages can be sent. So it is when the connect handler runs.
    Connected,
    /// The client has asked for the end.
    Disconnecting,
}

impl Client {
    /// A client with default options.
    ///
    /// # Examples
    ///
    /// ```
    /// let client = engineio::Client::new();
    /// assert!(!client.is_connected());
    /// ```
    pub fn new() -> Self {
        Self::from_options(Options::default())
    }

    /// Options for a client.
    ///
    /// # Examples
    ///
    /// ```
    /// let client = engineio::Client::builder().ssl_verify(false).build()?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn builder() -> ClientBuilder {
        ClientBuilder::new()
    }

    pub(crate) fn from_options(options: Options) -> Self {
        let core = Arc::new(Core {
            options,
            handlers: Handlers::new(),
            life: Mutex::new(Life {
                state: State::Disconnected,
                session: None,
                attempt: None,
                readers: 0,
                abandoned: false,
                last_error: None,
            }),
            changed: Condvar::new(),
            handle: Mutex::default(),
        });
        core.handle()
    }

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

    /// Connects with default options: long polling first, then an upgrade to websocket if the server offers it.
    /// See [`connect_with`](Self::connect_with).
    ///
    /// # Errors
    ///
    /// As [`connect_with`](Self::connect_with).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// let client = engineio::Client::new();
    /// client.connect("http://localhost:5000?room=7")?;
    /// println!("connected by {}", client.transport()?);
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn connect(&self, url: impl AsRef<str>) -> Result<()> {
        self.connect_with(url, ConnectOptions::default())
    }

    /// Connects to the server at `url`, and returns when the connect handler has run.
    ///
    /// Schemes are `http`, `https`, `ws` and `wss`, of which the latter two mean the same as the former. The
    /// URL's query goes to the server, its user and password as Basic authorization, its path nowhere: that is
    /// [`ConnectOptions::path`].
    ///
    /// # Errors
    ///
    /// [`Error::InvalidUrl`] and [`Error::InvalidOption`] for bad input, [`Error::AlreadyConnected`] unless
    /// the client is [`State::Disconnected`], [`Error::Connection`], [`Error::Timeout`] or [`Error::Protocol`]
    /// if no transport worked, [`Error::ConnectHandler`] if the connect handler failed.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// use engineio::{Client, ConnectOptions, TransportKind};
    ///
    /// let client = Client::new();
    /// let options = ConnectOptions::new().header("X-Tenant", "acme").transports([TransportKind::WebSocket]);
    /// client.connect_with("https://example.org", options)?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn connect_with(&self, url: impl AsRef<str>, options: ConnectOptions) -> Result<()> {
        let plan = Plan::new(url.as_ref(), &options, &self.core.options)?;
        self.core.connect(&plan)
    }

    /// Blocks until the connection is over: the disconnect handler has run, and the connection's threads have
    /// ended. If that handler connected again, waits for the end of the new connection too. Without a
    /// connection it returns at once; inside a handler as well, as that would wait for itself.
    ///
    /// There is no limit of time: see [`wait_timeout`](Self::wait_timeout).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let client = engineio::Client::new();
    /// client.connect("http://localhost:5000")?;
    /// client.wait();
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn wait(&self) {
        self.core.wait(None);
    }

    /// As [`wait`](Self::wait), for at most `timeout`. True if the connection is over.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// assert!(engineio::Client::new().wait_timeout(Duration::from_secs(1)));
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.core.wait(Instant::now().checked_add(timeout))
    }

    /// Sends a message. On an idle connection it is written at once, by the calling thread; under load it is
    /// queued, and this blocks while more than [`ClientBuilder::outbox_limit`] bytes wait.
    ///
    /// `Ok` means accepted, not received: messages arrive in the order of the calls, unless the connection
    /// ends first. [`disconnect`](Self::disconnect) tells how many were not written.
    ///
    /// # Errors
    ///
    /// [`Error::SocketIsClosed`] without a connection, [`Error::MessageTooLarge`] above the server's limit,
    /// [`Error::Separator`] for a text with U+001E on polling. The connection goes on after the latter two.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let client = engineio::Client::new();
    /// client.send("text")?;
    /// client.send(vec![1, 2, 3])?;
    /// client.send(serde_json::json!({"kind": "json"}))?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn send(&self, message: impl Into<Message>) -> Result<()> {
        self.core.send(message.into(), WhenFull::Wait)
    }

    /// As [`send`](Self::send), but never blocks.
    ///
    /// # Errors
    ///
    /// [`Error::QueueFull`] if `send` would block; else as `send`.
    ///
    /// # Examples
    ///
    /// ```
    /// use engineio::{Client, Error};
    ///
    /// assert!(matches!(Client::new().try_send("hi"), Err(Error::SocketIsClosed)));
    /// ```
    pub fn try_send(&self, message: impl Into<Message>) -> Result<()> {
        self.core.send(message.into(), WhenFull::Fail)
    }

    /// Sends anything that serde can serialize, as JSON.
    ///
    /// # Errors
    ///
    /// [`Error::Json`] if it cannot be serialized; else as [`send`](Self::send).
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # let client = engineio::Client::new();
    /// client.send_json(&("point", 3, 4))?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn send_json<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        self.send(serde_json::to_string(value).map_err(Error::Json)?)
    }

    /// Waits until everything that was sent is written: to the socket, or, by polling, until the server has
    /// confirmed it.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] after `timeout`; what is queued stays so. [`Error::SocketIsClosed`] if the
    /// connection is over.
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

    /// Ends the connection: writes what was sent, tells the server, and returns when the disconnect handler
    /// has run, at the latest after the request timeout. Without a connection it does nothing.
    ///
    /// It can be called from any thread at any time, more than once too; it ends a `connect` that is at work.
    /// In a handler it returns at once, and takes effect when the handler returns. Messages that were received
    /// but not yet delivered are dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Unsent`] if messages could not be written in that time.
    ///
    /// # Examples
    ///
    /// ```
    /// engineio::Client::new().disconnect()?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn disconnect(&self) -> Result<()> {
        self.disconnect_with(Disconnect::default())
    }

    /// As [`disconnect`](Self::disconnect), with options.
    ///
    /// # Errors
    ///
    /// As `disconnect`.
    ///
    /// # Examples
    ///
    /// ```
    /// # let client = engineio::Client::new();
    /// client.disconnect_with(engineio::Disconnect::new().abort(true))?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn disconnect_with(&self, options: Disconnect) -> Result<()> {
        self.core.disconnect(options)
    }

    /// What carries the connection now.
    ///
    /// # Errors
    ///
    /// [`Error::NotConnected`] if there is none.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(engineio::Client::new().transport().is_err());
    /// ```
    pub fn transport(&self) -> Result<TransportKind> {
        self.core.session().map(|session| session.transport_kind()).ok_or(Error::NotConnected)
    }

    /// The id that the server gave the session, while there is one.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(engineio::Client::new().sid(), None);
    /// ```
    pub fn sid(&self) -> Option<String> {
        self.core.session().map(|session| session.handshake().sid().to_owned())
    }

    /// The state of the client.
    ///
    /// # Examples
    ///
    /// ```
    /// use engineio::{Client, State};
    ///
    /// assert_eq!(Client::new().state(), State::Disconnected);
    /// ```
    pub fn state(&self) -> State {
        lock(&self.core.life).state
    }

    /// True in [`State::Connected`].
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(!engineio::Client::new().is_connected());
    /// ```
    pub fn is_connected(&self) -> bool {
        self.state() == State::Connected
    }

    /// What the server said at the start of the session, while there is one.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(engineio::Client::new().handshake(), None);
    /// ```
    pub fn handshake(&self) -> Option<Handshake> {
        self.core.session().map(|session| session.handshake().clone())
    }

    /// Why the last connection ended, beyond the [`Reason`]: an HTTP status, a websocket close code, an I/O or
    /// TLS error. `None` if there is no more to tell, or no connection has ended since the last `connect`.
    ///
    /// # Examples
    ///
    /// ```
    /// assert!(engineio::Client::new().last_error().is_none());
    /// ```
    pub fn last_error(&self) -> Option<Arc<Error>> {
        lock(&self.core.life).last_error.clone()
    }

    /// Runs `task` on a new thread, named `eio-task`. It does not end with the connection.
    ///
    /// # Panics
    ///
    /// If the system cannot start a thread, as [`std::thread::spawn`].
    ///
    /// # Examples
    ///
    /// ```
    /// let client = engineio::Client::new();
    /// let task = client.start_background_task(|| 6 * 7);
    /// assert_eq!(task.join().unwrap(), 42);
    /// ```
    pub fn start_background_task<F, T>(&self, task: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        task::start(task)
    }

    /// Sleeps, as [`std::thread::sleep`].
    ///
    /// # Examples
    ///
    /// ```
    /// engineio::Client::new().sleep(std::time::Duration::from_millis(1));
    /// ```
    pub fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

/// Another handle to the same client. A clone keeps the client alive, even one made in a handler.
impl Clone for Client {
    fn clone(&self) -> Self {
        match &self.handle {
            Some(handle) => Client { core: self.core.clone(), handle: Some(handle.clone()) },
            None => self.core.handle(),
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("state", &self.state())
            .field("transport", &self.transport().ok())
            .field("sid", &self.sid())
            .finish_non_exhaustive()
    }
}

impl Core {
    /// A handle that keeps the client alive.
    fn handle(self: &Arc<Self>) -> Client {
        let mut current = lock(&self.handle);
        let handle = current.upgrade().unwrap_or_else(|| {
            let handle = Arc::new(Handle(self.clone()));
            *current = Arc::downgrade(&handle);
            lock(&self.life).abandoned = false;
            handle
        });
        Client { core: self.clone(), handle: Some(handle) }
    }

    /// The handle that handlers are given.
    fn uncounted(self: &Arc<Self>) -> Client {
        Client { core: self.clone(), handle: None }
    }

    /// Names this client among all that are alive.
    fn id(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self) as usize
    }

    fn session(&self) -> Option<Arc<Session>> {
        lock(&self.life).session.clone()
    }

    fn connect(self: &Arc<Self>, plan: &Plan) -> Result<()> {
        let attempt = Arc::new(Attempt::default());
        {
            let mut life = lock(&self.life);
            if life.abandoned {
                return Err(Error::connection("every handle of the client was dropped"));
            }
            if life.state != State::Disconnected {
                return Err(Error::AlreadyConnected);
            }
            life.state = State::Connecting;
            life.attempt = Some(attempt.clone());
        }
        let started = plan.connect(&attempt).and_then(|connected| {
            let options = SessionOptions {
                outbox_limit: self.options.outbox_limit,
                inbox_limit: self.options.inbox_limit,
                // The rest is for the threads to end before `disconnect` is over.
                close_timeout: self.options.request_timeout * 4 / 5,
                logger: self.options.logger.clone(),
            };
            let Connected { transport, handshake, early } = connected;
            self.start(&attempt, Session::new(transport, handshake, early, options))
        });
        if started.is_err() {
            let mut life = lock(&self.life);
            life.attempt = None;
            // A session whose connect handler failed has set it already, and another may have begun since.
            if life.state == State::Connecting {
                life.state = State::Disconnected;
            }
            drop(life);
            self.changed.notify_all();
        }
        started
    }

    /// Makes the session the client's, and waits until its connect handler has run.
    fn start(self: &Arc<Self>, attempt: &Attempt, session: Arc<Session>) -> Result<()> {
        {
            let mut life = lock(&self.life);
            if attempt.is_cancelled() {
                drop(life);
                session.abort(Reason::ClientDisconnect);
                return Err(Attempt::cancelled_error());
            }
            life.state = State::Connected;
            life.session = Some(session.clone());
            life.attempt = None;
            life.last_error = None;
            life.readers += 1;
        }
        self.changed.notify_all();
        let (outcome, connected) = bounded(1);
        let world = ClientWorld { core: self.clone(), client: self.uncounted(), outcome, refused: false };
        if let Err(e) = session.start(Box::new(world), self.id()) {
            self.ended(None);
            self.reader_finished();
            return Err(e);
        }
        let kind = session.transport_kind();
        log!(self.options.logger, Info, "connected by {kind}, sid {}", session.handshake().sid());
        // As long as the connect handler takes.
        match connected.recv() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(message)) => {
                session.wait_finished(Instant::now().checked_add(self.options.request_timeout));
                Err(Error::ConnectHandler { message })
            }
            Err(_) => Err(Error::connection("the reader thread has ended")),
        }
    }

    fn ended(&self, error: Option<Arc<Error>>) {
        let mut life = lock(&self.life);
        life.state = State::Disconnected;
        let session = life.session.take();
        life.last_error = error;
        drop(life);
        drop(session);
        self.changed.notify_all();
    }

    fn reader_finished(&self) {
        lock(&self.life).readers -= 1;
        self.changed.notify_all();
    }

    fn wait(self: &Arc<Self>, deadline: Option<Instant>) -> bool {
        if is_reader_of(self.id()) {
            log!(self.options.logger, Error, "wait was called in a handler: it would wait for itself");
            return false;
        }
        let mut life = lock(&self.life);
        while life.state != State::Disconnected || life.readers > 0 {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return false;
            }
            life = wait_until(&self.changed, life, deadline);
        }
        true
    }

    fn send(&self, message: Message, when_full: WhenFull) -> Result<()> {
        let packet = match message {
            Message::Text(text) => Packet::Text(text),
            Message::Binary(bytes) => Packet::Binary(bytes),
            Message::Json(value) => Packet::Text(value.to_string()),
        };
        self.session().ok_or(Error::SocketIsClosed)?.send(packet, when_full)
    }

    fn disconnect(self: &Arc<Self>, options: Disconnect) -> Result<()> {
        let deadline = Instant::now().checked_add(self.options.request_timeout);
        let (session, attempt) = self.begin_disconnect();
        if let Some(attempt) = attempt {
            attempt.cancel();
            self.wait_while_connecting(deadline);
        }
        let Some(session) = session else { return Ok(()) };
        let reason = options.reason.map_or(Reason::ClientDisconnect, Reason::Other);
        if options.abort {
            session.abort(reason);
        } else {
            session.close(reason);
            if is_reader_of(self.id()) {
                return Ok(());
            }
            if !session.wait_finished(deadline) {
                session.tear_down();
                log!(
                    self.options.logger,
                    Warn,
                    "disconnect does not wait any longer: a handler is still running"
                );
            }
        }
        match session.unsent() {
            0 => Ok(()),
            messages => Err(Error::Unsent { messages }),
        }
    }

    fn begin_disconnect(&self) -> (Option<Arc<Session>>, Option<Arc<Attempt>>) {
        let mut life = lock(&self.life);
        if life.state == State::Connected {
            life.state = State::Disconnecting;
        }
        (life.session.clone(), life.attempt.clone())
    }

    fn wait_while_connecting(&self, deadline: Option<Instant>) {
        let mut life = lock(&self.life);
        while life.state == State::Connecting && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            life = wait_until(&self.changed, life, deadline);
        }
    }

    /// The last handle is gone: closes without waiting.
    fn abandon(&self) {
        {
            let current = lock(&self.handle);
            if current.strong_count() > 0 {
                // A handler has made a new one meanwhile.
                return;
            }
            lock(&self.life).abandoned = true;
        }
        let (session, attempt) = self.begin_disconnect();
        if let Some(attempt) = attempt {
            attempt.cancel();
        }
        if let Some(session) = session {
            session.close(Reason::ClientDisconnect);
        }
    }
}

/// What the reader thread of a session calls: the handlers, and the client's own book-keeping.
struct ClientWorld {
    core: Arc<Core>,
    client: Client,
    /// Where `connect` waits for the connect handler.
    outcome: Sender<Result<(), String>>,
    /// The connect handler failed: to the user there has been no connection.
    refused: bool,
}

impl ClientWorld {
    fn report(&self, event: &str, result: Result<(), String>) {
        if let Err(e) = result {
            log!(self.core.options.logger, Error, "the {event} handler failed: {e}");
        }
    }
}

impl World for ClientWorld {
    fn connected(&mut self) -> bool {
        let result = self.core.handlers.connect.call(&self.client, ());
        self.refused = result.is_err();
        self.report("connect", result.clone());
        // Only a thread that waits for it can have gone, and `connect` does not before it has come.
        let _ = self.outcome.send(result);
        !self.refused
    }

    fn message(&mut self, packet: Packet) {
        let message = match packet {
            Packet::Text(text) => Message::Text(text),
            Packet::Binary(bytes) => Message::Binary(bytes),
            _ => return,
        };
        let result = self.core.handlers.message.call(&self.client, message);
        self.report("message", result);
    }

    fn ended(&mut self, ending: Ending) {
        self.core.ended(ending.error);
        if !self.refused {
            let result = self.core.handlers.disconnect.call(&self.client, ending.reason);
            self.report("disconnect", result);
        }
    }

    fn finished(&mut self) {
        self.core.reader_finished();
    }
}
