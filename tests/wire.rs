//! The bytes of a connection with the options that are off by default: the requests and the frames, with the
//! random parts replaced.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use tungstenite::handshake::derive_accept_key;

use common::scripted::{OPEN, OPEN_UPGRADE};
use common::{PATIENCE, Watch, by};
use engineio::TransportKind::{Polling, WebSocket};
use engineio::{Client, Message};

/// One frame of the client: its first byte, the bytes of its length, and its payload.
type Frame = (u8, Vec<u8>, Vec<u8>);

/// A connection of a client.
struct Peer(BufReader<TcpStream>);

impl Peer {
    fn accept(listener: &TcpListener) -> Self {
        Peer(BufReader::new(listener.accept().unwrap().0))
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).unwrap();
    }

    /// The head of the next request.
    fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(self.0.read_line(&mut head).unwrap() > 0, "{head:?}");
        }
        head
    }

    /// Answers the next request by polling, and returns its head.
    fn poll(&mut self, body: &str) -> String {
        let head = self.head();
        self.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
        head
    }

    /// Accepts the websocket, and returns the head of the request.
    fn upgrade(&mut self) -> String {
        let head = self.head();
        let key = value(&head, "sec-websocket-key: ").to_owned();
        let accept = derive_accept_key(key.as_bytes());
        self.send(
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n"
            )
            .as_bytes(),
        );
        head.replace(&key, "KEY")
    }

    /// The client's next frame, without its mask; `None` at the end.
    fn frame(&mut self) -> Option<Frame> {
        let mut first = [0; 1];
        if self.0.read(&mut first).unwrap() == 0 {
            return None;
        }
        let mut length = self.take(1);
        assert_eq!(length[0] & 0x80, 0x80, "a client masks its frames");
        let more = match length[0] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        length.extend(self.take(more));
        let payload = match more {
            0 => usize::from(length[0] & 0x7f),
            _ => length[1..].iter().fold(0, |size, byte| size << 8 | usize::from(*byte)),
        };
        let mask = self.take(4);
        let mut payload = self.take(payload);
        payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        Some((first[0], length, payload))
    }

    fn take(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }
}

/// The rest of the line that starts with this.
fn value<'a>(head: &'a str, start: &str) -> &'a str {
    head.lines().find_map(|line| line.strip_prefix(start)).unwrap_or_else(|| panic!("no {start}in {head:?}"))
}

/// A request without the parts that differ each time.
fn normal(head: &str) -> String {
    let host = value(head, "host: ").to_owned();
    let (before, rest) = head.split_once("&t=").expect("a timestamp");
    let end = rest.find(['&', ' ']).unwrap();
    format!("{before}&t=T{}", &rest[end..]).replace(&host, "HOST")
}

/// Runs the server on a thread of its own, and the client on this one.
fn exchange<T: Send + 'static>(
    ways: &[engineio::TransportKind],
    server: impl FnOnce(&TcpListener) -> T + Send + 'static,
    client: impl FnOnce(&Client, &Watch),
) -> T {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || server(&listener));
    let connected = Client::new();
    let watch = Watch::new(&connected);
    connected.connect_with(&url, by(ways)).unwrap();
    watch.connected();
    client(&connected, &watch);
    connected.disconnect().unwrap();
    server.join().unwrap()
}

fn frames(peer: &mut Peer) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some(frame) = peer.frame() {
        let closes = frame.0 == 0x88;
        frames.push(frame);
        if closes {
            peer.send(b"\x88\x00");
        }
    }
    frames
}

/// The headers of an upgrade to a websocket.
const UPGRADE: &str =
    "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: KEY\r\n";

fn request(query: &str, headers: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "GET /engine.io/?EIO=4&{query} HTTP/1.1\r\naccept: */*\r\nhost: HOST\r\n{headers}\
         accept-encoding: gzip, deflate\r\nuser-agent: engineio/{version}\r\n\r\n"
    )
}

