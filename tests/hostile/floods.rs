//! Floods of small things. The client's own messages still get through, and the session ends in time.

use std::io::Write;
use std::sync::mpsc;
use std::thread;

use super::*;

/// The number of frames in a flood.
const FRAMES: usize = 1_000_000;

/// Repeats a frame forever on a thread of its own, and reads in the meantime. The channel gets a message when
/// a million frames are through.
fn flood(start: &'static [u8], frame: &'static [u8]) -> (Foe, mpsc::Receiver<String>) {
    let (sender, receiver) = mpsc::channel();
    let foe = Foe::by_websocket(move |exchange| {
        let mut stream = exchange.stream()?;
        let told = sender.clone();
        let writer = thread::spawn(move || -> io::Result<()> {
            stream.write_all(start)?;
            let chunk = frame.repeat(10_000);
            for round in 0.. {
                stream.write_all(&chunk)?;
                if round == FRAMES / 10_000 {
                    let _ = told.send("flooded".into());
                }
            }
            Ok(())
        });
        while let Ok((opcode, payload)) = exchange.ws_read() {
            if opcode == 1 && payload.starts_with(b"4") {
                let _ = sender.send(String::from_utf8_lossy(&payload).into_owned());
            }
        }
        exchange.close()?;
        exchange.stream()?.shutdown(std::net::Shutdown::Both)?;
        writer.join().unwrap()
    });
    (foe, receiver)
}

fn survives(what: &str, start: &'static [u8], frame: &'static [u8]) {
    let (foe, said) = flood(start, frame);
    let client = client();
    let watch = Watch::new(&client);
    costs_little(what, || {
        foe.connect(&client, WebSocket).unwrap();
        watch.connected();
        let next = || said.recv_timeout(common::PATIENCE * 2).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!(next(), "flooded");
        for word in ["one", "two", "three"] {
            client.send(word).unwrap();
            assert_eq!(next(), format!("4{word}"), "{what}");
        }
        let start = Instant::now();
        disconnects(&client);
        assert!(start.elapsed() < REQUEST_TIMEOUT + Duration::from_secs(3), "{what}: {:?}", start.elapsed());
    });
    assert_eq!(watch.disconnected(), Reason::ClientDisconnect);
    foe.forgives(&client, &watch, WebSocket);
}

#[test]
fn of_websocket_pings() {
    if !alone() {
        return;
    }
    survives("pings", b"", b"\x89\x00");
}

#[test]
fn of_websocket_pongs() {
    if !alone() {
        return;
    }
    survives("pongs", b"", b"\x8a\x00");
}

#[test]
fn of_empty_fragments() {
    if !alone() {
        return;
    }
    survives("fragments", b"\x02\x00", b"\x00\x00");
}

#[test]
fn of_packets_that_mean_nothing() {
    if !alone() {
        return;
    }
    survives("noops", b"", b"\x81\x016");
    survives("upgrades", b"", b"\x81\x015");
}

#[test]
fn of_pings_that_are_answered() {
    if !alone() {
        return;
    }
    survives("pings of Engine.IO", b"", b"\x81\x012");
}

/// A message that arrives in the same read as many control frames in front of it is delivered.
#[test]
fn a_message_behind_many_pings() {
    for count in [255, 256, 257, 300, 2000, 100_000] {
        let foe = Foe::by_websocket(move |exchange| {
            let pings = b"\x8a\x00".repeat(count);
            exchange.raw([&pings[..], b"\x81\x064after"].concat())?;
            exchange.hold()
        });
        let client = client();
        let watch = Watch::new(&client);
        foe.connect(&client, WebSocket).unwrap();
        watch.connected();
        assert_eq!(watch.message(), Message::from("after"), "{count}");
        abort(&client);
    }
}

/// A busy connection that ends without a close frame.
#[test]
fn the_end_behind_a_flood() {
    for pause in [false, true] {
        let foe = Foe::by_websocket(move |exchange| {
            exchange.raw(b"\x81\x024x".repeat(100_000))?;
            if pause {
                // The client answers when it has read everything.
                exchange.ws_read()?;
            }
            exchange.close()
        });
        let client = client();
        let watch = Watch::new(&client);
        let mut left = 100_000;
        client.on_message(move |client, _| {
            left -= 1;
            if left == 0 { client.send("read") } else { Ok(()) }
        });
        foe.connect(&client, WebSocket).unwrap();
        watch.connected();
        assert_eq!(watch.disconnected(), Reason::TransportError);
        foe.tamed.store(true, Ordering::SeqCst);
        foe.connect(&client, WebSocket).unwrap();
    }
}

/// The server sends pings and does not read the pongs.
#[test]
fn of_pings_whose_pongs_nobody_reads() {
    if !alone() {
        return;
    }
    let (sender, said) = mpsc::channel();
    let foe = Foe::by_websocket(move |exchange| {
        let ping = [b"2".as_slice(), &[b'x'; 9_999]].concat();
        for _ in 0..30_000 {
            exchange.ws_frame(0x81, &ping)?;
        }
        let _ = sender.send(());
        exchange.wait_closed()
    });
    unread(&foe, || said.recv_timeout(common::PATIENCE * 2).expect("the client reads"));
}

#[test]
fn of_websocket_pings_whose_pongs_nobody_reads() {
    if !alone() {
        return;
    }
    let (sender, flooded) = mpsc::channel();
    let foe = Foe::by_websocket(move |exchange| {
        let pings = [&[0x89, 125][..], &[7; 125]].concat().repeat(1000);
        // The pings are more than the client may keep pongs for, and they never end.
        for sent in (0..).step_by(pings.len()) {
            exchange.raw(&pings)?;
            if (ROOM..ROOM + pings.len()).contains(&sent) {
                let _ = sender.send(());
            }
        }
        Ok(())
    });
    unread(&foe, || flooded.recv_timeout(common::PATIENCE * 4).expect("the client reads"));
}

/// Checks that messages are accepted all the same.
fn unread(foe: &Foe, meanwhile: impl FnOnce()) {
    let client = client();
    let watch = Watch::new(&client);
    costs_little("pongs", || {
        foe.connect(&client, WebSocket).unwrap();
        meanwhile();
        for _ in 0..100 {
            let sender = client.clone();
            within(BOUND, "a message is taken", move || sender.send("hello")).unwrap();
        }
        disconnects(&client);
    });
    watch.connected();
    assert_eq!(watch.disconnected(), Reason::ClientDisconnect);
    foe.forgives(&client, &watch, WebSocket);
}

/// Disconnects in time. If the server does not read, some messages may be unsent.
fn disconnects(client: &Client) {
    let client = client.clone();
    let gone = within(BOUND, "disconnect", move || client.disconnect());
    assert!(matches!(gone, Ok(()) | Err(Error::Unsent { .. })), "{gone:?}");
}

/// Without an open packet there is no session, however busy the websocket is.
#[test]
fn before_the_open_packet() {
    for frames in [&b"\x02\x00"[..], b"\x89\x00", b"\x8a\x00"] {
        let foe = Foe::new(move |exchange| {
            exchange.accept_websocket()?;
            exchange.raw(frames)?;
            let rest = if frames[0] == 2 { b"\x00\x00" } else { <&[u8; 2]>::try_from(frames).unwrap() };
            let chunk = rest.repeat(10_000);
            loop {
                exchange.raw(&chunk)?;
            }
        });
        let start = Instant::now();
        refused("a flood", &foe, WebSocket, "timed out");
        assert!(start.elapsed() < BOUND);
    }
}
