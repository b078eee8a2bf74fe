//! A server that follows the script of a test, mostly to do wrong things, with raw bytes over plain TCP.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tungstenite::handshake::derive_accept_key;

use super::PATIENCE;

/// What polling reports when the client has closed the connection. Windows reports that as a hang-up, which
/// needs no flag.
#[cfg(target_os = "linux")]
const GONE: PollFlags = PollFlags::RDHUP;
#[cfg(not(target_os = "linux"))]
const GONE: PollFlags = PollFlags::empty();

/// An open packet with a long heartbeat and no upgrade.
pub const OPEN: &str =
    r#"0{"sid":"abc","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#;

/// The open packet [`OPEN`] with an upgrade.
pub const OPEN_UPGRADE: &str = concat!(
    r#"0{"sid":"abc","upgrades":["websocket"],"#,
    r#""pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}"#
);

/// The open packet [`OPEN`] with this ping interval and timeout, in ms.
pub fn open_with(interval: u64, timeout: u64) -> String {
    format!(r#"0{{"sid":"abc","upgrades":[],"pingInterval":{interval},"pingTimeout":{timeout}}}"#)
}

#[derive(Debug, Clone, Default)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub query: HashMap<String, String>,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// The values of a header.
    pub fn header(&self, name: &str) -> Vec<&str> {
        let same = |(key, _): &&(String, String)| key.eq_ignore_ascii_case(name);
        self.headers.iter().filter(same).map(|(_, value)| value.as_str()).collect()
    }

    pub fn is_websocket(&self) -> bool {
        !self.header("upgrade").is_empty()
    }

    /// True for a poll, and false for the first request of a session.
    pub fn is_poll(&self) -> bool {
        self.method == "GET" && self.query.contains_key("sid") && !self.is_websocket()
    }

    pub fn is_post(&self) -> bool {
        self.method == "POST"
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text body")
    }
}

/// A request, and the connection for its response.
pub struct Exchange {
    pub request: Request,
    stream: BufReader<Peer>,
    /// Set if no further request is read from the connection.
    over: bool,
    /// Set if the connection ends with a RST, in front of which a FIN would look like a clean end.
    reset: bool,
    shared: Arc<Shared>,
}

/// The connection to the client. Its reads end when the test is over.
struct Peer {
    tcp: TcpStream,
    shared: Arc<Shared>,
}

impl Read for Peer {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tcp.read(buf) {
                // Only on Windows do reads have a time limit.
                Err(e) if matches!(e.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock) => {
                    if self.shared.stopped.load(Ordering::SeqCst) {
                        return Ok(0);
                    }
                }
                done => return done,
            }
        }
    }
}

type Script = dyn Fn(&mut Exchange) -> io::Result<()> + Send + Sync;

struct Shared {
    script: Box<Script>,
    requests: Mutex<Vec<Request>>,
    changed: Condvar,
    streams: Mutex<Vec<TcpStream>>,
    connections: AtomicUsize,
    stopped: AtomicBool,
}

/// A running server. All of its connections end when it is dropped.
pub struct Scripted {
    url: String,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

impl Scripted {
    /// Starts a server that runs the script for each request. An I/O error in the script means that the
    /// client has gone, and ends the connection.
    pub fn start<F>(script: F) -> Self
    where
        F: Fn(&mut Exchange) -> io::Result<()> + Send + Sync + 'static,
    {
        Self::start_at("127.0.0.1", script)
    }

    /// Starts a server like [`Scripted::start`] that listens on another address.
    pub fn start_at<F>(address: &str, script: F) -> Self
    where
        F: Fn(&mut Exchange) -> io::Result<()> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            script: Box::new(script),
            requests: Mutex::default(),
            changed: Condvar::new(),
            streams: Mutex::default(),
            connections: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        let acceptor = thread::spawn({
            let shared = shared.clone();
            move || accept(&listener, &shared)
        });
        Scripted { url, shared, acceptor: Some(acceptor) }
    }

    /// Starts a server that opens a session by websocket, and then runs the script.
    pub fn websocket<F>(script: F) -> Self
    where
        F: Fn(&mut Exchange) -> io::Result<()> + Send + Sync + 'static,
    {
        Self::start(move |exchange| {
            exchange.open_websocket(OPEN)?;
            script(exchange)
        })
    }

    /// Starts a server that opens a session by polling. The script answers its polls, and POSTs are accepted.
    pub fn polling<F>(poll: F) -> Self
    where
        F: Fn(&mut Exchange) -> io::Result<()> + Send + Sync + 'static,
    {
        Self::start(
            move |exchange| {
                if exchange.request.is_poll() { poll(exchange) } else { exchange.answer(OPEN) }
            },
        )
    }

