//! Redirects by nginx: to TLS, and from one form of a path to the other.

use std::fs;

use engineio::{Client, ConnectOptions};

use super::certificates::Authority;
use super::{Kind, Nginx, Options, PASS, Server, WAYS, builder, by, carrier, visit};
use common::abort;

#[test]
#[ignore = "needs nginx and python3"]
fn from_http_to_https() {
    let server = Server::start(Kind::PythonAsgi, &Options::default());
    let authority = Authority::new();
    let identity = authority.identity(&["localhost"]);
    let nginx = Nginx::start(2, |ports, directory| {
        fs::write(directory.join("certificate"), identity.pem()).unwrap();
        fs::write(directory.join("key"), identity.key_pem()).unwrap();
        format!(
            "server {{ listen 127.0.0.1:{0}; return 301 https://$host:{1}$request_uri; }}\n\
             server {{ listen 127.0.0.1:{1} ssl; ssl_certificate {2}/certificate;\n\
             ssl_certificate_key {2}/key;\n\
             if ($http_x_key != key) {{ return 401; }}\n\
             location / {{ proxy_pass {3}; {PASS} }} }}",
            ports[0],
            ports[1],
            directory.display(),
            server.url()
        )
    });
    let client = builder().ca_certificate(authority.pem()).build().unwrap();
    for way in WAYS {
        let url = format!("http://localhost:{}", nginx.ports[0]);
        // The user's header goes along to the same host.
        client.connect_with(&url, by(way).header("X-Key", "key")).unwrap();
        assert_eq!(client.transport().unwrap(), carrier(way));
        client.send("hello").unwrap();
        client.disconnect().unwrap();
        let redirects = nginx.log().matches(&format!("{} GET 301", nginx.ports[0])).count();
        assert_eq!(redirects, 1 + WAYS.iter().position(|other| *other == way).unwrap());
    }
}

/// The first server knows the path without the slash only. The second one sends the path with the slash to
/// nginx's own redirect, from a directory without a slash.
#[test]
#[ignore = "needs nginx and python3"]
fn with_and_without_the_slash() {
    let server = Server::start(Kind::PythonThreading, &Options::default());
    let nginx = Nginx::start(2, |ports, _| {
        format!(
            "server {{ listen 127.0.0.1:{0}; location = /engine.io {{ proxy_pass {2}/engine.io/; {PASS} }}\n\
             location = /engine.io/ {{ rewrite ^ /engine.io permanent; }} }}\n\
             server {{ listen 127.0.0.1:{1};\n\
             location = /engine.io/ {{ return 301 /app$is_args$args; }}\n\
             location /app/ {{ proxy_pass {2}/engine.io/; {PASS} }} }}",
            ports[0],
            ports[1],
            server.url()
        )
    });
    for index in 0..2 {
        for way in WAYS {
            visit(&builder().build().unwrap(), &nginx.url(index), way);
        }
    }
}

/// A connection follows only at its beginning. One request a session is redirected, and no other.
#[test]
#[ignore = "needs nginx and python3"]
fn a_session_stays_where_it_was_led() {
    let server = Server::start(Kind::PythonThreading, &Options::default());
    let nginx = Nginx::start(1, |ports, _| {
        format!(
            "server {{ listen 127.0.0.1:{}; rewrite ^/socket/$ /engine.io/ permanent;\n\
             location /engine.io/ {{ proxy_pass {}; {PASS} }} }}",
            ports[0],
            server.url()
        )
    });
    for (index, way) in WAYS.iter().enumerate() {
        let client = Client::new();
        let options = ConnectOptions::new().transports(way.iter().copied()).path("socket");
        client.connect_with(nginx.url(0), options).unwrap();
        client.send("hello").unwrap();
        client.flush(super::PATIENCE).unwrap();
        abort(&client);
        assert_eq!(nginx.log().matches(" GET 301").count(), index + 1);
    }
}
