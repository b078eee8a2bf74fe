//! The options that do not concern the way to the server.

use std::sync::Arc;
use std::time::Duration;

use log::Log;

use super::ClientBuilder;
#[cfg(doc)]
use crate::client::Client;
#[cfg(doc)]
use crate::error::Error;
use crate::json::JsonCodec;
use crate::observation::{Direction, PacketHook, PacketInfo};
#[cfg(feature = "sigint")]
use crate::options::OnSigint;
use crate::options::WebSocketOptions;
use crate::reconnection::Reconnection;

/// Limits, reconnection, messages, signals and logs.
impl ClientBuilder {
    /// Sets the time limit for each step of a request: the name lookup, the TCP connection, the proxy's
    /// answer, the TLS handshake, and the wait for the server's answer. The limit also applies to the
    /// server's answer to the probe of an upgrade, and to a graceful disconnect as a whole. Default: 5 s; 49
    /// days at most.
    ///
    /// An upload or a download may take longer while it makes progress: only a stall of that length ends it.
    /// A POST with a big message therefore gets through on a slow line. The bytes of a request may wait in
    /// the server's operating system, or in a proxy, before the server reads them. The limit for the answer
    /// is therefore longer by one second for each 4000 bytes of the request. The body of an answer must
    /// arrive at 4000 bytes a second or more on average. A body that falls behind this rate by the time limit
    /// counts as stalled.
    ///
    /// A long poll has no such limit. It ends when the server has been silent for too long, even if the
    /// request is still being written.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.options.request_timeout = timeout;
        self
    }

    /// Sets whether requests have the query parameter `t`, a timestamp that keeps caches from answering them.
    /// Default: true.
    pub fn timestamp_requests(mut self, timestamps: bool) -> Self {
        self.options.timestamp_requests = timestamps;
        self
    }

    /// Sets the size limit of the outbox, the memory for packets that wait to be written, in bytes. When it
    /// is full, [`Client::send`] blocks and [`Client::try_send`] returns [`Error::QueueFull`]. A single
    /// message, or a single group of [`Client::send_all`], may be larger. Default: 4 MiB.
    pub fn outbox_limit(mut self, bytes: usize) -> Self {
        self.options.outbox_limit = bytes;
        self
    }

    /// Sets the size limit of the inbox, the memory for messages that wait for a slow handler, in bytes. When
    /// it is full, the client stops reading, so that TCP holds the server back. During that time, pings are
    /// not answered, and the server does not count as silent. Default: 4 MiB.
    pub fn inbox_limit(mut self, bytes: usize) -> Self {
        self.options.inbox_limit = bytes;
        self
    }

    /// Sets the size limit of a received message, in bytes. A larger message ends the connection. A polling
    /// response, which may contain several messages, may have up to 1.5 times this size. For a compressed
    /// message, the size after decompression counts. Default: 64 MiB.
    pub fn max_message_size(mut self, bytes: usize) -> Self {
        self.options.max_message_size = bytes;
        self
    }

    /// Sets the largest number of packets in a POST. Default: 16, because python-engineio's server silently
    /// drops all packets of a larger POST, unless its own limit is raised (`Payload.max_decode_packets`).
    pub fn packets_per_post(mut self, packets: usize) -> Self {
        self.options.packets_per_post = packets;
        self
    }

    /// Sets whether the client remembers that a connection was upgraded from polling to a websocket. Default:
    /// false.
    ///
    /// With this option, the connections after an upgrade start over websocket, which saves the requests of
    /// polling: two round trips for each [reconnection](Self::reconnection). If such a websocket cannot be
    /// opened, for example because a proxy blocks it, the same attempt continues as without this option, over
    /// polling with an upgrade. The upgrade of that attempt is not remembered, but that of the next attempt
    /// is. A websocket that gets no answer delays the attempt by one
    /// [`request_timeout`](Self::request_timeout). The option has no effect on connections whose
    /// [transports](crate::ConnectOptions::transports) do not begin with polling or do not include websocket.
    ///
    /// # Examples
    ///
    /// ```
    /// use engineio::{Client, Reconnection};
    ///
    /// let client = Client::builder()
    ///     .reconnection(Reconnection::new())
    ///     .remember_upgrade(true)
    ///     .build()?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn remember_upgrade(mut self, remember: bool) -> Self {
        self.options.remember_upgrade = remember;
        self
    }

    /// Sets the options of the websocket transport. Default: [`WebSocketOptions::new`].
    pub fn websocket_options(mut self, options: WebSocketOptions) -> Self {
        self.websocket = options;
        self
    }

    /// Connects again when a connection is lost, and also when the server has closed it cleanly. Default: no
    /// reconnection.
    ///
    /// The disconnect handler is called for each lost connection, and the connect handler for each new one.
    /// [`Client::wait`] keeps waiting while the client reconnects. Your own call of
    /// [`connect`](Client::connect), in the disconnect handler or during a pause, takes precedence over the
    /// policy. If that call fails, the policy goes on. [`Client::disconnect`] ends the reconnection.
    ///
    /// Between two connections, [`Client::send`] returns [`Error::SocketIsClosed`]: no message is kept for
    /// the next connection. The steps of the policy also reach the channels of [`Client::events`], as
    /// [`Event::Reconnection`](crate::Event::Reconnection).
    ///
    /// # Examples
    ///
    /// ```
    /// use engineio::{Client, Reconnection};
    ///
    /// let policy = Reconnection::new().max_attempts(10);
    /// let client = Client::builder().reconnection(policy).build()?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn reconnection(mut self, policy: Reconnection) -> Self {
        self.options.reconnection = Some(policy);
        self
    }

    /// Sets the code that writes and reads JSON, for example another library. Default: serde_json.
    ///
    /// The codec is used for [`Message::Json`](crate::Message::Json), [`Client::send_json`] and
    /// [`decode_json`](Self::decode_json). [`Message::json`](crate::Message::json) always uses serde_json.
    pub fn json(mut self, codec: impl JsonCodec) -> Self {
        self.options.json.codec = Some(Arc::new(codec));
        self
    }

    /// Sets whether a received text that is valid JSON and does not start with a digit arrives as
    /// [`Message::Json`](crate::Message::Json). For such a message, [`as_text`](crate::Message::as_text)
    /// returns `None`. Default: false. Texts then stay texts, and [`Message::json`](crate::Message::json)
    /// parses them on demand.
    ///
    /// A text stays a text if its value would take more memory than 16 MiB plus 32 times the length of the
    /// text, or if it nests arrays and objects more than 127 levels deep. The memory is estimated before
    /// serde_json or the codec of [`json`](Self::json) decodes the text. On 64-bit systems, the estimate is
    /// 32 bytes for each value, key and string, 128 for each non-empty array, and 640 for each non-empty
    /// object, with another 640 at its 12th member and at every sixth after that. A list of numbers, or of
    /// flat objects with at least 30 characters per object, therefore arrives as JSON. A list such as
    /// `[{"x":1,"y":2},...]` arrives as JSON up to a length of about 700 kB.
    pub fn decode_json(mut self, decode: bool) -> Self {
        self.options.json.decode = decode;
        self
    }

    /// Sets what Ctrl-C (SIGINT) does: an [`OnSigint`], or `false` for [`OnSigint::Ignore`]. Default:
    /// [`OnSigint::Exit`].
    ///
    /// On Ctrl-C, all connected clients disconnect at the same time, each within its request timeout, and
    /// attempts to connect are cancelled. Then the signal ends the process or, with [`OnSigint::Return`], the
    /// process continues. A second Ctrl-C ends the process at once, whatever it is doing. With `Return`, a
    /// Ctrl-C after the next `connect` counts as a first one again. If the signal was ignored before the
    /// first call of [`connect`](Client::connect), as in a background job of a shell, it stays ignored.
    /// SIGTERM is not handled.
    ///
    /// The first call of `connect` installs the signal handler. A program may have its own handler:
    ///
    /// - If your handler was installed before that call, with `signal-hook` or `ctrlc`, it runs, the clients
    ///   disconnect, and the process continues, even after a second Ctrl-C.
    /// - If your handler is installed later with `signal-hook`, it runs, and the clients disconnect. With
    ///   `Exit`, the process then ends, because the client does not see your handler. Use `Return` instead.
    /// - If your handler is installed later with `ctrlc::set_handler`, it replaces the handler of the
    ///   clients: it runs, and the clients stay connected. `ctrlc::try_set_handler` fails.
    ///
    /// Your handler runs while the clients disconnect. If it ends the process, the clients do not get the
    /// time to disconnect. In that case, use `Ignore`, and call [`Client::disconnect`] in your handler.
    ///
    /// On systems without `/proc`, the client cannot tell whether the signal was ignored or handled before
    /// that call. With `Exit`, the signal then always ends the process. On Windows, this option has no
    /// effect, and a program disconnects in a handler of its own.
    ///
    /// # Examples
    ///
    /// A program that writes its data on Ctrl-C:
    ///
    /// ```no_run
    /// use std::sync::{Arc, Mutex};
    ///
    /// use engineio::{Client, OnSigint};
    ///
    /// let client = Client::builder().handle_sigint(OnSigint::Return).build()?;
    /// let log = Arc::new(Mutex::new(String::new()));
    /// let lines = log.clone();
    /// client.on_message(move |_, message| {
    ///     lines.lock().unwrap().push_str(&format!("{message}\n"));
    /// });
    /// client.connect("http://localhost:5000")?;
    /// client.wait();
    /// std::fs::write("messages.txt", &*log.lock().unwrap())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// The same on every system, with the crate `ctrlc`: after the Ctrl-C, `wait` returns. On Windows that
    /// crate's handler takes the place of handlers that were set before it.
    ///
    /// ```
    /// let client = engineio::Client::builder().handle_sigint(false).build()?;
    /// let interrupted = client.clone();
    /// ctrlc::set_handler(move || {
    ///     if let Err(e) = interrupted.disconnect() {
    ///         eprintln!("{e}");
    ///     }
    /// })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "sigint")]
    pub fn handle_sigint(mut self, on_sigint: impl Into<OnSigint>) -> Self {
        self.options.on_sigint = on_sigint.into();
        self
    }

    /// Sends the client's log lines to a logger of its own. Default: the logger of the process (the `log`
    /// facade), with the target `engineio`. If the process has no logger, or if the maximum level is off,
    /// errors are printed to stderr, unless the client is [`quiet`](Self::quiet).
    ///
    /// The [documentation of the crate](crate#logging) has a table of the levels.
    ///
    /// # Examples
    ///
    /// ```
    /// struct Stderr;
    ///
    /// impl log::Log for Stderr {
    ///     fn enabled(&self, metadata: &log::Metadata) -> bool {
    ///         metadata.level() <= log::Level::Info
    ///     }
    ///     fn log(&self, record: &log::Record) {
    ///         eprintln!("{}: {}", record.level(), record.args());
    ///     }
    ///     fn flush(&self) {}
    /// }
    ///
    /// let client = engineio::Client::builder().logger(Stderr).build()?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn logger(mut self, log: impl Log + 'static) -> Self {
        self.options.logger.set_own(Arc::new(log));
        self
    }

    /// Sets a function that is called for each packet of a connection, for tools that show or count the
    /// traffic. The function gets the packet's direction, kind and size, and never its contents. Default:
    /// none.
    ///
    /// The packets are those that [`Stats`](crate::Stats) counts: messages, pings, pongs, the close packet
    /// and NOOPs. The handshake and the probe of an upgrade come before the connection, and are not among
    /// them.
    ///
    /// - For a received packet, the function is called before the client acts on the packet: before a handler
    ///   is called, and before a ping is answered. It runs on the thread that receives. This is usually the
    ///   reader thread. While a handler occupies the reader, it is the watchdog. For packets that came with
    ///   the handshake, it is the thread that connects. The calls follow the server's order.
    /// - For a sent packet, the function is called before the packet is written, so an answer never comes
    ///   before the packet that it answers. It runs on the writer thread. The calls follow the order on the
    ///   wire, except that a pong may be written ahead of packets that were reported before it. If the
    ///   connection breaks, the last reported packets may not have arrived.
    ///
    /// The function can run on several threads at once. A thread neither receives nor sends while it runs the
    /// function. The function must therefore return soon, and must not wait for this client. A panic is
    /// caught, and the first one is logged at error.
    ///
    /// Without such a function, there is no cost. With it, every message is written by the writer thread, and
    /// [`Client::send`] never writes by itself. The round trip of a single message then takes longer, by the
    /// time that a thread needs to wake up.
    ///
    /// # Examples
    ///
    /// ```
    /// use engineio::{Client, Direction};
    ///
    /// let client = Client::builder()
    ///     .on_packet(|direction, packet| {
    ///         let arrow = if direction == Direction::Sent { "->" } else { "<-" };
    ///         println!("{arrow} {} of {} bytes", packet.kind, packet.size);
    ///     })
    ///     .build()?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn on_packet<F>(mut self, observer: F) -> Self
    where
        F: Fn(Direction, &PacketInfo) + Send + Sync + 'static,
    {
        self.options.on_packet = Some(PacketHook(Arc::new(observer)));
        self
    }

    /// Logs only errors: failed handlers, and misuse of the client, such as `wait` in a handler. Default: all
    /// levels that the logger enables. Without a logger, errors are still printed to stderr: see
    /// [`quiet`](Self::quiet).
    pub fn log_errors_only(mut self) -> Self {
        self.options.logger.set_errors_only();
        self
    }

    /// Prints nothing to stderr. Default: if this client has no [`logger`](Self::logger) of its own, and the
    /// process has no logger or its maximum level is off, failed handlers and misuse, such as `wait` in a
    /// handler or a path in the URL, are reported on stderr, one line each. The error of a connect handler is
    /// not printed if [`connect`](Client::connect) returns it.
    ///
    /// This option does not change what loggers get. The panic hook always reports a panic of a handler on
    /// stderr.
    ///
    /// # Examples
    ///
    /// ```
    /// let client = engineio::Client::builder().quiet().build()?;
    /// # Ok::<(), engineio::Error>(())
    /// ```
    pub fn quiet(mut self) -> Self {
        self.options.logger.set_quiet();
        self
    }
}
