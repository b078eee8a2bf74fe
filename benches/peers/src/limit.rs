//! The hand-written minimum: one thread on plain blocking tungstenite or one ureq agent, with batched writes.
//! It handles only what a case needs.

use std::any::Any;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use native_tls::TlsConnector;
use tungstenite::{Message, WebSocket, client};
use ureq::Agent;

use crate::measure::{self, Figures, Watch};
use crate::ours::numbered;
use crate::{Carrier, Case, Scenario, WINDOW};

/// The server's `maxPayload`, in bytes.
const MAX_PAYLOAD: usize = 1 << 20;

/// A connection. `flush` writes all messages that `write` has not written yet.
trait Wire: Any {
    fn write(&mut self, message: &Bytes, binary: bool);
    fn flush(&mut self);
    fn read(&mut self) -> Bytes;
    fn close(&mut self);
}

struct Socket<S>(WebSocket<S>);

impl<S: Read + Write + 'static> Socket<S> {
    fn open(stream: S, url: &str, sid: Option<&str>) -> Self {
        let address = without_scheme(url);
        let sid = sid.map_or(String::new(), |sid| format!("&sid={sid}"));
        let url = format!("ws://{address}/engine.io/?EIO=4&transport=websocket{sid}");
        let (mut socket, _) = client::client(url, stream).expect("the server is up");
        match sid.is_empty() {
            // The first packet is the open packet.
            true => drop(socket.read().expect("connected")),
            false => {
                socket.send(Message::text("2probe")).expect("connected");
                socket.read().expect("the probe's answer");
                socket.send(Message::text("5")).expect("connected");
            }
        }
        Socket(socket)
    }
}

impl<S: Read + Write + 'static> Wire for Socket<S> {
    fn write(&mut self, message: &Bytes, binary: bool) {
        let message = match binary {
            true => Message::Binary(message.clone()),
            false => Message::text(["4", std::str::from_utf8(message).expect("text")].concat()),
        };
        self.0.write(message).expect("connected");
    }

    fn flush(&mut self) {
        self.0.flush().expect("connected");
    }

    fn read(&mut self) -> Bytes {
        loop {
            match self.0.read().expect("connected") {
                Message::Text(text) if text.starts_with('4') => return Bytes::from(text).slice(1..),
                Message::Binary(bytes) => return bytes,
                Message::Text(text) if text.starts_with('2') => {
                    self.0.send(Message::text("3")).expect("connected");
                }
                _ => {}
            }
        }
    }

    fn close(&mut self) {
        self.0.write(Message::text("1")).expect("connected");
        let _ = self.0.close(None);
        // A client waits for the server's goodbye, so that it knows that its messages have arrived.
        while self.0.read().is_ok() {}
    }
}

struct Polling {
    agent: Agent,
    url: String,
    packets: usize,
    pending: Vec<u8>,
    held: usize,
    received: std::vec::IntoIter<Bytes>,
}

impl Polling {
    fn open(url: &str, packets: usize) -> Self {
        let agent = Agent::new_with_defaults();
        let url = format!("{url}/engine.io/?EIO=4&transport=polling");
        let open =
            agent.get(&url).call().expect("the server is up").into_body().read_to_string().expect("text");
        let sid = open.split("\"sid\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a sid");
        let url = format!("{url}&sid={sid}");
        Polling { agent, url, packets, pending: Vec::new(), held: 0, received: Vec::new().into_iter() }
    }

    fn sid(&self) -> &str {
        self.url.rsplit('=').next().expect("a sid")
    }

    fn post(&mut self, body: &[u8]) {
        let answer = self.agent.post(&self.url).header("Content-Type", "text/plain;charset=UTF-8").send(body);
        answer.expect("connected").into_body().read_to_vec().expect("ok");
    }

    fn poll(&mut self) -> Vec<Bytes> {
        let answer = self.agent.get(&self.url).call().expect("connected");
        let body =
            Bytes::from(answer.into_body().with_config().limit(1 << 30).read_to_vec().expect("a payload"));
        let mut messages = Vec::new();
        let mut at = 0;
        while at < body.len() {
            let end = body[at..].iter().position(|byte| *byte == 0x1e).map_or(body.len(), |end| at + end);
            match body[at] {
                b'4' => messages.push(body.slice(at + 1..end)),
                b'b' => messages.push(BASE64_STANDARD.decode(&body[at + 1..end]).expect("base64").into()),
                b'2' => self.post(b"3"),
                _ => {}
            }
            at = end + 1;
        }
        messages
    }
}

