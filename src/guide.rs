//! A chapter for each task, with code that can be copied.
//!
//! 1. [Send and receive](#send-and-receive)
//! 2. [JSON](#json)
//! 3. [Handlers or events](#handlers-or-events)
//! 4. [Requests and answers](#requests-and-answers)
//! 5. [Errors](#errors)
//! 6. [Reconnect](#reconnect)
//! 7. [Headers, cookies and tokens](#headers-cookies-and-tokens)
//! 8. [TLS](#tls)
//! 9. [Proxies](#proxies)
//! 10. [Background tasks](#background-tasks)
//! 11. [End the program](#end-the-program)
//! 12. [Ctrl-C](#ctrl-c)
//! 13. [Many clients](#many-clients)
//! 14. [See what happens](#see-what-happens)
//!
//! # Send and receive
//!
//! Register the handlers, connect, and wait for the end of the connection:
//!
//! ```no_run
//! use engineio::{Client, Message};
//!
//! fn main() -> engineio::Result<()> {
//!     let client = Client::new();
//!     client.on_connect(|client| -> engineio::Result<()> {
//!         client.send("Hello Server!")?;
//!         client.send(vec![1, 2, 3])?;
//!         Ok(())
//!     });
//!     client.on_message(|_, message| match message {
//!         Message::Text(text) => println!("text: {text}"),
//!         Message::Binary(bytes) => println!("{} bytes", bytes.len()),
//!         other => println!("{other}"),
//!     });
//!     client.on_disconnect(|_, reason| println!("gone: {reason}"));
//!     client.connect("http://localhost:5000")?;
//!     client.wait();
//!     Ok(())
//! }
//! ```
//!
//! A handler gets the client as its first argument, so it needs no clone. It returns nothing, or a `Result`
//! with any error that `?` converts to a `Box<dyn Error>`: see [`HandlerResult`](crate::HandlerResult). A
//! closure that uses `?` has to name its return type, as the connect handler does here.
//!
//! Do not answer every message if the server does the same: the two would send to each other forever.
//!
//! [`Client::send`](crate::Client::send) can be called on any thread. `Ok` means that the message was
//! accepted. Messages are written in the order of the calls.
//!
//! # JSON
//!
//! [`Message::json`](crate::Message::json) parses a message into any type that implements `Deserialize`, and
//! [`Client::send_json`](crate::Client::send_json) sends any value that implements `Serialize`. The derive
//! macros need `cargo add serde --features derive`. `engineio::serde_json` is a re-export of the crate
//! `serde_json`.
//!
//! ```
//! use engineio::Client;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize)]
//! struct Question {
//!     id: u64,
//!     text: String,
//! }
//!
//! #[derive(Serialize)]
//! struct Answer {
//!     id: u64,
//!     length: usize,
//! }
//!
//! fn answer_questions(client: &Client) {
//!     client.on_message(|client, message| -> engineio::Result<()> {
//!         let question: Question = message.json()?;
//!         let length = question.text.len();
//!         client.send_json(&Answer { id: question.id, length })
//!     });
//! }
//! ```
//!
//! If a message is not JSON, or is not a `Question`, the error is logged, and the connection stays open.
//!
//! To get messages as JSON values, set [`decode_json`](crate::ClientBuilder::decode_json). To use another
//! JSON library, pass it to [`json`](crate::ClientBuilder::json).
//!
//! # Handlers or events
//!
//! Handlers run on the reader thread. If you prefer a loop on a thread of your own, use
//! [`Client::events`](crate::Client::events), which returns a channel:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use engineio::crossbeam_channel::{select, tick};
//! use engineio::{Client, Event};
//!
//! fn run(client: &Client) -> engineio::Result<()> {
//!     let events = client.events(100);
//!     client.connect("http://localhost:5000")?;
//!     let seconds = tick(Duration::from_secs(1));
//!     loop {
//!         select! {
//!             recv(seconds) -> _ => client.send("tick")?,
//!             recv(events) -> event => match event {
//!                 Ok(Event::Message(message)) => println!("{message}"),
//!                 Ok(Event::Disconnect(_)) | Err(_) => return Ok(()),
//!                 Ok(_) => {}
//!             },
//!         }
//!     }
//! }
//! ```
//!
//! Subscribe before you connect; a channel does not get earlier events. With a reconnection policy, end the
//! loop at the event for which [`Event::ends_reconnection`](crate::Event::ends_reconnection) is true. Do not
//! end it when `send` returns [`Error::SocketIsClosed`](crate::Error::SocketIsClosed), because this is the
//! error between two connections.
//!
//! # Requests and answers
//!
//! Engine.IO does not relate messages to each other. Your messages have to say which answer belongs to which
//! request, for example by an `id`. The message handler hands each answer to the thread that waits for it:
//!
//! ```
//! use std::collections::HashMap;
//! use std::error::Error;
//! use std::sync::atomic::{AtomicU64, Ordering};
//! use std::sync::{Arc, Mutex};
//! use std::time::Duration;
//!
//! use engineio::Client;
//! use engineio::crossbeam_channel::{Sender, bounded};
//! use engineio::serde_json::{Value, json};
//!
//! #[derive(Clone, Default)]
//! struct Requests {
//!     last_id: Arc<AtomicU64>,
//!     waiting: Arc<Mutex<HashMap<u64, Sender<Value>>>>,
//! }
//!
//! impl Requests {
//!     fn listen(&self, client: &Client) {
//!         let requests = self.clone();
//!         client.on_message(move |_, message| -> engineio::Result<()> {
//!             let answer: Value = message.json()?;
//!             let id = answer["id"].as_u64().unwrap_or_default();
//!             let waiting = requests.waiting.lock().unwrap().remove(&id);
//!             if let Some(waiting) = waiting {
//!                 // The channel has room for the only answer.
//!                 let _ = waiting.send(answer);
//!             }
//!             Ok(())
//!         });
//!         // When a connection ends, `ask` stops waiting: no answer can come.
//!         let waiting = self.waiting.clone();
//!         client.on_disconnect(move |_, _| waiting.lock().unwrap().clear());
//!     }
//!
//!     fn ask(
//!         &self,
//!         client: &Client,
//!         question: &str,
//!     ) -> Result<Value, Box<dyn Error>> {
//!         let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
//!         let (sender, answer) = bounded(1);
//!         self.waiting.lock().unwrap().insert(id, sender);
//!         let asked = client.send(json!({ "id": id, "question": question }));
//!         let patience = Duration::from_secs(5);
//!         let answered = asked.map(|()| answer.recv_timeout(patience));
//!         self.waiting.lock().unwrap().remove(&id);
//!         Ok(answered??)
//!     }
//! }
//! ```
//!
//! python-engineio's server decodes JSON texts by itself: its handler gets a `dict`, not a `str`.
//!
//! Do not call `ask` in a handler. Handlers run one after the other, so the answer would not be delivered
//! before that handler has returned, and `ask` would time out.
//!
//! # Errors
//!
//! [`Error`](crate::Error) has a table of the errors, and an example for each reaction. A connection may
//! break while no method of the client is running. [`Client::last_error`](crate::Client::last_error)
//! therefore keeps the error that ended the last connection.
//!
//! ```
//! use engineio::Client;
//!
//! fn report_ends(client: &Client) {
//!     client.on_disconnect(|client, reason| match client.last_error() {
//!         // `{:?}` shows the error with its causes.
//!         Some(error) => eprintln!("{reason}: {error:?}"),
//!         None => eprintln!("{reason}"),
//!     });
//! }
//! ```
//!
//! # Reconnect
//!
//! A [`Reconnection`](crate::Reconnection) policy connects again when a connection is lost, or when the
//! server has closed it. By default, the pauses grow from about 1 s to at most 5 s:
//!
//! ```no_run
//! use engineio::{Client, Reconnection};
//!
//! fn run() -> engineio::Result<()> {
//!     let policy = Reconnection::new()
//!         .first_connect(true)
//!         .max_attempts(20)
//!         .on_event(|step| eprintln!("{step}"));
//!     let client = Client::builder().reconnection(policy).build()?;
//!     client.on_connect(|client| client.send("hello again"));
//!     client.connect("http://localhost:5000")?;
//!     // The wait ends when the policy gives up, or on `disconnect`.
//!     client.wait();
//!     Ok(())
//! }
//! ```
//!
//! - With [`first_connect`](crate::Reconnection::first_connect), the policy also repeats a failed first
//!   `connect`.
//! - The connect handler runs for each connection. Use it to send what the server has to receive first.
//! - Between two connections, `send` returns [`Error::SocketIsClosed`](crate::Error::SocketIsClosed). No
//!   message is kept for the next connection.
//! - [`Client::disconnect`](crate::Client::disconnect) ends the policy.
//!
//! # Headers, cookies and tokens
//!
//! Headers are sent with every request of a connection, over both transports. The server's cookies are kept
//! in memory and sent back, as in a browser.
//!
//! ```no_run
//! use engineio::{Client, ConnectOptions};
//!
//! fn connect(client: &Client, token: &str) -> engineio::Result<()> {
//!     let options = ConnectOptions::new()
//!         .header("Authorization", format!("Bearer {token}"))
//!         .header("Cookie", "theme=dark");
//!     client.connect_with("https://example.org?room=7", options)
//! }
//! ```
//!
//! If tokens expire, get a new one for each attempt to reconnect:
//!
//! ```
//! use engineio::{ConnectOptions, NextAttempt, Reconnection};
//!
//! fn policy(
//!     fetch_token: impl Fn() -> std::io::Result<String> + Send + Sync + 'static,
//! ) -> Reconnection {
//!     Reconnection::new().before_attempt(move |_| {
//!         let bearer = format!("Bearer {}", fetch_token()?);
//!         let options = ConnectOptions::new().header("Authorization", bearer);
//!         let next = NextAttempt::connect("https://example.org", options);
//!         Ok::<_, std::io::Error>(next)
//!     })
//! }
//! ```
//!
//! # TLS
//!
//! For a public server, an `https://` or `wss://` URL is enough. For a private certificate authority, or for
//! a server that asks for a client certificate, add PEM files:
//!
//! ```
//! use std::error::Error;
//! use std::fs::read;
//!
//! use engineio::{Client, TlsVersion};
//!
//! fn client() -> Result<Client, Box<dyn Error>> {
//!     let client = Client::builder()
//!         .ca_certificate(read("ca.pem")?)
//!         .client_certificate(read("client.pem")?, read("client.key")?)
//!         .min_tls_version(TlsVersion::V1_3)
//!         .build()?;
//!     Ok(client)
//! }
//! ```
//!
//! For an encrypted key, use
//! [`client_certificate_with_password`](crate::ClientBuilder::client_certificate_with_password), and for a
//! PKCS#12 file [`client_identity`](crate::ClientBuilder::client_identity). For tests,
//! [`ssl_verify(false)`](crate::ClientBuilder::ssl_verify) accepts every certificate. Anyone on the network
//! path can then read and change the traffic.
//!
//! # Proxies
//!
//! By default, the client uses the proxy from the environment variables `HTTPS_PROXY`, `HTTP_PROXY`,
//! `ALL_PROXY` and `NO_PROXY`. An option sets another proxy, or none:
//!
//! ```
//! use engineio::Client;
//!
//! fn clients() -> engineio::Result<[Client; 3]> {
//!     Ok([
//!         Client::builder().proxy("http://user:secret@proxy:3128").build()?,
//!         Client::builder().proxy("socks5://proxy:1080").build()?,
//!         Client::builder().no_proxy().build()?,
//!     ])
//! }
//! ```
//!
//! # Background tasks
//!
//! A clone of the client is a handle to the same client, which another thread can use:
//!
//! ```
//! use std::time::Duration;
//!
//! use engineio::Client;
//!
//! fn start_reports(client: &Client) {
//!     let handle = client.clone();
//!     client.start_background_task(move || {
//!         // `send` fails when the connection is over, and the task ends.
//!         while handle.send("still here").is_ok() {
//!             handle.sleep(Duration::from_secs(10));
//!         }
//!     });
//! }
//! ```
//!
//! The client does not see the result of a task. Handle errors in the task, or join the handle that
//! `start_background_task` returns. If the handle is dropped, the task's result is lost.
//!
//! Handlers run one after the other. If the work for a message takes long, hand it to other threads through a
//! [`Queue`](crate::Queue):
//!
//! ```
//! use engineio::{Client, Message, Queue};
//!
//! fn start_workers(
//!     client: &Client,
//!     work: fn(Message) -> String,
//! ) -> Queue<Message> {
//!     // A full queue makes the handler wait, which slows the server down.
//!     let jobs = client.create_queue(100);
//!     for _ in 0..4 {
//!         let (client, jobs) = (client.clone(), jobs.clone());
//!         client.clone().start_background_task(move || {
//!             for message in &jobs {
//!                 if let Err(error) = client.send(work(message)) {
//!                     eprintln!("a result is lost: {error}");
//!                 }
//!             }
//!         });
//!     }
//!     let incoming = jobs.clone();
//!     client.on_message(move |_, message| incoming.put(message));
//!     jobs
//! }
//! ```
//!
//! To end the workers, [close](crate::Queue::close) the queue when the connection is over.
//!
//! # End the program
//!
//! The end of `main` does not wait for messages that are still queued. A program that sends should end with
//! [`Client::disconnect`](crate::Client::disconnect) or [`Client::flush`](crate::Client::flush), which wait
//! until the queued messages are written:
//!
//! ```no_run
//! use engineio::Client;
//!
//! fn main() -> engineio::Result<()> {
//!     let client = Client::new();
//!     client.connect("http://localhost:5000")?;
//!     for number in 0..1000 {
//!         client.send(format!("measurement {number}"))?;
//!     }
//!     client.disconnect()
//! }
//! ```
//!
//! If messages could not be written, `disconnect` returns
//! [`Error::Unsent`](crate::Error::Unsent) with their number.
//!
//! # Ctrl-C
//!
//! By default, Ctrl-C disconnects all clients, and then the signal ends the process: code after `wait` does
//! not run. If your program has something to save, let `wait` return instead:
//!
//! ```no_run
//! # #[cfg(feature = "sigint")]
//! fn run() -> engineio::Result<()> {
//!     use engineio::{Client, OnSigint};
//!
//!     let on_sigint = OnSigint::Return;
//!     let client = Client::builder().handle_sigint(on_sigint).build()?;
//!     client.connect("http://localhost:5000")?;
//!     client.wait();
//!     println!("saving data");
//!     Ok(())
//! }
//! ```
//!
//! If Ctrl-C is pressed during `connect`, the call returns an error, and the `?` leaves the function before
//! the data is saved. If your program may have something to save by then, handle the error instead.
//!
//! With `.handle_sigint(false)`, the client does not handle the signal. The documentation of
//! `ClientBuilder::handle_sigint` says what happens if your program has its own handler for the signal.
//!
//! # Many clients
//!
//! A client has one connection at a time. For several connections, make several clients. Each has its own
//! threads, so their handlers run at the same time.
//!
//! ```no_run
//! use engineio::Client;
//!
//! fn connect(count: usize) -> engineio::Result<Vec<Client>> {
//!     let connect = |number| {
//!         let client = Client::new();
//!         client.on_message(move |_, message| println!("{number}: {message}"));
//!         client.connect("http://localhost:5000")?;
//!         Ok(client)
//!     };
//!     (0..count).map(connect).collect()
//! }
//! ```
//!
//! Keep the clients in a variable: a client whose last handle is dropped closes its connection. A builder can
//! be cloned to make several clients with the same options.
//!
//! # See what happens
//!
//! Install any logger of the [`log`](https://docs.rs/log) facade, such as `env_logger`, with the filter
//! `info,engineio=debug`. To see each packet without its contents, set a function with
//! [`on_packet`](crate::ClientBuilder::on_packet). [`Client::stats`](crate::Client::stats) returns counters:
//!
//! ```
//! use engineio::Client;
//!
//! fn report(client: &Client) {
//!     let stats = client.stats();
//!     println!(
//!         "{} messages sent, {} received, {} lost",
//!         stats.sent.messages, stats.received.messages, stats.unsent
//!     );
//! }
//! ```
