//! What nginx answers by itself, and what the client makes of it.

use std::fs;
use std::net::TcpListener;

use engineio::{Client, Error, Reason};

use super::certificates::Authority;
use super::{Kind, Nginx, Options, PASS, Polling, Server, WAYS, WebSocket, by, carrier};
use common::connected;

/// The status and the text of the error.
fn refused(error: &Error) -> (Option<u16>, String) {
    let Error::Connection { status, .. } = error else { panic!("{error:?}") };
    (*status, error.to_string())
}

#[test]
#[ignore = "needs nginx"]
fn http_at_the_port_for_https() {
    let identity = Authority::new().identity(&["localhost"]);
    let nginx = Nginx::start(1, |ports, directory| {
        fs::write(directory.join("certificate"), identity.pem()).unwrap();
        fs::write(directory.join("key"), identity.key_pem()).unwrap();
        format!(
            "server {{ listen 127.0.0.1:{} ssl; ssl_certificate {1}/certificate;\n\
             ssl_certificate_key {1}/key; }}",
            ports[0],
            directory.display()
        )
    });
    for way in WAYS {
        let error = Client::new().connect_with(nginx.url(0), by(way)).unwrap_err();
        let (status, text) = refused(&error);
        assert_eq!(status, Some(400));
        assert!(text.contains("The plain HTTP request was sent to HTTPS port"), "{text}");
    }
}

/// The default of `proxy_read_timeout` is 60 s, and the servers' ping interval 25 s.
#[test]
#[ignore = "needs nginx and python3"]
fn a_read_timeout_that_is_shorter_than_the_ping_interval() {
    let server = Server::start(Kind::PythonAsgi, &Options::default());
    let nginx = Nginx::start(1, |ports, _| {
        format!(
            "server {{ listen 127.0.0.1:{}; location / {{ proxy_pass {}; {PASS}\n\
             proxy_read_timeout 1s; }} }}",
            ports[0],
            server.url()
        )
    });
    for way in WAYS {
        let (client, watch) = connected(&nginx.url(0), by(way));
        assert_eq!(watch.disconnected(), Reason::TransportError, "{way:?}");
        client.wait();
        let error = client.last_error().unwrap();
        let (status, text) = refused(&error);
        if carrier(way) == Polling {
            assert_eq!(status, Some(504));
            assert!(text.contains("\"504 Gateway Time-out"), "{text}");
        } else {
            // It closes the connection, without a close frame.
            assert_eq!(status, None);
            assert!(text.contains("without a close frame"), "{text}");
        }
    }
}

#[test]
#[ignore = "needs nginx and python3"]
fn a_post_that_is_too_large_for_nginx() {
    let server = Server::start(Kind::PythonAsgi, &Options::default());
    let nginx = Nginx::start(1, |ports, _| {
        format!(
            "server {{ listen 127.0.0.1:{}; client_max_body_size 1k;\n\
             location / {{ proxy_pass {}; {PASS} }} }}",
            ports[0],
            server.url()
        )
    });
    // nginx closes the connection, and may do so before it has read all of a large body.
    for size in [2_000, 900_000] {
        let (client, watch) = connected(&nginx.url(0), by(&[Polling]));
        client.send("x".repeat(size)).unwrap();
        assert_eq!(watch.disconnected(), Reason::TransportError);
        client.wait();
        let error = client.last_error().unwrap();
        let (status, text) = refused(&error);
        assert_eq!(status, Some(413), "{size}: {text}");
        assert!(text.contains("\"413 Request Entity Too Large"), "{size}: {text}");
        assert_eq!(client.stats().unsent, 1);
        // A websocket has no such limit.
        let (client, watch) = connected(&nginx.url(0), by(&[WebSocket]));
        client.send("x".repeat(size)).unwrap();
        assert_eq!(watch.message().as_text().map(str::len), Some(size));
        client.disconnect().unwrap();
    }
}

#[test]
#[ignore = "needs nginx and python3"]
fn nobody_behind_nginx() {
    // The port was free a moment ago.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Server::start(Kind::PythonAsgi, &Options::default());
    let nginx = Nginx::start(2, |ports, _| {
        let behind = |port: u16, url: &str| {
            format!("server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {url}; {PASS} }} }}\n")
        };
        behind(ports[0], &format!("http://{nobody}")) + &behind(ports[1], &server.url())
    });
    for way in WAYS {
        let error = Client::new().connect_with(nginx.url(0), by(way)).unwrap_err();
        let (status, text) = refused(&error);
        assert_eq!(status, Some(502));
        assert!(text.contains("\"502 Bad Gateway"), "{text}");
    }
    // A server that ends in the midst of a session.
    let sessions = WAYS.map(|way| (way, connected(&nginx.url(1), by(way))));
    drop(server);
    for (way, (client, watch)) in sessions {
        assert_eq!(watch.disconnected(), Reason::TransportError, "{way:?}");
        client.wait();
        let error = client.last_error().unwrap();
        let (status, text) = refused(&error);
        match carrier(way) {
            Polling => assert!(status == Some(502) && text.contains("\"502 Bad Gateway"), "{text}"),
            _ => assert_eq!(status, None, "{text}"),
        }
    }
}
