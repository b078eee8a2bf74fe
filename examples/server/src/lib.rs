//! An engineioxide server in this process, for examples that are started without a URL.

mod handler;
#[cfg(all(unix, not(target_vendor = "apple")))]
mod tls;

use std::error::Error;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use engineioxide::config::EngineIoConfig;
use engineioxide::service::EngineIoService;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional, duplex};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

use self::handler::Handler;

/// The behaviour of a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Echoes each message. A client with an `X-User` header gets a greeting with that name.
    Echo,
    /// Passes each message on to all other clients.
    Room,
    /// Speaks enough Socket.IO for the example `socketio_echo`.
    SocketIo,
}

/// Starts a server that echoes, and returns its URL. The server lives as long as the process.
pub fn start() -> io::Result<String> {
    Ok(Server::start(Kind::Echo)?.url)
}

/// Starts a server that refuses every request with status 401 and a JSON body, and returns its URL.
pub fn refusing() -> io::Result<String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let answer = "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nConnection: close\r\n\
        Content-Length: 28\r\n\r\n{\"message\":\"who are you?\"}  ";
    thread::Builder::new().name("server".into()).spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // A GET arrives in one read. The client notices any failure.
            let _ = stream.read(&mut [0; 4096]).and_then(|_| stream.write_all(answer.as_bytes()));
        }
    })?;
    Ok(url)
}

/// A TLS front for a server without TLS, and the certificates that its operator gives to a client.
pub struct Front {
    /// The URL of the front.
    pub url: String,
    /// The authority that has signed the certificates of both sides.
    pub ca: String,
    /// The certificate for a client.
    pub certificate: String,
    /// The key of the certificate.
    pub key: String,
}

impl Front {
    /// Starts a front for the server at that URL. The front requires client certificates, and lives as long
    /// as the process.
    pub fn start(server: &str) -> Result<Self, Box<dyn Error>> {
        #[cfg(all(unix, not(target_vendor = "apple")))]
        return tls::start(server);
        #[cfg(not(all(unix, not(target_vendor = "apple"))))]
        return Err(
            format!("there is no TLS front for {server} on this system; give the URL of a server").into()
        );
    }
}

/// A server on the loopback interface. The server lives as long as the process.
pub struct Server {
    url: String,
    handler: Arc<Handler>,
    runtime: Handle,
    line: watch::Sender<Line>,
}

/// The state of all TCP connections to the server.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Line {
    Open,
    /// Every connection breaks, and new ones fail.
    Cut,
    /// Connections stay open, but carry no data.
    Silent,
}

impl Server {
    /// Starts a server on a free port, with engineioxide's default ping interval and timeout, 25 s and 20 s.
    pub fn start(kind: Kind) -> io::Result<Self> {
        Self::start_at(0, kind)
    }

    /// Starts a server like [`start`](Self::start), on this port.
    pub fn start_at(port: u16, kind: Kind) -> io::Result<Self> {
        Self::listen(port, kind, Duration::from_secs(25), Duration::from_secs(20))
    }

    /// Starts a server on a free port, with these intervals.
    pub fn start_with(kind: Kind, ping_interval: Duration, ping_timeout: Duration) -> io::Result<Self> {
        Self::listen(0, kind, ping_interval, ping_timeout)
    }

    fn listen(port: u16, kind: Kind, ping_interval: Duration, ping_timeout: Duration) -> io::Result<Self> {
        let config = EngineIoConfig::builder()
            .req_path(if kind == Kind::SocketIo { "/socket.io" } else { "/engine.io" })
            .ping_interval(ping_interval)
            .ping_timeout(ping_timeout)
            // A full buffer loses messages. This one is large enough for a client that sends faster than it
            // reads.
            .max_buffer_size(100_000)
            .build();
        let handler = Arc::new(Handler::new(kind));
        let service = EngineIoService::with_config(handler.clone(), config);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", port)))?;
        let url = format!("http://{}", listener.local_addr()?);
        let (line, state) = watch::channel(Line::Open);
        let handle = runtime.handle().clone();
        let server = move || runtime.block_on(accept(listener, service, state));
        thread::Builder::new().name("server".into()).spawn(server)?;
        Ok(Server { url, handler, runtime: handle, line })
    }

    /// The URL of the server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends every session cleanly.
    pub fn kick(&self) {
        let _inside = self.runtime.enter();
        self.handler.kick();
    }

    /// Takes the server down: every connection breaks, and new ones break at once until [`mend`](Self::mend).
    pub fn cut(&self) {
        self.line.send_replace(Line::Cut);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.line.send_replace(Line::Open);
    }

    /// Stops all data, but keeps connections open, as if a cable were pulled.
    pub fn freeze(&self) {
        self.line.send_replace(Line::Silent);
    }
}

type Service = EngineIoService<Handler>;

async fn accept(listener: TcpListener, service: Service, line: watch::Receiver<Line>) {
    while let Ok((stream, _)) = listener.accept().await {
        if *line.borrow() == Line::Cut {
            continue;
        }
        // Nagle's algorithm would hold small answers back until earlier ones are acknowledged.
        stream.set_nodelay(true).ok();
        tokio::spawn(serve(stream, service.clone(), line.clone()));
    }
}

/// Serves a connection as long as the line is open.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    service: Service,
    line: watch::Receiver<Line>,
) {
    let (server_end, mut client_end) = duplex(1 << 16);
    let server = http1::Builder::new().serve_connection(TokioIo::new(server_end), service).with_upgrades();
    // The client notices a broken connection.
    tokio::spawn(async move { server.await.ok() });
    tokio::select! {
        _ = copy_bidirectional(&mut stream, &mut client_end) => {}
        () = becomes(line.clone(), Line::Cut) => {}
        // Both ends stay open, but nothing is copied any more.
        () = becomes(line.clone(), Line::Silent) => becomes(line, Line::Cut).await,
    }
}

async fn becomes(mut line: watch::Receiver<Line>, state: Line) {
    if line.wait_for(|line| *line == state).await.is_err() {
        // The `Server` was dropped, so the line stays as it is.
        std::future::pending().await
    }
}
