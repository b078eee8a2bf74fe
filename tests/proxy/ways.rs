//! Connections that work, as the proxy and the server see them.

use std::time::Duration;

use engineio::{Client, ConnectOptions, Error, Message, WebSocketOptions};

use crate::certificates::Authority;
use crate::server::{Asked, Kind, Proxy, address, tls_front, tls_front_for};
use crate::{Polling, WAYS, WebSocket, builder, carrier, only, try_visit, visit};
use common::real::Server;
use common::scripted::{OPEN, Scripted};
use common::{Watch, in_full};

#[test]
fn every_way_through_every_proxy() {
    let server = Server::start();
    for (kind, scheme) in [(Kind::Http, "http"), (Kind::Socks5, "socks5"), (Kind::Socks5, "socks5h")] {
        for way in WAYS {
            let proxy = Proxy::start(kind.clone());
            let client = builder().proxy(format!("{scheme}://127.0.0.1:{}", proxy.port)).build().unwrap();
            visit(&client, server.url(), way);
            let asked = proxy.asked();
            let is_expected =
                |asked: &Asked| asked.target == address(server.url()) && asked.credentials.is_none();
            assert!(!asked.is_empty() && asked.iter().all(is_expected), "{asked:?}");
            // A SOCKS proxy has tunnels only. An HTTP proxy forwards all but websockets.
            let is_tunnel = |asked: &&Asked| asked.tunnel;
            match (&kind, carrier(way)) {
                (Kind::Http, Polling) => assert_eq!(asked.iter().filter(is_tunnel).count(), 0),
                (Kind::Http, WebSocket) => assert_eq!(asked.iter().filter(is_tunnel).count(), 1),
                _ => assert_eq!(asked.iter().filter(is_tunnel).count(), asked.len()),
            }
            // The server gets requests in the form for servers, not in the form for proxies.
            let sent = proxy.sent();
            assert!(sent.starts_with("GET /engine.io/?"), "{sent}");
            assert_eq!(
                sent.contains("Upgrade: websocket") || sent.contains("upgrade: websocket"),
                carrier(way) == WebSocket,
                "{sent}"
            );
        }
    }
}

/// The address is the proxy's. The proxy resolves the names of servers by itself.
#[test]
fn a_proxy_at_an_address_of_the_option() {
    let server = Server::start();
    let proxy = Proxy::start(Kind::Http);
    let client = builder()
        .proxy(format!("http://proxy.invalid:{}", proxy.port))
        .resolve("proxy.invalid", proxy.port, [127, 0, 0, 1])
        .local_address([127, 0, 0, 1])
        .build()
        .unwrap();
    for way in WAYS {
        visit(&client, server.url(), way);
    }
    assert!(!proxy.asked().is_empty());
}

#[test]
fn ws_urls_go_through_it_too() {
    let server = Server::start();
    let proxy = Proxy::start(Kind::Http);
    let client = builder().proxy(format!("127.0.0.1:{}", proxy.port)).build().unwrap();
    visit(&client, &server.url().replace("http:", "ws:"), &[WebSocket]);
    assert_eq!(proxy.asked().len(), 1);
}

#[test]
fn tls_in_a_tunnel() {
    let server = Server::start();
    let authority = Authority::new();
    let port = tls_front(&authority.identity(&["localhost"]), address(server.url()).into());
    for (kind, scheme) in [(Kind::Http, "http"), (Kind::Socks5, "socks5")] {
        let proxy = Proxy::start(kind);
        let client = builder().ca_certificate(authority.pem());
        let client = client.proxy(format!("{scheme}://127.0.0.1:{}", proxy.port)).build().unwrap();
        for way in WAYS {
            visit(&client, &format!("https://localhost:{port}"), way);
        }
        assert!(proxy.asked().iter().all(|asked| asked.target == format!("localhost:{port}")));
        assert!(!proxy.sent().contains("engine.io"), "the proxy can read it");
    }
}