impl Wire for Polling {
    fn write(&mut self, message: &Bytes, binary: bool) {
        let size = if binary { message.len().div_ceil(3) * 4 } else { message.len() } + 2;
        if self.held == self.packets || self.pending.len() + size > MAX_PAYLOAD {
            self.flush();
        }
        if self.held > 0 {
            self.pending.push(0x1e);
        }
        self.held += 1;
        if binary {
            self.pending.push(b'b');
            let mut encoder = base64::write::EncoderWriter::new(&mut self.pending, &BASE64_STANDARD);
            encoder.write_all(message).and_then(|()| encoder.finish().map(drop)).expect("memory");
        } else {
            self.pending.push(b'4');
            self.pending.extend_from_slice(message);
        }
    }

    fn flush(&mut self) {
        if self.held > 0 {
            let mut body = std::mem::take(&mut self.pending);
            self.post(&body);
            body.clear();
            (self.pending, self.held) = (body, 0);
        }
    }

    fn read(&mut self) -> Bytes {
        loop {
            match self.received.next() {
                Some(message) => return message,
                None => self.received = self.poll().into_iter(),
            }
        }
    }

    fn close(&mut self) {
        // A client has a poll in flight all the time. ureq would wait for its answer, so this one is written
        // by hand. Its connection is the one that a client needs for a POST beside its poll.
        let (address, path) = without_scheme(&self.url).split_once('/').expect("a path");
        let mut poll = TcpStream::connect(address).expect("the server is up");
        let request = format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        poll.write_all(request.as_bytes()).expect("connected");
        self.post(b"1");
    }
}

fn without_scheme(url: &str) -> &str {
    url.split_once("://").expect("a URL").1
}

/// Connects. All connections of a process share the TLS connector.
fn open(case: &Case, url: &str, tls: &TlsConnector) -> Box<dyn Wire> {
    let tcp = || {
        let stream = TcpStream::connect(without_scheme(url)).expect("the server is up");
        stream.set_nodelay(true).expect("a socket");
        stream
    };
    match case.carrier {
        Carrier::Websocket => Box::new(Socket::open(tcp(), url, None)),
        Carrier::Tls => Box::new(Socket::open(tls.connect("127.0.0.1", tcp()).expect("TLS"), url, None)),
        Carrier::Polling => Box::new(Polling::open(url, case.packets)),
        Carrier::Upgrade => {
            let polling = Polling::open(url, case.packets);
            Box::new(Socket::open(tcp(), url, Some(polling.sid())))
        }
    }
}

pub(crate) fn run(case: &Case, url: &str) -> Figures {
    let mut tls = TlsConnector::builder();
    tls.danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true);
    let tls = tls.build().expect("a connector");
    match case.scenario {
        Scenario::Idle => measure::idle(case.count, |_| Box::new(open(case, url, &tls))),
        Scenario::Connect => {
            let mut times = Vec::new();
            let watch = Watch::start();
            for _ in 0..case.count {
                let started = Instant::now();
                open(case, url, &tls).close();
                times.push(started.elapsed());
            }
            Figures::of_times(times, watch.cpu())
        }
        _ => exchange(case, &mut *open(case, url, &tls)),
    }
}

fn exchange(case: &Case, wire: &mut dyn Wire) -> Figures {
    let message = Bytes::from("x".repeat(case.size));
    let text = |wire: &mut dyn Wire, text: String| {
        wire.write(&text.into(), false);
        wire.flush();
    };
    if case.scenario == Scenario::Send {
        text(wire, "count".into());
    }
    let watch = Watch::start();
    match case.scenario {
        Scenario::Rtt => {
            let mut times = Vec::new();
            for _ in 0..case.count {
                let sent = Instant::now();
                wire.write(&message, case.binary());
                wire.flush();
                wire.read();
                times.push(sent.elapsed());
            }
            return Figures::of_times(times, watch.cpu());
        }
        Scenario::Send => {
            (0..case.count).for_each(|_| wire.write(&message, case.binary()));
            text(wire, "total".into());
            assert_eq!(wire.read(), case.count.to_string());
        }
        Scenario::Recv => {
            text(wire, format!("flood {} {}", case.count, case.size));
            (0..case.count).for_each(|_| drop(wire.read()));
        }
        _ => pipeline(case, wire),
    }
    watch.stop(case.count)
}

/// Writes half a window of messages while the other half is on its way.
fn pipeline(case: &Case, wire: &mut dyn Wire) {
    let write = |wire: &mut dyn Wire, from: usize, to: usize| {
        (from..to.min(case.count)).for_each(|n| wire.write(&numbered(n, case.size).into(), false));
        wire.flush();
    };
    write(wire, 0, WINDOW);
    for number in 0..case.count {
        assert_eq!(wire.read(), numbered(number, case.size), "in order");
        if (number + 1) % (WINDOW / 2) == 0 {
            write(wire, number + 1 + WINDOW / 2, number + 1 + WINDOW);
        }
    }
}
