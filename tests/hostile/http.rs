//! HTTP responses that are malformed or too large.

use std::sync::atomic::AtomicUsize;

use super::*;

type Attack = fn(&mut Exchange) -> io::Result<()>;

/// Sends the same bytes again and again until the client has gone.
fn endless(exchange: &mut Exchange, start: &str, chunk: &[u8]) -> io::Result<()> {
    exchange.raw(start)?;
    let chunk = chunk.repeat(1 + 10_000 / chunk.len());
    loop {
        exchange.raw(&chunk)?;
    }
}

/// Gzip data of zeros without an end, which expands a thousandfold.
fn bomb(length: usize) -> Vec<u8> {
    let mut bits = Vec::new();
    let mut push = |code: u32, count: u32| bits.extend((0..count).rev().map(|bit| code >> bit & 1 == 1));
    // The data starts with a last block (bits 1, then 10) with fixed codes, and a zero (RFC 1951, section
    // 3.2.6).
    push(0b110, 3);
    push(0b0011_0000, 8);
    // Each code repeats 258 bytes from a distance of 1. It has 13 bits, so 8 codes fill 13 bytes.
    for _ in 0..16 {
        push(0b1100_0101, 8);
        push(0, 5);
    }
    let bytes: Vec<u8> = bits.chunks_exact(8).map(pack).collect();
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let mut bomb = [&head[..], &bytes[..2]].concat();
    let period = &bytes[2..15];
    bomb.extend(period.iter().cycle().take(length));
    bomb
}

fn pack(bits: &[bool]) -> u8 {
    bits.iter().enumerate().map(|(at, bit)| u8::from(*bit) << at).sum()
}

/// The request of the client that gets the hostile response.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Point {
    Handshake,
    WebSocket,
    Poll,
    Post,
}

const POINTS: [Point; 4] = [Point::Handshake, Point::WebSocket, Point::Poll, Point::Post];

fn at(point: Point, what: &str, attack: impl Fn(&mut Exchange) -> io::Result<()> + Send + Sync + 'static) {
    let what = format!("{what}, {point:?}");
    let foe = Foe::new(move |exchange| {
        let now = match &exchange.request {
            request if request.is_websocket() => Point::WebSocket,
            request if request.is_post() => Point::Post,
            request if request.is_poll() => Point::Poll,
            _ => Point::Handshake,
        };
        match now {
            // This is the target of a redirect that the client has followed.
            _ if exchange.request.path != "/engine.io/" => exchange.respond("404 Not Found", ""),
            _ if now == point => attack(exchange),
            Point::Poll => exchange.hold(),
            _ => exchange.answer(OPEN),
        }
    });
    let start = Instant::now();
    match point {
        Point::Handshake => drop(refused(&what, &foe, Polling, "")),
        Point::WebSocket => drop(refused(&what, &foe, WebSocket, "")),
        Point::Poll | Point::Post => drop(ends(&what, &foe, Polling, &Reason::TransportError, "")),
    }
    assert!(start.elapsed() < BOUND, "{what}: {:?}", start.elapsed());
}