#[test]
fn a_websocket() {
    let (head, frames) = exchange(
        &[WebSocket],
        |listener| {
            let mut peer = Peer::accept(listener);
            let head = peer.upgrade();
            peer.send(&[&[0x81, OPEN.len() as u8][..], OPEN.as_bytes()].concat());
            // A ping of the websocket, one of Engine.IO, and a message.
            peer.send(b"\x89\x05are u");
            let pong = peer.frame();
            peer.send(b"\x81\x012");
            let ours = peer.frame();
            peer.send(b"\x81\x034hi");
            (head, [pong, ours].into_iter().flatten().chain(frames(&mut peer)).collect::<Vec<_>>())
        },
        |client, watch| {
            assert_eq!(watch.message(), Message::from("hi"));
            client.send("").unwrap();
            client.send("é").unwrap();
            client.send(Vec::<u8>::new()).unwrap();
            client.send(vec![0, 1, 255]).unwrap();
            client.send("x".repeat(124)).unwrap();
            client.send("y".repeat(125)).unwrap();
            client.send(vec![7; 65_535]).unwrap();
            client.send(vec![8; 65_536]).unwrap();
            client.send("z".repeat(300_000)).unwrap();
        },
    );
    assert_eq!(normal(&head), request("transport=websocket&t=T", UPGRADE));
    let text = |text: String| text.into_bytes();
    let expected: Vec<Frame> = vec![
        (0x8a, vec![0x85], text("are u".into())),
        (0x81, vec![0x81], text("3".into())),
        (0x81, vec![0x81], text("4".into())),
        (0x81, vec![0x83], text("4é".into())),
        (0x82, vec![0x80], vec![]),
        (0x82, vec![0x83], vec![0, 1, 255]),
        (0x81, vec![0xfd], text(format!("4{}", "x".repeat(124)))),
        (0x81, vec![0xfe, 0, 126], text(format!("4{}", "y".repeat(125)))),
        (0x82, vec![0xfe, 255, 255], vec![7; 65_535]),
        (0x82, vec![0xff, 0, 0, 0, 0, 0, 1, 0, 0], vec![8; 65_536]),
        (0x81, vec![0xff, 0, 0, 0, 0, 0, 4, 0x93, 0xe1], text(format!("4{}", "z".repeat(300_000)))),
        (0x81, vec![0x81], text("1".into())),
        (0x88, vec![0x80], vec![]),
    ];
    assert_eq!(frames.len(), expected.len());
    for (index, (frame, expected)) in frames.iter().zip(&expected).enumerate() {
        assert_eq!((frame.0, &frame.1), (expected.0, &expected.1), "frame {index}");
        assert!(frame.2 == expected.2, "frame {index}: {:?}", &frame.2[..frame.2.len().min(20)]);
    }
}

#[test]
fn an_upgrade() {
    let (heads, frames) = exchange(
        &[Polling, WebSocket],
        |listener| {
            // The websocket takes the connection of the first request over.
            let mut peer = Peer::accept(listener);
            let first = peer.poll(OPEN_UPGRADE);
            let second = peer.upgrade();
            let probe = peer.frame();
            peer.send(b"\x81\x063probe");
            let upgrade = peer.frame();
            (
                [first, second],
                [probe, upgrade].into_iter().flatten().chain(frames(&mut peer)).collect::<Vec<_>>(),
            )
        },
        |client, _| client.send("hi").unwrap(),
    );
    let [first, second] = heads;
    assert_eq!(normal(&first), request("transport=polling&t=T", ""));
    assert_eq!(normal(&second), request("transport=websocket&sid=abc&t=T", UPGRADE));
    let text = |text: &str| (0x81, vec![0x80 | text.len() as u8], text.as_bytes().to_vec());
    let expected = vec![text("2probe"), text("5"), text("4hi"), text("1"), (0x88, vec![0x80], Vec::new())];
    assert_eq!(frames, expected);
}

/// The head and the body of the next POST, which is confirmed.
fn post(peer: &mut Peer) -> (String, Vec<u8>) {
    let head = peer.head();
    let size = value(&head, "content-length: ").parse().unwrap();
    let body = peer.take(size);
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    (head, body)
}

#[test]
fn polling() {
    let (gets, posts) = exchange(
        &[Polling],
        |listener| {
            let mut polls = Peer::accept(listener);
            let gets = [polls.poll(OPEN), polls.poll("4hi\x1eb/w=="), polls.head()];
            let mut peer = Peer::accept(listener);
            let posts = [(); 3].map(|()| post(&mut peer));
            polls.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n6");
            (gets, posts)
        },
        |client, watch| {
            assert_eq!([watch.message(), watch.message()], [Message::from("hi"), Message::from(vec![255])]);
            for message in [Message::from("é"), Message::from(vec![0, 1, 255])] {
                client.send(message).unwrap();
                client.flush(PATIENCE).unwrap();
            }
        },
    );
    let get = |query| request(query, "");
    let session = "transport=polling&sid=abc&t=T";
    assert_eq!(gets.map(|head| normal(&head)), [get("transport=polling&t=T"), get(session), get(session)]);
    for ((head, body), expected) in posts.iter().zip(["4é", "bAAH/", "1"]) {
        assert_eq!(String::from_utf8_lossy(body), expected);
        let length = format!("content-length: {}\r\naccept:", expected.len());
        let request = request(session, "content-type: text/plain;charset=UTF-8\r\n");
        assert_eq!(normal(head), request.replacen("GET", "POST", 1).replacen("accept:", &length, 1));
    }
}
