//! Requests that take long: they arrive while they move, and end when they stall.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use engineio::{Client, Reason};
use rustix::net::sockopt::set_socket_recv_buffer_size;

use crate::{Polling, in_a_namespace, only, system};
use common::scripted::{Request, Scripted, open_with};
use common::{PATIENCE, Watch, abort, eventually};

const TIMEOUT: Duration = Duration::from_secs(1);

/// A client whose requests may stall for [`TIMEOUT`].
fn client() -> Client {
    Client::builder().request_timeout(TIMEOUT).build().unwrap()
}

#[test]
fn a_post_may_take_longer_than_the_request_timeout() {
    in_a_namespace(
        "slow uploads",
        // Packets to the server take the slow class, and those from it do not.
        "ip link set lo mtu 1500 gso_max_segs 1 up && tc qdisc add dev lo root handle 1: htb \
         && tc class add dev lo parent 1: classid 1:1 htb rate 1mbit \
         && tc filter add dev lo parent 1: protocol ip u32 match ip dport 1 0xffff flowid 1:1",
    );
}

/// Directs the packets to the server into the slow class.
fn slow_down(server: &Scripted, rate: &str) {
    let port = server.url().rsplit(':').next().unwrap();
    for command in [
        format!("class change dev lo parent 1: classid 1:1 htb rate {rate}"),
        format!("filter add dev lo parent 1: protocol ip u32 match ip dport {port} 0xffff flowid 1:1"),
    ] {
        assert!(system(&format!("tc {command}")), "{command}");
    }
}

/// Sends a message of that size, which takes some four seconds.
fn upload(client: &Client, size: usize, meanwhile: impl FnOnce()) {
    let started = Instant::now();
    client.send("x".repeat(size)).unwrap();
    meanwhile();
    client.flush(PATIENCE).unwrap_or_else(|e| {
        client.wait();
        panic!("{size}: {e}: {:?}", client.last_error());
    });
    assert!(started.elapsed() > TIMEOUT * 3, "the line was not slow: {:?}", started.elapsed());
}

pub(crate) fn upload_over_a_slow_line() {
    for (rate, size) in [("1mbit", 500_000), ("80kbit", 40_000)] {
        let open = open_with(25_000, 20_000);
        let server = Scripted::start(move |exchange| match exchange.request.is_poll() {
            true => exchange.hold(),
            false => exchange.answer(&open),
        });
        slow_down(&server, rate);
        let client = client();
        client.connect_with(server.url(), only(Polling)).unwrap();
        server.wait_for("poll", Request::is_poll);
        upload(&client, size, || ());
        assert_eq!(server.wait_for("POST", Request::is_post).body.len(), size + 1);
        abort(&client);
    }
    dial_behind_an_upload();
}

/// The next poll needs a new connection, whose packets wait behind those of the message.
fn dial_behind_an_upload() {
    let (begin, begun) = mpsc::channel::<()>();
    let (open, begun) = (open_with(25_000, 20_000), Mutex::new(begun));
    let server = Scripted::start(move |exchange| match exchange.request.is_poll() {
        true if exchange.polls() == 1 => {
            begun.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            exchange.payload("4first")?;
            exchange.close()
        }
        true => exchange.hold(),
        false => exchange.answer(&open),
    });
    slow_down(&server, "80kbit");
    let client = client();
    client.connect_with(server.url(), only(Polling)).unwrap();
    server.wait_for("poll", Request::is_poll);
    upload(&client, 40_000, || {
        eventually("the POST has a connection", || server.connections() == 2);
        begin.send(()).unwrap();
    });
    eventually("the next poll has arrived", || {
        server.requests().iter().filter(|request| request.is_poll()).count() == 2
    });
    assert_eq!(client.last_error().map(|e| e.to_string()), None);
    abort(&client);
}

/// A server that reads as slowly has its buffers in between, which take all of the message at once.
#[test]
fn a_server_may_take_its_time_to_read_a_post() {
    let open = open_with(25_000, 20_000);
    let server = Scripted::start(move |exchange| match &exchange.request {
        request if request.is_poll() => exchange.hold(),
        request if request.is_post() => {
            thread::sleep(TIMEOUT * 2);
            exchange.payload("ok")
        }
        _ => exchange.payload(&open),
    });
    let client = client();
    client.connect_with(server.url(), only(Polling)).unwrap();
    client.send("x".repeat(12_000)).unwrap();
    client.flush(PATIENCE).unwrap();
    abort(&client);
}

/// A server that answers the handshake, and reads only the beginning of any other request. Its windows are
/// small. It lives as long as the process.
fn deaf_server(open: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Connections inherit it.
    set_socket_recv_buffer_size(&listener, 1).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let mut held = Vec::new();
        for (number, tcp) in listener.incoming().enumerate() {
            let mut tcp = tcp.unwrap();
            if number == 0 {
                answer_the_handshake(&mut tcp, &open);
            } else {
                held.push(tcp);
            }
        }
    });
    format!("http://{address}")
}

fn answer_the_handshake(tcp: &mut TcpStream, open: &str) {
    assert!(tcp.read(&mut [0; 4096]).unwrap() > 0);
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", open.len());
    tcp.write_all(format!("{head}{open}").as_bytes()).unwrap();
}

#[test]
fn a_post_that_stalls_is_told_from_a_missing_answer() {
    // The system takes all of the small one, and a part of the big one.
    for size in [100_000, 20_000_000] {
        let url = deaf_server(open_with(25_000, 20_000));
        let client = client();
        let watch = Watch::new(&client);
        client.connect_with(url, only(Polling)).unwrap();
        watch.connected();
        let started = Instant::now();
        client.send("x".repeat(size)).unwrap();
        assert_eq!(watch.disconnected(), Reason::TransportError);
        let took = started.elapsed();
        assert!(took >= TIMEOUT && took < TIMEOUT * 4, "{size}: {took:?}");
        let error = client.last_error().unwrap();
        assert!(error.is_timeout() && error.to_string().contains("sending the request"), "{size}: {error}");
    }
}

#[test]
fn a_poll_that_cannot_be_written_ends_with_the_servers_silence() {
    // With small packets the system's buffers are small as well.
    in_a_namespace("unwritable poll", "ip link set lo mtu 1500 up");
}

pub(crate) fn write_a_poll_that_is_not_read() {
    let open = open_with(300, 300).replace("abc", &"s".repeat(54_000));
    let url = deaf_server(open);
    let client = client();
    let watch = Watch::new(&client);
    client.connect_with(url, only(Polling)).unwrap();
    watch.connected();
    let started = Instant::now();
    assert_eq!(watch.disconnected(), Reason::PingTimeout);
    assert!(started.elapsed() < PATIENCE / 4, "{:?}", started.elapsed());
}
