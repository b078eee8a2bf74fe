//! The server of `client.rs`: it follows a script, on 127.0.0.1 alone.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tungstenite::handshake::derive_accept_key;
use url::Url;

/// Stands between the records of a script. It is not UTF-8, so that texts do not contain it.
pub(crate) const SEPARATOR: &[u8] = b"\xff\xf0\xff";

/// The limit for a request's head and body.
const MAX_REQUEST: usize = 1 << 20;

/// The time in which a client sends what it has begun.
const PATIENCE: Duration = Duration::from_millis(300);

/// What a client gets next.
enum Step {
    /// An answer, with whatever follows it.
    Answer(Vec<u8>),
    /// The answer that opens a websocket, and bytes that follow it.
    Upgrade(Vec<u8>),
    /// Bytes of an open websocket, or of an answer that goes on.
    More(Vec<u8>),
}

impl Step {
    fn of(record: &[u8]) -> Self {
        let (kind, data) = record.split_first().map_or((0, record), |(kind, data)| (*kind, data));
        let answer = |head: &str, body: &[u8]| {
            let head = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len());
            Step::Answer([head.as_bytes(), body].concat())
        };
        match kind % 8 {
            0 => Step::Answer(data.to_vec()),
            1 => Step::Upgrade(data.to_vec()),
            2 => answer("200 OK", data),
            3 => Step::More(frame(0x81, data)),
            4 => {
                // The record has header lines of its own in front of the body.
                let end = data.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(0);
                let (headers, body) = data.split_at(end);
                let body = body.get(4..).unwrap_or_default();
                let head = [b"HTTP/1.1 200 OK\r\n", headers, b"\r\n"].concat();
                let length = format!("Content-Length: {}\r\n\r\n", body.len());
                Step::Answer([&head, length.as_bytes(), body].concat())
            }
            5 => Step::More(data.to_vec()),
            6 => Step::More(frame(data.first().copied().unwrap_or(0x88), data.get(1..).unwrap_or_default())),
            _ => answer("400 Bad Request", data),
        }
    }
}

/// A websocket frame that a server sends.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = match payload.len() {
        length @ 0..126 => vec![length as u8],
        length @ 126..0x1_0000 => [&[126][..], &(length as u16).to_be_bytes()].concat(),
        length => [&[127][..], &(length as u64).to_be_bytes()].concat(),
    };
    [&[first][..], &length, payload].concat()
}

/// True if a script has a Location that could lead the client to another server than this one.
pub(crate) fn leads_elsewhere(script: &[u8]) -> bool {
    let text = String::from_utf8_lossy(script).to_ascii_lowercase();
    let base = Url::parse("http://base.invalid/engine.io/").expect("it is valid");
    text.match_indices("location").any(|(at, name)| {
        let value = text[at + name.len()..].lines().next().unwrap_or_default();
        let value = value.trim_start_matches([' ', '\t', ':']).trim_end();
        // A URL that cannot be parsed leads nowhere.
        base.join(value).is_ok_and(|url| url.origin() != base.origin())
    })
}

/// A running server. Its threads end when it is dropped.
pub(crate) struct Server {
    url: String,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    script: Mutex<Vec<Step>>,
    streams: Mutex<Vec<TcpStream>>,
    stopped: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    pub(crate) fn start(script: &[u8]) -> Self {
        let mut steps = Vec::new();
        let mut rest = script;
        while let Some(end) = rest.windows(SEPARATOR.len()).position(|window| window == SEPARATOR) {
            steps.push(Step::of(&rest[..end]));
            rest = &rest[end + SEPARATOR.len()..];
        }
        steps.push(Step::of(rest));
        steps.reverse();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (streams, stopped) = (Mutex::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { script: Mutex::new(steps), streams, stopped });
        let acceptor = thread::spawn({
            let shared = shared.clone();
            move || shared.accept(&listener)
        });
        Server { url, shared, acceptor: Some(acceptor) }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes the acceptor.
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
        self.acceptor.take().into_iter().for_each(|thread| thread.join().expect("the server does not panic"));
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        let mut threads = Vec::new();
        while let Ok((stream, _)) = listener.accept() {
            if self.stopped.load(Ordering::SeqCst) {
                break;
            }
            lock(&self.streams).extend(stream.try_clone());
            let shared = self.clone();
            threads.push(thread::spawn(move || {
                // An error means that the client has gone.
                let _ = shared.serve(&stream);
                let _ = stream.shutdown(Shutdown::Both);
            }));
        }
        self.end();
        threads.into_iter().for_each(|thread| thread.join().expect("the server does not panic"));
    }

    /// Ends what the server says. A connection that is closed with unread input would be reset, and lose it.
    fn finish(&self) {
        for stream in &*lock(&self.streams) {
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    fn end(&self) {
        for stream in lock(&self.streams).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn serve(&self, mut stream: &TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        while let Some(request) = read_request(stream)? {
            let step = lock(&self.script).pop();
            match step {
                Some(Step::Answer(bytes) | Step::More(bytes)) => stream.write_all(&bytes)?,
                Some(Step::Upgrade(bytes)) => {
                    let key = request.lines().find_map(|line| line.strip_prefix("sec-websocket-key: "));
                    let accept = derive_accept_key(key.unwrap_or_default().trim().as_bytes());
                    let head = format!(
                        "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                         Sec-WebSocket-Accept: {accept}\r\n\r\n"
                    );
                    stream.write_all(&[head.as_bytes(), &bytes].concat())?;
                    self.write_more(stream, true)?;
                    self.finish();
                    return drain(stream);
                }
                // The end of the script is the end of all connections.
                None => {
                    self.finish();
                    return drain(stream);
                }
            }
            self.write_more(stream, false)?;
        }
        Ok(())
    }

    /// Writes the steps that need no request, which are all steps on a websocket.
    fn write_more(&self, mut stream: &TcpStream, websocket: bool) -> io::Result<()> {
        loop {
            let mut script = lock(&self.script);
            let needs_none = matches!(script.last(), Some(Step::More(_))) || websocket;
            let step = if needs_none { script.pop() } else { None };
            drop(script);
            let Some(Step::More(bytes) | Step::Answer(bytes) | Step::Upgrade(bytes)) = step else {
                return Ok(());
            };
            stream.write_all(&bytes)?;
        }
    }
}

/// Reads until the client closes.
fn drain(mut stream: &TcpStream) -> io::Result<()> {
    io::copy(&mut stream, &mut io::sink()).map(drop)
}

/// Reads a request, and drops its body. The head is in lower case but for its values. `None` at the end.
fn read_request(mut stream: &TcpStream) -> io::Result<Option<String>> {
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    let end = loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        match stream.read(&mut buffer)? {
            0 => return Ok(None),
            size if read.len() + size <= MAX_REQUEST => read.extend(&buffer[..size]),
            _ => return Err(io::Error::other("the request is too long")),
        }
    };
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    let lines = head.lines().map(|line| match line.split_once(": ") {
        Some((name, value)) => format!("{}: {value}", name.to_ascii_lowercase()),
        None => line.to_owned(),
    });
    let head = lines.collect::<Vec<_>>().join("\n");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut left = (end + length).saturating_sub(read.len());
    while left > 0 {
        match stream.read(&mut buffer)? {
            0 => return Ok(None),
            size => left = left.saturating_sub(size),
        }
    }
    Ok(Some(head))
}