#[test]
fn tls_to_the_proxy() {
    let server = Server::start();
    let authority = Authority::new();
    let identity = authority.identity(&["localhost"]);
    let secure = tls_front(&identity, address(server.url()).into());
    let proxy = Proxy::start(Kind::Http);
    let front = tls_front(&identity, format!("127.0.0.1:{}", proxy.port));
    let client = builder().ca_certificate(authority.pem()).proxy_ca_certificate(authority.pem());
    let client = client.proxy(format!("https://localhost:{front}")).build().unwrap();
    for url in [server.url(), &format!("https://localhost:{secure}")] {
        for way in WAYS {
            visit(&client, url, way);
        }
    }
    // A lot of data in both directions makes TLS in TLS meet full buffers.
    let watch = Watch::new(&client);
    client.connect_with(format!("https://localhost:{secure}"), only(WebSocket)).unwrap();
    watch.connected();
    let sender = client.clone();
    let count = 200;
    let big = |index: usize| Message::from(vec![index as u8; 50_000]);
    let sending = std::thread::spawn(move || (0..count).for_each(|index| sender.send(big(index)).unwrap()));
    for index in 0..count {
        assert_eq!(watch.message(), big(index));
    }
    sending.join().unwrap();
    client.disconnect().unwrap();
}

#[test]
fn a_proxy_is_not_trusted_as_the_server_is() {
    let server = Server::start();
    let authority = Authority::new();
    let identity = authority.identity(&["localhost"]);
    let proxy = Proxy::start(Kind::Http);
    let front = tls_front(&identity, format!("127.0.0.1:{}", proxy.port));
    let agent = ureq::Agent::config_builder()
        .proxy(None)
        .tls_config(ureq::tls::TlsConfig::builder().disable_verification(true).build());
    for untrusting in [
        builder(),
        builder().ssl_verify(false),
        builder().ca_certificate(authority.pem()),
        builder().http_agent(agent.build().into()),
    ] {
        let client = untrusting.proxy(format!("https://localhost:{front}")).build().unwrap();
        let error = client.connect(server.url()).unwrap_err();
        assert!(
            error.to_string().contains(&format!("cannot connect to the proxy localhost:{front}")),
            "{error}"
        );
    }
    // What holds for the proxy does not hold for the server.
    let secure = tls_front(&identity, address(server.url()).into());
    let client = builder().proxy_ca_certificate(authority.pem());
    let client = client.proxy(format!("https://localhost:{front}")).build().unwrap();
    visit(&client, server.url(), &[Polling]);
    let error = client.connect(format!("https://localhost:{secure}")).unwrap_err();
    assert!(error.to_string().contains("is not signed by a known authority"), "{error}");
    let error = builder().proxy_ca_certificate("no certificate").build().unwrap_err();
    assert!(matches!(error, Error::InvalidOption { option: "proxy_ca_certificate", .. }), "{error:?}");
}

#[test]
fn a_proxy_is_not_shown_the_client_certificate() {
    let server = Server::start();
    let authority = Authority::new();
    let identity = authority.identity(&["localhost"]);
    let secure = tls_front_for(&authority, &identity, address(server.url()).into());
    let proxy = Proxy::start(Kind::Http);
    let behind = format!("127.0.0.1:{}", proxy.port);
    let (asking, open) = (tls_front_for(&authority, &identity, behind.clone()), tls_front(&identity, behind));
    let connect = |front: u16| {
        let client = builder().ca_certificate(authority.pem()).proxy_ca_certificate(authority.pem());
        let client = client.client_certificate(identity.pem(), identity.key_pem());
        let client = client.proxy(format!("https://localhost:{front}")).build().unwrap();
        try_visit(&client, &format!("https://localhost:{secure}"), &[Polling])
    };
    // The server gets the certificate through the proxy, and the proxy that asks for it gets none.
    connect(open).unwrap();
    let error = connect(asking).unwrap_err();
    assert!(in_full(&error).contains(&format!("the proxy localhost:{asking}")), "{}", in_full(&error));
}

#[test]
fn names_are_for_the_proxy_to_resolve() {
    let server = Server::start();
    for (kind, scheme) in [(Kind::Http, "http"), (Kind::Socks5, "socks5")] {
        let proxy = Proxy::resolving(kind, server.url());
        let client = builder().proxy(format!("{scheme}://127.0.0.1:{}", proxy.port)).build().unwrap();
        for way in WAYS {
            visit(&client, "http://only.the.proxy.invalid", way);
        }
        assert!(proxy.asked().iter().all(|asked| asked.target == "only.the.proxy.invalid:80"));
    }
}

