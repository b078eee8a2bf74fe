//! What TLS says of the end of a body, what a redirect takes to another host, and what arrives at a server
//! that sends without reading.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use engineio::{Error, Reason, TransportKind};
use tokio_rustls::rustls::{ServerConnection, StreamOwned};
use tungstenite::handshake::derive_accept_key;

use crate::certificates::Authority;
use crate::server::{Server, Setup};
use crate::{PATIENCE, builder, by, in_full};
use common::{Watch, abort};

pub(crate) type Tls = StreamOwned<ServerConnection, TcpStream>;

const OPEN: &str = r#"0{"sid":"abc","upgrades":[],"pingInterval":25000,"pingTimeout":20000}"#;

/// Starts a TLS server that runs `script` for each connection, with its number, and returns its port.
pub(crate) fn scripted(
    setup: &Setup<'_>,
    script: impl Fn(usize, &mut Tls) -> std::io::Result<()> + Send + Sync + 'static,
) -> u16 {
    let (config, script) = (setup.config(), Arc::new(script));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for (number, tcp) in listener.incoming().map_while(Result::ok).enumerate() {
            let (config, script) = (config.clone(), script.clone());
            thread::spawn(move || {
                tcp.set_read_timeout(Some(PATIENCE))?;
                let mut tls = StreamOwned::new(ServerConnection::new(config).unwrap(), tcp);
                script(number, &mut tls)
            });
        }
    });
    port
}

/// Reads the head of a request.
pub(crate) fn head(tls: &mut Tls) -> std::io::Result<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        tls.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

#[test]
fn the_end_of_tcp_is_not_the_end_of_a_body() {
    let authority = Authority::new();
    let identity = authority.identity(&["127.0.0.1"]);
    for clean in [true, false] {
        let port = scripted(&Setup::new(&identity), move |number, tls| {
            if number == 1 {
                head(tls)?;
                return tls.read(&mut [0]).map(drop);
            }
            head(tls)?;
            write!(tls, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{OPEN}", OPEN.len())?;
            head(tls)?;
            write!(tls, "HTTP/1.1 200 OK\r\n\r\n4pay 10")?;
            if clean {
                tls.conn.send_close_notify();
            }
            tls.flush()
        });
        let client = builder().ca_certificate(authority.pem()).build().unwrap();
        let watch = Watch::new(&client);
        client.connect_with(format!("https://127.0.0.1:{port}"), by(&[TransportKind::Polling])).unwrap();
        watch.connected();
        if clean {
            assert_eq!(watch.message().as_text(), Some("pay 10"));
            abort(&client);
        } else {
            assert_eq!(watch.disconnected(), Reason::TransportError);
            client.wait();
            let error = client.last_error().unwrap();
            assert!(matches!(&*error, Error::Connection { .. }), "{}", in_full(&error));
        }
    }
}

/// The other server asks for a certificate, and gets none.
#[test]
fn a_client_certificate_does_not_follow_a_redirect() {
    let authority = Authority::new();
    let identity = authority.identity(&["127.0.0.1", "localhost"]);
    let own = authority.identity(&["a client"]);
    let trusting = || builder().ca_certificate(authority.pem()).client_certificate(own.pem(), own.key_pem());
    for (to_other, followed) in [(true, false), (false, true)] {
        let asking = Server::start(&Setup { clients: Some(&authority), ..Setup::new(&identity) });
        let host = if to_other { "127.0.0.1" } else { "localhost" };
        let target = format!("Location: {}/engine.io/?EIO=4&transport=polling", asking.url(host));
        let answer = format!("HTTP/1.1 307 Moved\r\n{target}\r\nContent-Length: 0\r\n\r\n");
        let from = if to_other {
            // The first server has another port, and so another origin.
            let port = scripted(&Setup::new(&identity), move |_, tls| {
                head(tls)?;
                tls.write_all(answer.as_bytes())
            });
            format!("https://localhost:{port}")
        } else {
            // From http to https on the same host everything follows.
            let listener = TcpListener::bind("localhost:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            thread::spawn(move || {
                for mut tcp in listener.incoming().map_while(Result::ok) {
                    let _ = tcp.read(&mut [0; 4096]);
                    let _ = tcp.write_all(answer.as_bytes());
                }
            });
            format!("http://localhost:{port}")
        };
        let client = trusting().build().unwrap();
        let connected = client.connect_with(from, by(&[TransportKind::Polling]));
        assert_eq!(connected.is_ok(), followed, "{connected:?}");
        if let Err(error) = connected {
            assert!(error.to_string().contains("requires a client certificate"), "{}", in_full(&error));
        }
        abort(&client);
    }
}

/// Reads the client's next frame, and returns its opcode and the length of its payload.
fn frame(tls: &mut Tls) -> std::io::Result<(u8, usize)> {
    let mut start = [0; 2];
    tls.read_exact(&mut start)?;
    let mut length = match start[1] & 0x7f {
        126 => vec![0; 2],
        127 => vec![0; 8],
        short => vec![short],
    };
    if length.len() > 1 {
        tls.read_exact(&mut length)?;
    }
    let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    tls.read_exact(&mut vec![0; 4 + length])?;
    Ok((start[0] & 0x0f, length))
}

/// The server sends for two seconds before it reads.
#[test]
fn what_is_sent_to_a_flooding_server_arrives() {
    const SIZE: usize = 100_000;
    let authority = Authority::new();
    let identity = authority.identity(&["127.0.0.1"]);
    let (sender, arrived) = channel();
    let port = scripted(&Setup::new(&identity), move |_, tls| {
        let head = head(tls)?;
        let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).expect("a key");
        write!(
            tls,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            derive_accept_key(key.as_bytes())
        )?;
        tls.write_all(&[&[0x81, OPEN.len() as u8][..], OPEN.as_bytes()].concat())?;
        frame(tls)?;
        let (start, flood) = (Instant::now(), b"\x81\x064flood".repeat(1000));
        while start.elapsed() < Duration::from_secs(2) {
            tls.write_all(&flood)?;
        }
        let mut count = 0;
        while let Ok((opcode, length)) = frame(tls) {
            count += usize::from(length == SIZE);
            if opcode == 8 {
                break;
            }
        }
        sender.send(count).map_err(std::io::Error::other)?;
        tls.write_all(b"\x88\x00")
    });
    let client = builder().ca_certificate(authority.pem()).build().unwrap();
    client.connect_with(format!("https://127.0.0.1:{port}"), by(&[TransportKind::WebSocket])).unwrap();
    client.send("go").unwrap();
    for _ in 0..20 {
        client.send(vec![7; SIZE]).unwrap();
    }
    client.flush(PATIENCE).unwrap();
    client.disconnect().unwrap();
    assert_eq!(arrived.recv_timeout(PATIENCE).unwrap(), 20);
}
