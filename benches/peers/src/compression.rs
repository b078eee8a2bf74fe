//! What permessage-deflate costs and saves: the bytes on the wire and the CPU time for each message of JSON,
//! as a table. The server is a thread of this process that only reads, or only writes what it has prepared.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml --bin compression
//! ```

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use engineio::{Client, Compression, ConnectOptions, TransportKind, WebSocketOptions};
use flate2::{Compress, FlushCompress};
use rustix::time::{ClockId, clock_gettime};
use tungstenite::handshake::derive_accept_key;

/// The number of messages in a measurement.
const COUNT: usize = 4000;

const OPEN: &[u8] = br#"0{"sid":"abc","upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Off,
    On,
    /// Each message is compressed on its own.
    Forgetful,
}

fn main() {
    println!("| JSON | compression | sent: bytes | CPU | received: bytes | CPU |");
    println!("|---|---|---|---|---|---|");
    for size in [1024, 16 * 1024] {
        for mode in [Mode::Off, Mode::On, Mode::Forgetful] {
            let (sent, sending) = send(size, mode);
            let (received, receiving) = receive(size, mode);
            let name = match mode {
                Mode::Off => "off",
                Mode::On => "on",
                Mode::Forgetful => "on, without context takeover",
            };
            println!(
                "| {} KiB | {name} | {sent} | {sending} µs | {received} | {receiving} µs |",
                size / 1024
            );
        }
    }
}

/// A text of JSON of about that size. It is another one for each number.
fn json(number: usize, size: usize) -> String {
    let mut state = number as u64 + 1;
    let mut random = || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut text = String::from("[");
    while text.len() < size {
        let (id, value, name) = (random() % 100_000, random() % 10_000, random() % 1000);
        text += &format!(
            r#"{{"id":{id},"name":"sensor {name}","value":{}.{},"unit":"°C","active":{}}},"#,
            value / 100,
            value % 100,
            value % 3 == 0
        );
    }
    text + "null]"
}

fn client(mode: Mode) -> Client {
    let compression = Compression::new()
        .client_no_context_takeover(mode == Mode::Forgetful)
        .server_no_context_takeover(mode == Mode::Forgetful);
    let options = WebSocketOptions::new();
    let options = if mode == Mode::Off { options } else { options.compression(compression) };
    Client::builder().websocket_options(options).build().expect("the options are right")
}

/// Accepts the websocket of a client, and opens a session.
fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().expect("a client");
    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
    let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    let value = |name: &str| head.iter().find_map(|line| line.strip_prefix(name));
    let key = derive_accept_key(value("sec-websocket-key: ").expect("a key").as_bytes());
    let extension =
        value("sec-websocket-extensions: ").map(|offer| offer.replace("; client_max_window_bits", ""));
    let extension =
        extension.map_or(String::new(), |accepted| format!("Sec-WebSocket-Extensions: {accepted}\r\n"));
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {key}\r\n{extension}\r\n"
    )
    .expect("the client reads");
    stream.write_all(&frame(0x81, OPEN)).expect("the client reads");
    stream
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = match payload.len() {
        length @ 0..126 => vec![first, length as u8],
        length => [&[first, 126][..], &(length as u16).to_be_bytes()].concat(),
    };
    frame.extend_from_slice(payload);
    frame
}

fn connect(client: &Client, listener: &TcpListener) {
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let options = ConnectOptions::new().transports([TransportKind::WebSocket]);
    client.connect_with(url, options).expect("the server accepts");
}

/// The CPU time of the process in microseconds.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

fn each(total: f64) -> String {
    format!("{:.1}", total / COUNT as f64)
}

/// The bytes and the CPU time of a sent message.
fn send(size: usize, mode: Mode) -> (usize, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let client = client(mode);
    let texts: Vec<String> = (0..COUNT).map(|number| json(number, size)).collect();
    thread::scope(|scope| {
        let server = scope.spawn(|| {
            let (mut stream, mut total) = (accept(&listener), 0);
            let mut buffer = vec![0; 256 * 1024];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                total += count;
            }
            total
        });
        connect(&client, &listener);
        let start = cpu();
        for text in texts {
            client.send(text).expect("the connection is open");
        }
        client.disconnect().expect("the server reads");
        let total = server.join().expect("no panic");
        (total / COUNT, each(cpu() - start))
    })
}

/// The bytes and the CPU time of a received message.
fn receive(size: usize, mode: Mode) -> (usize, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let client = client(mode);
    let mut compress = Compress::new(flate2::Compression::new(6), false);
    let mut stream = Vec::new();
    for number in 0..COUNT {
        let text = ["4", &json(number, size)].concat();
        if mode == Mode::Off {
            stream.extend(frame(0x81, text.as_bytes()));
            continue;
        }
        let mut packed = Vec::with_capacity(text.len() + 100);
        compress.compress_vec(text.as_bytes(), &mut packed, FlushCompress::Sync).expect("a stream goes on");
        stream.extend(frame(0xc1, packed.strip_suffix(&[0, 0, 255, 255]).expect("it is flushed")));
        if mode == Mode::Forgetful {
            compress.reset();
        }
    }
    let (done, all) = channel();
    let mut count = 0;
    client.on_message(move |_, _| {
        count += 1;
        if count == COUNT {
            done.send(()).expect("somebody waits");
        }
    });
    thread::scope(|scope| {
        let server = scope.spawn(|| accept(&listener));
        connect(&client, &listener);
        let mut socket = server.join().expect("no panic");
        let start = cpu();
        socket.write_all(&stream).expect("the client reads");
        all.recv_timeout(Duration::from_secs(60)).expect("all messages come");
        let used = cpu() - start;
        // The server is gone, and the client notices it.
        drop(socket);
        client.wait();
        (stream.len() / COUNT, each(used))
    })
}