/// A server that records its requests and answers the handshake.
fn recorder() -> Scripted {
    Scripted::start(|exchange| {
        if exchange.request.is_websocket() {
            exchange.open_websocket(OPEN)?;
            while exchange.ws_read_text()? != "1" {}
            Ok(())
        } else if exchange.request.is_poll() {
            exchange.wait_closed()
        } else {
            exchange.answer(OPEN)
        }
    })
}

fn connect_and_leave(client: &Client, url: &str, options: ConnectOptions) {
    client.connect_with(url, options).unwrap();
    client.send("hello").unwrap();
    client.disconnect().unwrap();
}

fn assert_hidden_from_the_server(server: &Scripted) {
    let requests = server.requests();
    assert!(!requests.is_empty());
    for request in requests {
        assert!(request.header("Proxy-Authorization").is_empty(), "{request:?}");
        assert!(request.header("Authorization").is_empty(), "{request:?}");
    }
}

#[test]
fn credentials_are_for_the_proxy_alone() {
    for (kind, scheme, expected) in
        [(Kind::Http, "http", "Basic dXNlcjpwQHNz"), (Kind::Socks5, "socks5", "user:p@ss")]
    {
        let server = recorder();
        let proxy = Proxy::with_credentials(kind, expected);
        let url = format!("{scheme}://user:p%40ss@127.0.0.1:{}", proxy.port);
        let client = builder().proxy(url).build().unwrap();
        for transport in [Polling, WebSocket] {
            connect_and_leave(&client, server.url(), only(transport));
        }
        let is_expected = |asked: &Asked| {
            asked.target == address(server.url()) && asked.credentials.as_deref() == Some(expected)
        };
        assert!(proxy.asked().iter().all(is_expected), "{:?}", proxy.asked());
        assert_hidden_from_the_server(&server);
    }
}

#[test]
fn a_header_of_the_user_for_the_proxy() {
    let server = recorder();
    let proxy = Proxy::with_credentials(Kind::Http, "Bearer token");
    let through = builder().proxy(format!("http://user:other@127.0.0.1:{}", proxy.port)).build().unwrap();
    let direct = builder().no_proxy().build().unwrap();
    for client in [&through, &direct] {
        for transport in [Polling, WebSocket] {
            let options = only(transport).header("Proxy-Authorization", "Bearer token");
            connect_and_leave(client, server.url(), options);
        }
    }
    assert!(proxy.asked().len() >= 2);
    assert_hidden_from_the_server(&server);
    let options = WebSocketOptions::new().header("Proxy-Authorization", "Bearer token");
    let error = builder().websocket_options(options).build().unwrap_err();
    assert!(matches!(error, Error::InvalidOption { option: "websocket_options", .. }), "{error:?}");
}

#[test]
fn the_proxy_of_an_agent() {
    let server = Server::start();
    let proxy = Proxy::start(Kind::Http);
    let of_agent = ureq::Proxy::new(&format!("http://127.0.0.1:{}", proxy.port)).unwrap();
    let agent: ureq::Agent = ureq::Agent::config_builder().proxy(Some(of_agent)).build().into();
    let client = builder().http_agent(agent.clone()).build().unwrap();
    for way in WAYS {
        visit(&client, server.url(), way);
    }
    let asked = proxy.asked().len();
    assert!(asked >= 3, "{asked}");
    let client = builder().http_agent(agent).no_proxy().build().unwrap();
    visit(&client, server.url(), &[Polling, WebSocket]);
    assert_eq!(proxy.asked().len(), asked);
}

#[test]
fn disconnect_ends_the_wait_for_a_proxy() {
    let proxy = Proxy::start(Kind::Silent);
    let client = builder().proxy(format!("http://127.0.0.1:{}", proxy.port)).build().unwrap();
    let other = client.clone();
    let connecting = std::thread::spawn(move || other.connect("http://127.0.0.1:9"));
    common::eventually("connecting", || client.state() == engineio::State::Connecting);
    common::within(Duration::from_secs(10), "disconnect", move || client.disconnect().unwrap());
    let error = connecting.join().unwrap().unwrap_err();
    assert!(error.to_string().contains("ended by `disconnect` or Ctrl-C"), "{error}");
}
