//! A POST whose TCP connection hangs. The end of the client's connection does not wait for the POST, and
//! counts its messages as unsent.

#![cfg(target_os = "linux")]

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use common::scripted::OPEN;
use common::{PATIENCE, Watch, eventually, only};
use crossbeam_channel::{Receiver, Sender, bounded};
use engineio::{Client, Disconnect, Error, Reason, TransportKind};

const TIMEOUT: Duration = Duration::from_secs(4);

/// The time after which the server answers a POST.
const DELAY: Duration = Duration::from_millis(1500);

/// A polling server that accepts one connection for the handshake and the polls, and after that a given
/// number of POSTs. Then its backlog is full, and every further TCP connection hangs.
struct Full {
    url: String,
    port: u16,
    /// Receives an item for each POST that has come.
    post: Receiver<()>,
    /// The sender whose drop ends the server.
    _end: Sender<()>,
}

/// Reads one request with its body.
fn read_request(stream: &mut BufReader<TcpStream>) -> io::Result<()> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            return stream.read_exact(&mut vec![0; length]);
        }
    }
}

fn answer(stream: &mut BufReader<TcpStream>, headers: &str, body: &str) -> io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    stream.get_mut().write_all((head + body).as_bytes())
}

impl Full {
    fn start(posts: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let port = listener.local_addr().unwrap().port();
        let ((_end, ended), (tell, post)) = (bounded(0), bounded(posts));
        thread::spawn(move || {
            let mut backlog = Vec::new();
            let served = serve(&listener, posts, &tell, &mut backlog);
            // The listener must live until the test ends. Otherwise the hanging connection would be refused.
            let _ = ended.recv();
            served
        });
        Full { url: format!("http://127.0.0.1:{port}"), port, post, _end }
    }
}

/// Answers the handshake and the POSTs. The streams in `backlog` fill the backlog as long as they live.
fn serve(
    listener: &TcpListener,
    posts: usize,
    tell: &Sender<()>,
    backlog: &mut Vec<TcpStream>,
) -> io::Result<()> {
    let mut polls = BufReader::new(listener.accept()?.0);
    read_request(&mut polls)?;
    if posts == 0 {
        fill(listener, backlog)?;
    }
    answer(&mut polls, "", OPEN)?;
    for post in 1..=posts {
        let mut stream = BufReader::new(listener.accept()?.0);
        read_request(&mut stream)?;
        if post == posts {
            fill(listener, backlog)?;
        }
        let _ = tell.send(());
        thread::sleep(DELAY);
        answer(&mut stream, "Connection: close\r\n", "ok")?;
    }
    io::copy(&mut polls, &mut io::sink()).map(drop)
}

/// Opens connections until one hangs.
fn fill(listener: &TcpListener, backlog: &mut Vec<TcpStream>) -> io::Result<()> {
    let address = listener.local_addr()?;
    let hangs = Duration::from_millis(300);
    backlog.extend(std::iter::from_fn(|| TcpStream::connect_timeout(&address, hangs).ok()));
    Ok(())
}

/// True while a TCP connection to that port is being opened, according to the kernel.
fn is_connecting(port: u16) -> bool {
    const SYN_SENT: &str = "02";
    let connections = fs::read_to_string("/proc/net/tcp").unwrap();
    connections.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[2].ends_with(&format!(":{port:04X}")) && fields[3] == SYN_SENT
    })
}

fn connect(server: &Full) -> (Client, Watch) {
    let client = Client::builder().request_timeout(TIMEOUT).build().unwrap();
    let watch = Watch::new(&client);
    client.connect_with(&server.url, only(TransportKind::Polling)).unwrap();
    watch.connected();
    (client, watch)
}

#[test]
fn an_abort_does_not_wait_for_the_connection_and_counts_its_messages() {
    let server = Full::start(0);
    let (client, watch) = connect(&server);
    (0..5).for_each(|i| client.send(i.to_string()).unwrap());
    eventually("the POST's connection hangs", || is_connecting(server.port));
    let start = Instant::now();
    let aborted = client.disconnect_with(Disconnect::new().abort(true));
    let elapsed = start.elapsed();
    assert!(matches!(aborted, Err(Error::Unsent { messages: 5, .. })), "{aborted:?} after {elapsed:?}");
    assert!(elapsed < TIMEOUT / 2, "{elapsed:?}");
    assert_eq!(watch.disconnected(), Reason::ClientDisconnect);
    client.wait();
    assert_eq!(client.stats().unsent, 5);
}

/// The connection begins to hang while `disconnect` waits, and hangs for longer than `disconnect` may take.
#[test]
fn a_disconnect_is_in_time_and_counts_the_messages_that_wait_for_the_connection() {
    let server = Full::start(1);
    let (client, watch) = connect(&server);
    client.send("first").unwrap();
    server.post.recv_timeout(PATIENCE).unwrap();
    (0..5).for_each(|i| client.send(i.to_string()).unwrap());
    let start = Instant::now();
    let disconnected = client.disconnect();
    let elapsed = start.elapsed();
    assert!(
        matches!(disconnected, Err(Error::Unsent { messages: 5, .. })),
        "{disconnected:?} after {elapsed:?}"
    );
    assert!(elapsed < TIMEOUT + Duration::from_millis(900), "{elapsed:?}");
    assert_eq!(watch.disconnected(), Reason::ClientDisconnect);
    client.wait();
    assert_eq!(client.stats().unsent, 5);
}
