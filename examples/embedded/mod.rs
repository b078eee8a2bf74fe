//! An Engine.IO server in this process, engineioxide's, for the examples to talk to when they are given no URL.

#![allow(dead_code, reason = "each example needs a part of it")]

mod handler;

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

/// What a server does with messages.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Sends each one back. Whoever comes with an `X-User` header is greeted by that name.
    Echo,
    /// Passes each one on to everybody else.
    Room,
    /// Speaks enough Socket.IO for the example `socketio_echo`.
    SocketIo,
}

/// Starts a server that echoes, for as long as the process lives, and returns its URL.
pub(crate) fn start() -> io::Result<String> {
    Ok(Server::start(Kind::Echo)?.url)
}

/// Starts a server that refuses every request with status 401 and a JSON body, and returns its URL.
pub(crate) fn refusing() -> io::Result<String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let url = format!("http://{}", listener.local_addr()?);
    let answer = "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nConnection: close\r\n\
        Content-Length: 28\r\n\r\n{\"message\":\"who are you?\"}  ";
    thread::Builder::new().name("server".into()).spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // The request of a GET arrives at once. What goes wrong is the client's to notice.
            let _ = stream.read(&mut [0; 4096]).and_then(|_| stream.write_all(answer.as_bytes()));
        }
    })?;
    Ok(url)
}

/// A server on a free port of the loopback interface. It lives as long as the process.
pub(crate) struct Server {
    url: String,
    handler: Arc<Handler>,
    runtime: Handle,
    line: watch::Sender<Line>,
}

/// The state of all TCP connections to the server.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Line {
    Open,
    /// They break, and none can be made.
    Cut,
    /// They stay, but carry nothing any more.
    Silent,
}

impl Server {
    /// A server with engineioxide's own ping interval and timeout, 25 s and 20 s.
    pub(crate) fn start(kind: Kind) -> io::Result<Self> {
        Self::start_with(kind, Duration::from_secs(25), Duration::from_secs(20))
    }

    pub(crate) fn start_with(
        kind: Kind,
        ping_interval: Duration,
        ping_timeout: Duration,
    ) -> io::Result<Self> {
        let config = EngineIoConfig::builder()
            .req_path(if kind == Kind::SocketIo { "/socket.io" } else { "/engine.io" })
            .ping_interval(ping_interval)
            .ping_timeout(ping_timeout)
            // Past it messages are lost: enough for a client that sends faster than it reads.
            .max_buffer_size(100_000)
            .build();
        let handler = Arc::new(Handler::new(kind));
        let service = EngineIoService::with_config(handler.clone(), config);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let url = format!("http://{}", listener.local_addr()?);
        let (line, state) = watch::channel(Line::Open);
        let handle = runtime.handle().clone();
        let server = move || runtime.block_on(accept(listener, service, state));
        thread::Builder::new().name("server".into()).spawn(server)?;
        Ok(Server { url, handler, runtime: handle, line })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Ends every session, as a server does that has had enough of its clients.
    pub(crate) fn kick(&self) {
        let _inside = self.runtime.enter();
        self.handler.kick();
    }

    /// Breaks every connection. New ones break at once until [`mend`](Self::mend): the server is down.
    pub(crate) fn cut(&self) {
        self.line.send_replace(Line::Cut);
    }

    /// Lets connections through again.
    pub(crate) fn mend(&self) {
        self.line.send_replace(Line::Open);
    }

    /// Nothing comes through any more, but connections stay open: a pulled cable.
    pub(crate) fn freeze(&self) {
        self.line.send_replace(Line::Silent);
    }
}

type Service = EngineIoService<Handler>;

async fn accept(listener: TcpListener, service: Service, line: watch::Receiver<Line>) {
    while let Ok((stream, _)) = listener.accept().await {
        if *line.borrow() == Line::Cut {
            continue;
        }
        // Without it small answers wait for the acknowledgement of former ones.
        stream.set_nodelay(true).ok();
        tokio::spawn(serve(stream, service.clone(), line.clone()));
    }
}

/// Serves a connection for as long as the line is open.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    service: Service,
    line: watch::Receiver<Line>,
) {
    let (server_end, mut client_end) = duplex(1 << 16);
    let server = http1::Builder::new().serve_connection(TokioIo::new(server_end), service).with_upgrades();
    // A connection that breaks is the client's to notice.
    tokio::spawn(async move { server.await.ok() });
    tokio::select! {
        _ = copy_bidirectional(&mut stream, &mut client_end) => {}
        () = becomes(line.clone(), Line::Cut) => {}
        // Both ends stay open, though nobody copies any more.
        () = becomes(line.clone(), Line::Silent) => becomes(line, Line::Cut).await,
    }
}

async fn becomes(mut line: watch::Receiver<Line>, state: Line) {
    if line.wait_for(|line| *line == state).await.is_err() {
        // Nobody holds the `Server` any more: the line stays as it is.
        std::future::pending().await
    }
}