#[test]
fn answers_that_are_not_http() {
    let table: [(&str, &[u8]); 14] = [
        ("words", b"HELLO WORLD\r\n\r\n"),
        ("zeros", &[0; 64]),
        ("an unknown version", b"HTTP/9.9 200 OK\r\nContent-Length: 1\r\n\r\n6"),
        ("a status of letters", b"HTTP/1.1 abc OK\r\nContent-Length: 1\r\n\r\n6"),
        ("a status of four digits", b"HTTP/1.1 2000 OK\r\nContent-Length: 1\r\n\r\n6"),
        ("a status below 100", b"HTTP/1.1 001 OK\r\nContent-Length: 1\r\n\r\n6"),
        ("HTTP/0.9", b"6"),
        ("a header without a colon", b"HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 1\r\n\r\n6"),
        ("a length of letters", b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n6"),
        ("a negative length", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n6"),
        ("a length above 2^64", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n6"),
        ("chunks of letters", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n6\r\n0\r\n\r\n"),
        (
            "a chunk above 2^64",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n6\r\n0\r\n\r\n",
        ),
        ("not gzip", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\n6"),
    ];
    for (what, bytes) in table {
        for point in POINTS {
            at(point, what, move |exchange| {
                exchange.raw(bytes)?;
                exchange.close()
            });
        }
    }
}

#[test]
fn too_much_of_http() {
    if !alone() {
        return;
    }
    let table: [(&str, Attack); 10] = [
        ("a length of 2^63", |x| {
            endless(x, "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\n4", b"x")
        }),
        ("a huge length", |x| endless(x, "HTTP/1.1 200 OK\r\nContent-Length: 9999999999999\r\n\r\n4", b"x")),
        ("chunks without end", |x| {
            endless(x, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n4\r\n", b"1\r\nx\r\n")
        }),
        ("a chunk without end", |x| {
            endless(x, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffffffff\r\n4", b"x")
        }),
        ("a chunk's size without end", |x| {
            endless(x, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0")
        }),
        ("a body without end", |x| endless(x, "HTTP/1.1 200 OK\r\n\r\n4", b"x")),
        ("headers without end", |x| endless(x, "HTTP/1.1 200 OK\r\n", b"X-Some: header\r\n")),
        ("a header without end", |x| endless(x, "HTTP/1.1 200 OK\r\nX-Long: ", b"x")),
        ("a status line without end", |x| endless(x, "HTTP/1.1 200 ", b"O")),
        ("an error's body without end", |x| endless(x, "HTTP/1.1 500 Oops\r\n\r\n", b"x")),
    ];
    for (what, attack) in table {
        for point in POINTS {
            costs_little(what, || at(point, what, attack));
        }
    }
}

#[test]
fn a_gzip_bomb() {
    if !alone() {
        return;
    }
    // The bomb expands to 1.4 GB.
    let bomb = Arc::new(bomb(9_000_000));
    for status in ["200 OK", "500 Oops"] {
        for point in POINTS {
            let bomb = bomb.clone();
            // The server's copies of the bomb are in the same process.
            costs_little(status, || {
                at(point, status, move |x| x.respond_with(status, "Content-Encoding: gzip\r\n", &*bomb));
            });
        }
    }
}

#[test]
fn preliminary_answers_without_end() {
    if !alone() {
        return;
    }
    for line in ["100 Continue", "103 Early Hints"] {
        for point in [Point::Handshake, Point::WebSocket, Point::Post] {
            let chunk = format!("HTTP/1.1 {line}\r\n\r\n");
            costs_little(line, || at(point, line, move |x| endless(x, "", chunk.as_bytes())));
        }
    }
}

#[test]
fn redirects_to_nowhere() {
    let long = format!("http://127.0.0.1/{}", "x".repeat(20_000));
    let long = long.as_str();
    for to in
        ["ftp://127.0.0.1/", "file:///etc/passwd", "javascript:alert(1)", "http://", "//", "http://[", long]
    {
        for point in POINTS {
            let head = format!("Location: {to}\r\n");
            at(point, to, move |exchange| exchange.respond_with("302 Found", &head, ""));
        }
    }
    // Each redirect leads to the same server, with a new query.
    let count = Arc::new(AtomicUsize::new(0));
    for point in POINTS {
        let (now, before) = (count.clone(), count.load(Ordering::SeqCst));
        at(point, "a loop", move |exchange| {
            let n = now.fetch_add(1, Ordering::SeqCst);
            let query: Vec<_> = exchange.request.query.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let head = format!("Location: /engine.io/?{}&n{n}=1\r\n", query.join("&"));
            exchange.respond_with("307 Temporary Redirect", &head, "")
        });
        assert!(count.load(Ordering::SeqCst) - before <= 20);
    }
}

/// These responses are odd, but valid HTTP.
#[test]
fn answers_without_a_length_or_a_body() {
    let foe = Foe::by_polls(|exchange| match exchange.polls() {
        1 => exchange.raw("HTTP/1.1 204 No Content\r\n\r\n"),
        2 => exchange.raw("HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n"),
        3 => {
            exchange.raw("HTTP/1.0 200 OK\r\n\r\n4until the end")?;
            exchange.close()
        }
        4 => {
            exchange.raw("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n4hints")
        }
        _ => exchange.hold(),
    });
    let client = client();
    let watch = Watch::new(&client);
    foe.connect(&client, Polling).unwrap();
    watch.connected();
    assert_eq!(watch.message(), Message::from("until the end"));
    assert_eq!(watch.message(), Message::from("hints"));
    foe.leave(&client);
    assert_eq!(watch.disconnected(), Reason::ClientDisconnect);
    foe.forgives(&client, &watch, Polling);
}

/// A server that answers at once with nothing, so that the client polls less and less often.
#[test]
fn polls_that_bring_nothing() {
    for nothing in ["", "6", "6\x1e6", "3", "5", OPEN] {
        let foe = Foe::by_polls(move |exchange| exchange.payload(nothing));
        let client = client();
        foe.connect(&client, Polling).unwrap();
        std::thread::sleep(Duration::from_secs(1));
        let polls = foe.server.requests().iter().filter(|request| request.is_poll()).count();
        assert!((2..20).contains(&polls), "{nothing:?}: {polls} polls in a second");
        let start = Instant::now();
        foe.leave(&client);
        assert!(start.elapsed() < REQUEST_TIMEOUT, "{nothing:?}");
    }
}

/// The jar keeps fifty cookies of a host, and the session lives.
#[test]
fn cookies_by_the_thousand() {
    if !alone() {
        return;
    }
    let foe = Foe::by_polls(|exchange| {
        let polls = exchange.polls();
        let value = "v".repeat(480);
        let cookies: String =
            (0..110).map(|n| format!("Set-Cookie: c-{polls}-{n}={value}; Path=/x\r\n")).collect();
        match polls {
            0..200 => {
                exchange.respond_with("200 OK", &format!("Set-Cookie: kept=1; Path=/\r\n{cookies}"), "4more")
            }
            200 => exchange.payload("4last"),
            _ => exchange.hold(),
        }
    });
    costs_little("cookies", || {
        let client = client();
        let watch = Watch::new(&client);
        foe.connect(&client, Polling).unwrap();
        watch.connected();
        while watch.message().as_text() != Some("last") {}
        foe.leave(&client);
    });
    for request in foe.server.requests().iter().skip(2).filter(|request| request.is_poll()) {
        let cookies = request.header("cookie").concat();
        assert!(cookies.matches('=').count() <= 50, "{cookies}");
    }
}