    /// Starts a server that opens a session by either transport, and then stays silent.
    pub fn silent(open: impl Into<String>) -> Self {
        let open = open.into();
        Self::start(move |exchange| match &exchange.request {
            request if request.is_websocket() => {
                exchange.open_websocket(&open)?;
                exchange.hold()
            }
            request if request.is_poll() => exchange.hold(),
            _ => exchange.answer(&open),
        })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The number of connections so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The addresses of the clients, by connection.
    pub fn peers(&self) -> Vec<std::net::IpAddr> {
        let streams = self.shared.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.iter().filter_map(|stream| stream.peer_addr().ok()).map(|peer| peer.ip()).collect()
    }

    /// The requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a request that matches.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Request) -> bool) -> Request {
        let deadline = Instant::now() + PATIENCE;
        let mut requests = self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = requests.iter().find(|request| wanted(request)) {
                return found.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {what} came");
            let waited = self.shared.changed.wait_timeout(requests, left);
            requests = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        for stream in self.shared.streams.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // This connection wakes the acceptor.
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut connections = Vec::new();
    for stream in listener.incoming().map_while(Result::ok) {
        if shared.stopped.load(Ordering::SeqCst) {
            break;
        }
        stream.set_nodelay(true).unwrap();
        // On Windows a shutdown does not end a read of another thread.
        #[cfg(windows)]
        stream.set_read_timeout(Some(std::time::Duration::from_millis(100))).unwrap();
        shared.connections.fetch_add(1, Ordering::SeqCst);
        let kept = stream.try_clone().unwrap();
        shared.streams.lock().unwrap_or_else(PoisonError::into_inner).push(kept);
        let shared = shared.clone();
        connections.push(thread::spawn(move || serve(stream, &shared)));
    }
    for connection in connections {
        let _ = connection.join();
    }
}

fn serve(stream: TcpStream, shared: &Arc<Shared>) {
    let mut exchange = Exchange {
        request: Request::default(),
        stream: BufReader::new(Peer { tcp: stream, shared: shared.clone() }),
        over: false,
        reset: false,
        shared: shared.clone(),
    };
    while !exchange.over && matches!(exchange.read_request(), Ok(true)) {
        let script = shared.clone();
        if (script.script)(&mut exchange).is_err() {
            break;
        }
    }
    // The shutdown is necessary because `shared` keeps a clone of the stream, which would hold the connection
    // open.
    if !exchange.reset {
        let _ = exchange.stream.get_ref().tcp.shutdown(Shutdown::Both);
    }
}

impl Exchange {
    /// The number of polls that the server has received, including this one.
    pub fn polls(&self) -> usize {
        let requests = self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.iter().filter(|request| request.is_poll()).count()
    }

    fn read_request(&mut self) -> io::Result<bool> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Ok(false);
            }
            if line.trim_end().is_empty() {
                break;
            }
            lines.push(line.trim_end().to_owned());
        }
        let mut request = parse_head(&lines);
        let length = request.header("content-length").first().map_or(0, |length| length.parse().unwrap());
        request.body = vec![0; length];
        self.stream.read_exact(&mut request.body)?;
        self.request = request.clone();
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        self.shared.changed.notify_all();
        Ok(true)
    }

    /// Another handle for the connection, to write while the script reads.
    pub fn stream(&self) -> io::Result<TcpStream> {
        self.stream.get_ref().tcp.try_clone()
    }

    /// Sends raw bytes.
    pub fn raw(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().tcp.write_all(bytes.as_ref())
    }

    pub fn respond(&mut self, status: &str, body: impl AsRef<[u8]>) -> io::Result<()> {
        self.respond_with(status, "", body)
    }

    /// `headers` are whole lines, each with its CRLF.
    pub fn respond_with(&mut self, status: &str, headers: &str, body: impl AsRef<[u8]>) -> io::Result<()> {
        let body = body.as_ref();
        let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        self.raw([head.as_bytes(), body].concat())
    }

    /// Sends a response with a payload of packets.
    pub fn payload(&mut self, body: impl AsRef<[u8]>) -> io::Result<()> {
        self.respond("200 OK", body)
    }

    /// Accepts a POST, and answers any other request with the open packet.
    pub fn answer(&mut self, open: &str) -> io::Result<()> {
        if self.request.is_post() { self.payload("ok") } else { self.payload(open) }
    }

    /// Stays silent until the client or the test has ended.
    pub fn hold(&mut self) -> io::Result<()> {
        self.over = true;
        io::copy(&mut self.stream, &mut io::sink()).map(drop)
    }

    /// Reads until the end, without allocating memory for the data.
    pub fn swallow(&mut self) -> io::Result<()> {
        self.over = true;
        let mut buffer = [0; 16 * 1024];
        while self.stream.read(&mut buffer)? > 0 {}
        Ok(())
    }

    /// Waits without reading until the client has closed the connection or the test is over.
    pub fn wait_closed(&mut self) -> io::Result<()> {
        self.over = true;
        let mut fds = [PollFd::new(&self.stream.get_ref().tcp, GONE)];
        let pause = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        loop {
            if poll(&mut fds, Some(&pause))? > 0 || self.shared.stopped.load(Ordering::SeqCst) {
                return Ok(());
            }
        }
    }

    /// Ends the connection with a FIN.
    pub fn close(&mut self) -> io::Result<()> {
        self.over = true;
        Ok(())
    }

    /// Ends the connection with a RST.
    pub fn reset(&mut self) -> io::Result<()> {
        (self.over, self.reset) = (true, true);
        // Unread bytes would cause a RST too, but not reliably.
        let stream = &self.stream.get_ref().tcp;
        rustix::net::sockopt::set_socket_linger(stream, Some(std::time::Duration::ZERO))?;
        // The linger takes effect when the last handle is closed.
        let address = stream.peer_addr()?;
        let mut streams = self.shared.streams.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|stream| stream.peer_addr().is_ok_and(|peer| peer != address));
        drop(streams);
        Err(io::ErrorKind::ConnectionReset.into())
    }

    /// Answers the websocket's opening request.
    pub fn accept_websocket(&mut self) -> io::Result<()> {
        self.accept_websocket_with("")
    }

    /// `headers` are whole lines, each with its CRLF.
    pub fn accept_websocket_with(&mut self, headers: &str) -> io::Result<()> {
        self.over = true;
        let key =
            self.request.header("sec-websocket-key").first().map(|key| derive_accept_key(key.as_bytes()));
        self.raw(format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             {headers}Sec-WebSocket-Accept: {}\r\n\r\n",
            key.expect("a websocket request")
        ))
    }

    pub fn ws_text(&mut self, text: &str) -> io::Result<()> {
        self.ws_frame(0x81, text.as_bytes())
    }

    /// Sends a frame with this first byte, which contains FIN, reserved bits and opcode.
    pub fn ws_frame(&mut self, first: u8, payload: &[u8]) -> io::Result<()> {
        let length = payload.len();
        let mut frame = match length {
            0..126 => vec![first, length as u8],
            126..65_536 => [&[first, 126][..], &(length as u16).to_be_bytes()].concat(),
            _ => [&[first, 127][..], &(length as u64).to_be_bytes()].concat(),
        };
        frame.extend_from_slice(payload);
        self.raw(frame)
    }

    /// Reads the client's next frame, and returns its opcode and payload.
    pub fn ws_read(&mut self) -> io::Result<(u8, Vec<u8>)> {
        self.ws_read_frame().map(|(first, payload)| (first & 0x0f, payload))
    }

    /// Reads the client's next frame, and returns its first byte and payload.
    pub fn ws_read_frame(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head)?;
        let length = match head[1] & 0x7f {
            126 => {
                let mut length = [0; 2];
                self.stream.read_exact(&mut length)?;
                u64::from(u16::from_be_bytes(length))
            }
            127 => {
                let mut length = [0; 8];
                self.stream.read_exact(&mut length)?;
                u64::from_be_bytes(length)
            }
            short => u64::from(short),
        };
        let mut mask = [0; 4];
        self.stream.read_exact(&mut mask)?;
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut payload)?;
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        Ok((head[0], payload))
    }

    /// Reads the client's next text.
    pub fn ws_read_text(&mut self) -> io::Result<String> {
        let (_, payload) = self.ws_read()?;
        String::from_utf8(payload).map_err(io::Error::other)
    }

    /// Reads until the client closes the websocket, and answers the close.
    pub fn ws_closing(&mut self) -> io::Result<()> {
        while self.ws_read()?.0 != 8 {}
        self.ws_frame(0x88, b"")
    }

    /// Opens a session by websocket, with the 101 and the open packet.
    pub fn open_websocket(&mut self, open: &str) -> io::Result<()> {
        self.accept_websocket()?;
        self.ws_text(open)
    }
}

fn parse_head(lines: &[String]) -> Request {
    let mut words = lines[0].split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let headers = lines[1..].iter().filter_map(|line| line.split_once(':'));
    Request {
        method,
        path: path.to_owned(),
        query: pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect(),
        body: Vec::new(),
    }
}
