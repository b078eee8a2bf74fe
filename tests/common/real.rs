//! A real server in this process, engineioxide, which is a third party's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};
use engineioxide::config::EngineIoConfig;
use engineioxide::handler::EngineIoHandler;
use engineioxide::service::EngineIoService;
use engineioxide::{DisconnectReason, Socket, Str};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::PATIENCE;

/// An event that the server has seen.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Connect,
    Text(String),
    Binary(Bytes),
    /// The end of a session, with the server's name of the reason.
    Disconnect(String),
}

/// Echoes every message except for three commands: `cmd:close` ends the session, `cmd:burst <n> <prefix>` is
/// answered with n texts, and `cmd:quiet` ends the echo.
#[derive(Debug)]
struct Handler(Sender<Event>);

#[derive(Debug, Default)]
struct State {
    quiet: AtomicBool,
}

impl EngineIoHandler for Handler {
    type Data = State;

    fn on_connect(self: Arc<Self>, _: Arc<Socket<State>>) {
        self.report(Event::Connect);
    }

    fn on_disconnect(&self, _: Arc<Socket<State>>, reason: DisconnectReason) {
        self.report(Event::Disconnect(format!("{reason:?}")));
    }

    fn on_message(self: &Arc<Self>, text: Str, socket: Arc<Socket<State>>) {
        if let Some(command) = text.strip_prefix("cmd:") {
            return run(command, socket);
        }
        self.report(Event::Text(text.to_string()));
        if !socket.data.quiet.load(Ordering::Relaxed) {
            // An error means that the client has gone.
            let _ = socket.emit(text);
        }
    }

    fn on_binary(self: &Arc<Self>, bytes: Bytes, socket: Arc<Socket<State>>) {
        self.report(Event::Binary(bytes.clone()));
        if !socket.data.quiet.load(Ordering::Relaxed) {
            let _ = socket.emit_binary(bytes);
        }
    }
}

impl Handler {
    fn report(&self, event: Event) {
        // The send fails at the end of a test.
        let _ = self.0.send(event);
    }
}

fn run(command: &str, socket: Arc<Socket<State>>) {
    let words: Vec<&str> = command.split(' ').collect();
    match words[..] {
        ["close"] => socket.close(DisconnectReason::ClosingServer),
        ["quiet"] => socket.data.quiet.store(true, Ordering::Relaxed),
        ["burst", count, prefix] => {
            let (count, prefix) = (count.parse::<usize>().expect("a number"), prefix.to_owned());
            tokio::spawn(async move {
                for i in 0..count {
                    while socket.emit(format!("{prefix}{i}")).is_err() {
                        // The buffer of the socket is full.
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            });
        }
        _ => panic!("unknown command {command:?}"),
    }
}

/// A running server. After its drop it ends with its last connection.
pub struct Server {
    url: String,
    events: Receiver<Event>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone)]
pub struct Options {
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    pub max_payload: u64,
    /// True for TLS, with a certificate of an unknown authority.
    pub tls: bool,
    /// The address that the server listens on.
    pub address: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            max_payload: 4 << 20,
            tls: false,
            address: "127.0.0.1",
        }
    }
}

impl Server {
    pub fn start() -> Self {
        Self::with(Options::default())
    }

    pub fn with(options: Options) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind((options.address, 0))).unwrap();
        let scheme = if options.tls { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let (sender, events) = unbounded();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new().name("server".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, Handler(sender), options) => {}
                    _ = stopped => {}
                }
            });
        });
        Server { url, events, stop: Some(stop), thread: Some(thread.unwrap()) }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn next(&self) -> Event {
        self.next_within(PATIENCE)
    }

    pub fn next_within(&self, limit: Duration) -> Event {
        self.events.recv_timeout(limit).expect("the server saw nothing more")
    }

    /// Checks that no other event has happened.
    pub fn nothing_more(&self) {
        assert_eq!(self.events.try_recv().ok(), None);
    }

    /// Waits for the next disconnect, and returns the server's name of the reason.
    pub fn disconnected(&self) -> String {
        loop {
            if let Event::Disconnect(reason) = self.next() {
                return reason;
            }
        }
    }

    /// Waits for the next disconnect, and returns the texts before it.
    pub fn texts_until_disconnect(&self) -> Vec<String> {
        let mut texts = Vec::new();
        loop {
            match self.next() {
                Event::Text(text) => texts.push(text),
                Event::Disconnect(_) => return texts,
                _ => {}
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, handler: Handler, options: Options) {
    let config = EngineIoConfig::builder()
        .ping_interval(options.ping_interval)
        .ping_timeout(options.ping_timeout)
        .max_payload(options.max_payload)
        .max_buffer_size(10_000)
        .build();
    let service = EngineIoService::with_config(Arc::new(handler), config);
    let tls = options.tls.then(acceptor);
    while let Ok((stream, _)) = listener.accept().await {
        let _ = TcpStream::set_nodelay(&stream, true);
        let (service, tls) = (service.clone(), tls.clone());
        tokio::spawn(async move {
            match tls {
                None => serve_connection(stream, service).await,
                Some(tls) => serve_connection(tls.accept(stream).await.ok()?, service).await,
            }
        });
    }
}

async fn serve_connection<S>(stream: S, service: EngineIoService<Handler>) -> Option<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await.ok()
}

fn acceptor() -> TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    TlsAcceptor::from(Arc::new(config.with_single_cert(vec![made.cert.der().clone()], key).unwrap()))
}
