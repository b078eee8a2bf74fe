//! Connections that pass through nginx.

use std::fs;

use common::{Lines, eventually};
use engineio::Error;

use super::certificates::Authority;
use super::{Kind, Nginx, Options, PASS, Polling, Server, WAYS, WebSocket, builder, by, visit};

/// A client behind nginx with each of these settings: buffers, connections that are kept alive, encodings.
fn visits_behind(kind: Kind) {
    const SETTINGS: [&str; 4] = [
        "proxy_buffering on; keepalive_timeout 65;",
        "proxy_buffering off; keepalive_timeout 65;",
        "proxy_buffering on; keepalive_timeout 0;",
        "proxy_buffering off; keepalive_timeout 0; proxy_request_buffering off;",
    ];
    let server = Server::start(kind, &Options { max_payload: 4 << 20, ..Options::default() });
    let nginx = Nginx::start(SETTINGS.len(), |ports, _| {
        let server = |(port, settings): (&u16, &str)| {
            format!(
                "server {{ listen 127.0.0.1:{port}; {settings} client_max_body_size 4m;\n\
                 gzip on; gzip_min_length 1; gzip_types *; gzip_proxied any;\n\
                 location /engine.io/ {{ proxy_pass {}; {PASS} }} }}\n",
                server.url()
            )
        };
        ports.iter().zip(SETTINGS).map(server).collect()
    });
    for index in 0..SETTINGS.len() {
        for way in WAYS {
            visit(&builder().build().unwrap(), &nginx.url(index), way);
        }
        let is_encoded = format!("{} GET 200 gzip.", nginx.ports[index]);
        eventually("polls are answered with gzip", || nginx.log().contains(&is_encoded));
        let is_upgraded = format!("{} GET 101 -.", nginx.ports[index]);
        eventually("websockets pass", || nginx.log().contains(&is_upgraded));
    }
}

#[test]
#[ignore = "needs nginx and python3"]
fn in_front_of_threads() {
    visits_behind(Kind::PythonThreading);
}

#[test]
#[ignore = "needs nginx and python3"]
fn in_front_of_asyncio() {
    visits_behind(Kind::PythonAsgi);
}

/// nginx passes no `Upgrade` on unless it is told to.
#[test]
#[ignore = "needs nginx and python3"]
fn no_websocket_passes_without_its_headers() {
    let server = Server::start(Kind::PythonAsgi, &Options::default());
    let nginx = Nginx::start(1, |ports, _| {
        format!("server {{ listen 127.0.0.1:{}; location / {{ proxy_pass {}; }} }}", ports[0], server.url())
    });
    let lines = Lines::default();
    let client = builder().logger(lines.clone()).build().unwrap();
    client.connect_with(nginx.url(0), by(&[Polling, WebSocket])).unwrap();
    assert_eq!(client.transport().unwrap(), Polling);
    client.disconnect().unwrap();
    let told = lines.at(log::Level::Warn).concat();
    assert!(told.contains("staying on polling"), "{told}");
    let error = client.connect_with(nginx.url(0), by(&[WebSocket])).unwrap_err();
    assert!(matches!(error, Error::Connection { status: Some(400 | 404), .. }), "{error:?}");
}

#[test]
#[ignore = "needs nginx and python3"]
fn tls_ends_at_nginx() {
    let server = Server::start(Kind::PythonAsgi, &Options::default());
    let authority = Authority::new();
    let identity = authority.identity(&["localhost"]);
    let nginx = Nginx::start(1, |ports, directory| {
        fs::write(directory.join("certificate"), identity.pem()).unwrap();
        fs::write(directory.join("key"), identity.key_pem()).unwrap();
        format!(
            "server {{ listen 127.0.0.1:{} ssl; ssl_certificate {1}/certificate;\n\
             ssl_certificate_key {1}/key;\n\
             location / {{ proxy_pass {2}; {PASS} }} }}",
            ports[0],
            directory.display(),
            server.url()
        )
    });
    for scheme in ["https", "wss"] {
        let client = builder().ca_certificate(authority.pem()).build().unwrap();
        for way in WAYS {
            visit(&client, &format!("{scheme}://localhost:{}", nginx.ports[0]), way);
        }
    }
}
