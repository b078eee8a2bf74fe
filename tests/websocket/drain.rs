//! The end of a connection to a server that sends without reading: what counts as sent has arrived.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use engineio::Client;
use engineio::TransportKind::WebSocket;

use common::scripted::{Exchange, Scripted};
use common::{PATIENCE, only};

const COUNT: usize = 20;
const SIZE: usize = 100_000;

/// Sends without end and reads nothing, until `read` ends. Then it counts the messages that have arrived.
fn flood(exchange: &mut Exchange, arrived: &Sender<usize>, read: impl FnOnce()) -> io::Result<()> {
    exchange.ws_read_text()?;
    let mut stream = exchange.stream()?;
    thread::spawn(move || while stream.write_all(&b"\x81\x064flood".repeat(1000)).is_ok() {});
    read();
    let mut count = 0;
    while let Ok((opcode, payload)) = exchange.ws_read() {
        count += usize::from(payload.len() == SIZE);
        if opcode == 8 {
            exchange.raw(b"")?;
            break;
        }
    }
    arrived.send(count).map_err(io::Error::other)?;
    exchange.close()
}

/// A server that floods for two seconds before it reads, and the count of the messages that have arrived
/// there.
fn reads_late() -> (Scripted, Receiver<usize>) {
    let (sender, arrived) = channel();
    let server = Scripted::websocket(move |exchange| {
        flood(exchange, &sender, || thread::sleep(Duration::from_secs(2)))
    });
    (server, arrived)
}

fn send_all(client: &Client) {
    client.send("go").unwrap();
    for _ in 0..COUNT {
        client.send(vec![7; SIZE]).unwrap();
    }
}

#[test]
fn what_is_sent_arrives_late() {
    let (server, arrived) = reads_late();
    let client = Client::builder().request_timeout(PATIENCE).build().unwrap();
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    send_all(&client);
    client.flush(PATIENCE).unwrap();
    client.disconnect().unwrap();
    assert_eq!(arrived.recv_timeout(PATIENCE).unwrap(), COUNT);
}

#[test]
fn a_handler_disconnects() {
    let (server, arrived) = reads_late();
    let client = Client::builder().request_timeout(PATIENCE).build().unwrap();
    client.on_message(|client, _| {
        if client.is_connected() {
            (0..COUNT).for_each(|_| client.send(vec![7; SIZE]).unwrap());
            client.disconnect().unwrap();
        }
    });
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    client.send("go").unwrap();
    client.wait();
    assert_eq!(arrived.recv_timeout(PATIENCE).unwrap(), COUNT);
}

#[test]
fn the_last_handle_is_dropped() {
    let (server, arrived) = reads_late();
    let client = Client::builder().request_timeout(PATIENCE).build().unwrap();
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    send_all(&client);
    drop(client);
    assert_eq!(arrived.recv_timeout(PATIENCE).unwrap(), COUNT);
}

/// The server reads only when the client has given up. Messages that were written and may be lost are told.
#[cfg(target_os = "linux")]
#[test]
fn what_does_not_arrive_is_told() {
    use common::{Lines, eventually};
    use crossbeam_channel::unbounded;
    use engineio::Error;

    for dropped in [false, true] {
        let ((sender, arrived), (ended, end)) = (channel(), unbounded::<()>());
        let server = Scripted::websocket(move |exchange| {
            flood(exchange, &sender, || {
                let _ = end.recv_timeout(PATIENCE);
            })
        });
        let lines = Lines::default();
        let builder = Client::builder().request_timeout(Duration::from_secs(1)).logger(lines.clone());
        let client = builder.build().unwrap();
        client.connect_with(server.url(), only(WebSocket)).unwrap();
        send_all(&client);
        client.flush(PATIENCE).unwrap();
        let told = || {
            let warnings = lines.at(log::Level::Warn);
            warnings.iter().find_map(|line| line.split_once(" message(s) were not sent")?.0.parse().ok())
        };
        let unsent: usize = if dropped {
            drop(client);
            eventually("the end is told", || told().is_some());
            told().unwrap()
        } else {
            match client.disconnect() {
                Err(Error::Unsent { messages, .. }) => messages,
                other => panic!("the server has not read anything: {other:?}"),
            }
        };
        drop(ended);
        let arrived = arrived.recv_timeout(PATIENCE).unwrap();
        assert!(arrived + unsent >= COUNT, "{arrived} have arrived, and {unsent} are told");
        assert!(unsent <= COUNT + 1, "{unsent}");
    }
}

/// A server that reads late, and sends nothing meanwhile.
#[test]
fn a_quiet_server_takes_its_time() {
    let (sender, arrived) = channel();
    let server = Scripted::websocket(move |exchange| {
        thread::sleep(Duration::from_secs(1));
        let mut count = 0;
        while let Ok((_, payload)) = exchange.ws_read() {
            count += usize::from(payload.len() == SIZE);
        }
        sender.send(count).map_err(io::Error::other)
    });
    let client = Client::builder().request_timeout(PATIENCE).build().unwrap();
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    send_all(&client);
    client.disconnect().unwrap();
    assert_eq!(arrived.recv_timeout(PATIENCE).unwrap(), COUNT);
}
