//! The behaviours that the unit tests of python-engineio's client check (`tests/common/test_client.py` of 4.15, 92 tests),
//! by the names of those tests.
//!
//! Checked in another file, as they need what is there:
//!
//! | Python's test | here |
//! |---|---|
//! | `test_websocket_connection_with_cert`, `test_websocket_connection_with_cert_and_key`, `test_websocket_connection_verify_with_cert_and_key` | `tests/tls/trust.rs`, `tests/tls/agent.rs` |
//! | `test_websocket_connection_with_verify` | `tests/tls/trust.rs` |
//! | `test_websocket_connection_with_proxies` | `tests/proxy/` |
//! | `test_signal_handler` | `tests/sigint.rs` |
//! | `test_engineio_url` | unit tests of `src/protocol/endpoint.rs`, and `the_url` here |
//! | `test_read_loop_websocket_timeout` | `tests/heartbeat.rs`, and `silence` here |
//!
//! They do not apply:
//!
//! | Python's test | why |
//! |---|---|
//! | `test_is_asyncio_based` | there is no other kind of client |
//! | `test_some_invalid_transports` | transports are typed: a name that does not exist does not compile (`test_invalid_transports` is left of it) |
//! | `test_write_loop_empty_queue`, `test_write_loop_no_packets`, `test_write_loop_disconnected`, `test_read_loop_polling_disconnected`, `test_read_loop_websocket_disconnected` | the loops' own states, which are not to be seen from outside |
//! | `test_trigger_legacy_disconnect_event` | a handler without a reason is a closure that ignores it |
//! | `test_websocket_connection_extra` | options for another library; ours are in `tests/http/headers.rs` |

mod common;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::real::{Event, Options, Server};
use common::scripted::{Exchange, OPEN, OPEN_UPGRADE, Request, Scripted, open_with};
use common::{Lines, PATIENCE, Seen, Watch, abort, connected, only};
use engineio::{Client, ConnectOptions, Disconnect, Error, Message, Reason, State, TransportKind};
use serde_json::json;

use TransportKind::{Polling, WebSocket};

const BOTH: [TransportKind; 2] = [Polling, WebSocket];

/// How a session ends that the script leads.
fn ends(server: &Scripted, transport: TransportKind) -> (Reason, Option<Arc<Error>>) {
    let (client, watch) = connected(server.url(), only(transport));
    let reason = loop {
        match watch.next() {
            Seen::Disconnect(reason) => break reason,
            Seen::Message(_) => {}
            Seen::Connect => panic!("connected twice"),
        }
    };
    client.wait();
    (reason, client.last_error())
}

fn refused(
    answer: impl Fn(&mut Exchange) -> io::Result<()> + Send + Sync + 'static,
    by: TransportKind,
) -> Error {
    let server = Scripted::start(answer);
    let client = Client::new();
    let error = client.connect_with(server.url(), only(by)).unwrap_err();
    assert_eq!(client.state(), State::Disconnected);
    error
}

/// `test_create`, `test_on_event`, `test_current_transport`, `test_disconnect_not_connected`, `test_wait_no_task`,
/// `test_send_packet_disconnected`
#[test]
fn a_client_at_rest() {
    let client = Client::new();
    assert_eq!((client.state(), client.sid()), (State::Disconnected, None));
    assert!(matches!(client.transport(), Err(Error::NotConnected)));
    client.on_connect(|_| {});
    client.on("message", |_, _| {}).unwrap();
    client.disconnect().unwrap();
    client.wait();
    assert!(matches!(client.send("x"), Err(Error::SocketIsClosed)));
}

/// `test_custom_json`, `test_custom_timeout`, `test_timestamp_requests`
#[test]
fn options() {
    assert!(Client::builder().request_timeout(Duration::from_secs(27)).build().is_ok());
    assert!(Client::builder().request_timeout(Duration::ZERO).build().is_err());
    for stamps in [true, false] {
        let server = Scripted::polling(|exchange| exchange.wait_closed());
        let client = Client::builder().timestamp_requests(stamps).build().unwrap();
        client.connect_with(server.url(), only(Polling)).unwrap();
        client.disconnect().unwrap();
        assert!(server.requests().iter().all(|request| request.query.contains_key("t") == stamps));
    }
    // Python's client decodes by default; ours on request.
    let server = Scripted::websocket(|exchange| {
        exchange.ws_text(r#"4{"a":1}"#)?;
        exchange.ws_text("1")
    });
    let client = Client::builder().decode_json(true).build().unwrap();
    let watch = Watch::new(&client);
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    watch.connected();
    assert_eq!(watch.message(), Message::Json(json!({"a": 1})));
}

/// `test_logger`, `test_trigger_event_error`, `test_trigger_event`
#[test]
fn failures_of_handlers_are_logged() {
    let server = Server::start();
    let lines = Lines::default();
    let client = Client::builder().logger(lines.clone()).log_errors_only().build().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    client.on_message(move |_, message| {
        tell.send(message.to_string()).unwrap();
        Err("no luck")
    });
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    for _ in 0..2 {
        client.send("x").unwrap();
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "x", "the connection goes on");
    }
    client.disconnect().unwrap();
    assert_eq!(lines.at(log::Level::Error), ["the message handler failed: no luck"; 2]);
    assert!(lines.at(log::Level::Info).is_empty());
}

/// `test_on_event_invalid`, `test_trigger_unknown_event`
#[test]
fn an_event_that_does_not_exist() {
    assert!(matches!(Client::new().on("invalid", |_, _| {}), Err(Error::InvalidEvent { .. })));
    // An event without a handler is no error.
    let server = Server::start();
    let client = Client::new();
    client.connect_with(server.url(), only(WebSocket)).unwrap();
    client.send("nobody listens").unwrap();
    assert_eq!(server.next(), Event::Connect);
    assert_eq!(server.next(), Event::Text("nobody listens".into()));
    client.disconnect().unwrap();
}

/// `test_already_connected`, `test_invalid_transports`
#[test]
fn connects_that_make_no_sense() {
    let server = Server::start();
    let client = Client::new();
    let none = ConnectOptions::new().transports([]);
    assert!(matches!(client.connect_with(server.url(), none), Err(Error::InvalidOption { .. })));
    client.connect(server.url()).unwrap();
    assert!(matches!(client.connect(server.url()), Err(Error::AlreadyConnected)));
    client.disconnect().unwrap();
}

/// `test_connect_polling`, `test_connect_websocket`, `test_connect_query_string`, `test_connect_custom_headers`,
/// `test_engineio_url`
#[test]
fn the_url() {
    for (scheme, transport) in [("http", Polling), ("ws", Polling), ("http", WebSocket), ("ws", WebSocket)] {
        let server = Server::start();
        let scripted = Scripted::start(|exchange| exchange.respond("404 Not Found", ""));
        let client = Client::new();
        client.connect_with(server.url().replace("http", scheme), only(transport)).unwrap();
        assert_eq!(client.transport().unwrap(), transport);
        client.disconnect().unwrap();
        let options = only(transport).header("X-Foo", "bar").path("/some/path/");
        let url = scripted.url().replace("http", scheme) + "/ignored?foo=b%20r";
        client.connect_with(url, options).unwrap_err();
        let request: Request = scripted.requests().remove(0);
        assert_eq!(request.path, "/some/path/");
        let query = |name: &str| request.query.get(name).map(String::as_str);
        assert_eq!(query("foo").map(|value| value.replace('+', "%20")), Some("b%20r".into()));
        assert_eq!((query("transport"), query("EIO")), (Some(transport.as_str()), Some("4")));
        assert_eq!(request.header("x-foo"), ["bar"]);
        assert_eq!(request.is_websocket(), transport == WebSocket);
    }
}

/// `test_wait`, `test_send`, `test_receive_message_packet`, `test_current_transport`, `test_send_packet`,
/// `test_write_loop_websocket_one_packet`, `test_write_loop_websocket_one_packet_binary`,
/// `test_write_loop_polling_one_packet`, `test_read_loop_polling`, `test_read_loop_websocket`
#[test]
fn messages_of_each_kind() {
    for transport in BOTH {
        let server = Server::start();
        let (client, watch) = connected(server.url(), only(transport));
        for message in [Message::from("foo"), Bytes::from_static(b"foo").into(), "".into()] {
            client.send(message.clone()).unwrap();
            assert_eq!(watch.message(), message);
        }
        client.send(json!({"foo": "bar"})).unwrap();
        assert_eq!(watch.message(), Message::from(r#"{"foo":"bar"}"#));
        client.send(json!([1, 2])).unwrap();
        assert_eq!(watch.message(), Message::from("[1,2]"));
        assert!(!client.wait_timeout(Duration::ZERO));
        client.disconnect().unwrap();
        client.wait();
    }
}

/// `test_disconnect_polling`, `test_disconnect_websocket`, `test_disconnect_polling_abort`, `test_disconnect_websocket_abort`
#[test]
fn disconnects() {
    for transport in BOTH {
        for abort in [false, true] {
            let server = Server::start();
            let (client, watch) = connected(server.url(), only(transport));
            client.disconnect_with(Disconnect::new().abort(abort)).unwrap();
            assert_eq!(watch.disconnected(), Reason::ClientDisconnect);
            client.wait();
            assert_eq!((client.state(), client.sid()), (State::Disconnected, None));
            watch.nothing_more();
        }
    }
}

/// `test_background_tasks`, `test_sleep`, `test_create_queue`, `test_create_event`
#[test]
fn helpers() {
    let client = Client::new();
    let (queue, event) = (client.create_queue(0), client.create_event());
    let task = client.start_background_task({
        let (client, queue, event) = (client.clone(), queue.clone(), event.clone());
        move || {
            client.sleep(Duration::from_millis(1));
            queue.put("foo");
            event.set();
            "bar"
        }
    });
    assert!(event.wait_timeout(PATIENCE));
    assert_eq!(queue.get_timeout(PATIENCE), Ok("foo"));
    assert_eq!(queue.get_nowait(), Err(engineio::QueueEmpty));
    assert_eq!(task.join().unwrap(), "bar");
}

/// `test_polling_connection_failed`, `test_websocket_connection_failed`
#[test]
fn nobody_is_there() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for transport in BOTH {
        let error =
            Client::new().connect_with(format!("http://127.0.0.1:{port}"), only(transport)).unwrap_err();
        assert!(matches!(error, Error::Connection { status: None, .. }), "{error:?}");
    }
}

/// `test_polling_connection_404`, `test_polling_connection_404_no_json`,
/// `test_websocket_connection_failed_with_websocket_error`
#[test]
fn a_status_and_its_body() {
    for transport in BOTH {
        for (text, expected) in [(r#"{"foo":"bar"}"#, Some(json!({"foo": "bar"}))), ("not found", None)] {
            let error = refused(move |exchange| exchange.respond("404 Not Found", text), transport);
            let Error::Connection { status, body, .. } = error else { panic!("{error:?}") };
            assert_eq!((status, body.map(|body| *body)), (Some(404), expected));
        }
    }
}

/// `test_polling_connection_invalid_packet`, `test_polling_connection_no_open_packet`,
/// `test_websocket_connection_no_open_packet`
#[test]
fn answers_that_open_nothing() {
    for answer in ["foo", r#"4{"sid":"123"}"#, "2", ""] {
        let error = refused(move |exchange| exchange.payload(answer), Polling);
        assert!(matches!(error, Error::Connection { .. } | Error::Protocol { .. }), "{answer}: {error:?}");
    }
    let error = refused(
        |exchange| {
            exchange.accept_websocket()?;
            exchange.ws_text("2")
        },
        WebSocket,
    );
    assert!(matches!(error, Error::Connection { .. }), "{error:?}");
}

/// `test_polling_connection_successful`, `test_websocket_connection_successful`
#[test]
fn what_the_server_says_first() {
    for transport in BOTH {
        let server = Scripted::silent(open_with(1000, 2000));
        let (client, _watch) = connected(server.url(), only(transport));
        let handshake = client.handshake().unwrap();
        assert_eq!((client.sid().as_deref(), handshake.sid()), (Some("abc"), "abc"));
        assert_eq!(handshake.ping_interval(), Duration::from_secs(1));
        assert_eq!(handshake.ping_timeout(), Duration::from_secs(2));
        assert_eq!(handshake.upgrades(), [""; 0]);
        assert_eq!(client.transport().unwrap(), transport);
        abort(&client);
    }
}

/// `test_polling_https_noverify_connection_successful`, `test_websocket_https_noverify_connection_successful`,
/// `test_websocket_connection_without_verify`
#[test]
fn https_without_verification() {
    let server = Server::with(Options { tls: true, ..Options::default() });
    for transport in BOTH {
        Client::new().connect_with(server.url(), only(transport)).unwrap_err();
        let client = Client::builder().ssl_verify(false).build().unwrap();
        client.connect_with(server.url(), only(transport)).unwrap();
        client.disconnect().unwrap();
    }
}

/// `test_polling_connection_with_more_packets`
#[test]
fn packets_behind_the_handshake() {
    let server = Scripted::silent(format!("{OPEN}\u{1e}4hello\u{1e}6"));
    let (client, watch) = connected(server.url(), only(Polling));
    assert_eq!(watch.message(), Message::from("hello"));
    abort(&client);
}

/// `test_polling_connection_upgraded`, `test_websocket_upgrade_successful`, `test_polling_connection_not_upgraded`,
/// `test_websocket_upgrade_failed`, `test_websocket_upgrade_no_pong`
#[test]
fn upgrades() {
    type Script = fn(&mut Exchange) -> io::Result<()>;
    let table: [(Script, TransportKind); 4] = [
        (|exchange| upgrade(exchange, "3probe"), WebSocket),
        (|exchange| upgrade(exchange, "3"), Polling),
        (|exchange| upgrade(exchange, "2probe"), Polling),
        (|exchange| exchange.respond("400 Bad Request", ""), Polling),
    ];
    for (script, expected) in table {
        let server = Scripted::start(move |exchange| match &exchange.request {
            request if request.is_websocket() => script(exchange),
            request if request.is_poll() => exchange.wait_closed(),
            _ => exchange.answer(OPEN_UPGRADE),
        });
        let client = Client::new();
        client.connect(server.url()).unwrap();
        assert_eq!(client.transport().unwrap(), expected);
        abort(&client);
    }
}

fn upgrade(exchange: &mut Exchange, answer: &str) -> io::Result<()> {
    exchange.accept_websocket()?;
    assert_eq!(exchange.ws_read_text()?, "2probe");
    exchange.ws_text(answer)?;
    if answer == "3probe" {
        assert_eq!(exchange.ws_read_text()?, "5");
    }
    exchange.hold()
}

/// `test_websocket_connection_with_cookies`, `test_websocket_connection_with_cookie_header`,
/// `test_websocket_connection_with_cookies_and_headers`, `test_websocket_connection_with_auth`
#[test]
fn cookies_and_credentials_of_an_agent_and_of_headers() {
    let server = Scripted::websocket(|exchange| exchange.hold());
    let agent = ureq::Agent::new_with_defaults();
    let uri: ureq::http::Uri = server.url().parse().unwrap();
    let cookie = ureq::Cookie::parse("key=value; Path=/", &uri).unwrap();
    agent.cookie_jar_lock().insert(cookie, &uri).unwrap();
    let client = Client::builder().http_agent(agent).build().unwrap();
    let url = server.url().replace("http://", "http://foo:bar@");
    client.connect_with(url, only(WebSocket).header("Foo", "bar").header("Cookie", "key2=value2")).unwrap();
    abort(&client);
    let request = server.requests().remove(0);
    let mut cookies: Vec<&str> = request.header("cookie")[0].split("; ").collect();
    cookies.sort();
    assert_eq!(cookies, ["key2=value2", "key=value"]);
    assert_eq!(
        (request.header("foo"), request.header("authorization")),
        (vec!["bar"], vec!["Basic Zm9vOmJhcg=="])
    );
}

/// `test_receive_noop_packet`, `test_receive_ping_packet`
#[test]
fn packets_that_are_no_messages() {
    let server = Scripted::websocket(|exchange| {
        exchange.ws_text("6")?;
        exchange.ws_text("2")?;
        let pong = exchange.ws_read_text()?;
        exchange.ws_text(&format!("4{pong}"))?;
        exchange.hold()
    });
    let (client, watch) = connected(server.url(), only(WebSocket));
    assert_eq!(watch.message(), Message::from("3"));
    watch.nothing_more();
    abort(&client);
}

/// `test_receive_close_packet`, `test_receive_unknown_packet`, `test_read_loop_polling_bad_packet`,
/// `test_read_loop_websocket_unexpected_error`, `test_read_loop_websocket_no_response`
#[test]
fn the_end_by_a_packet() {
    for (packet, expected) in
        [("1", Reason::ServerDisconnect), ("9", Reason::TransportError), ("", Reason::TransportError)]
    {
        let server = Scripted::websocket(move |exchange| {
            exchange.ws_text(packet)?;
            exchange.hold()
        });
        assert_eq!(ends(&server, WebSocket).0, expected, "{packet:?}");
        if !packet.is_empty() {
            let server = Scripted::polling(move |exchange| exchange.payload(packet));
            assert_eq!(ends(&server, Polling).0, expected, "{packet:?}");
        }
    }
    assert_eq!(ends(&Scripted::websocket(|exchange| exchange.close()), WebSocket).0, Reason::TransportError);
}

/// `test_read_loop_polling_no_response`, `test_read_loop_polling_bad_status`, `test_write_loop_polling_bad_connection`,
/// `test_write_loop_polling_bad_status`, `test_write_loop_websocket_bad_connection`
#[test]
fn requests_that_fail() {
    assert_eq!(ends(&Scripted::polling(|exchange| exchange.close()), Polling).0, Reason::TransportError);
    let (reason, error) =
        ends(&Scripted::polling(|exchange| exchange.respond("400 Bad Request", "{}")), Polling);
    assert_eq!(reason, Reason::TransportError);
    assert!(matches!(&*error.unwrap(), Error::Connection { status: Some(400), .. }));
    for reset in [false, true] {
        let server = Scripted::start(move |exchange| match exchange.request.method.as_str() {
            "POST" if reset => exchange.reset(),
            "POST" => exchange.respond("500 Internal Server Error", ""),
            _ if exchange.request.is_poll() => exchange.wait_closed(),
            _ => exchange.payload(OPEN),
        });
        let (client, watch) = connected(server.url(), only(Polling));
        client.send("x").unwrap();
        assert_eq!(watch.disconnected(), Reason::TransportError);
        client.wait();
    }
    let server = Scripted::websocket(|exchange| {
        exchange.ws_read_text()?;
        exchange.reset()
    });
    let (client, watch) = connected(server.url(), only(WebSocket));
    client.send("x").unwrap();
    assert_eq!(watch.disconnected(), Reason::TransportError);
    assert!(matches!(client.send("y"), Err(Error::SocketIsClosed)));
}

/// `test_read_loop_websocket_timeout`. Python's reason is the transport's error; ours says which.
#[test]
fn silence() {
    for transport in BOTH {
        let server = Scripted::silent(open_with(100, 100));
        assert_eq!(ends(&server, transport).0, Reason::PingTimeout);
    }
}

/// `test_write_loop_polling_three_packets`, `test_write_loop_polling_two_packets_done`,
/// `test_write_loop_websocket_three_packets`
#[test]
fn many_packets_and_then_the_close() {
    let server = Scripted::polling(|exchange| exchange.wait_closed());
    let (client, _watch) = connected(server.url(), only(Polling));
    for text in ["one", "two", "three"] {
        client.send(text).unwrap();
    }
    client.disconnect_with(Disconnect::new().reason("done")).unwrap();
    let posts: Vec<_> = server.requests().into_iter().filter(|request| request.is_post()).collect();
    let packets: Vec<_> = posts.iter().flat_map(|post| post.text().split('\u{1e}')).collect();
    assert_eq!(packets, ["4one", "4two", "4three", "1"]);
    assert!(posts.iter().all(|post| post.header("content-type") == ["text/plain;charset=UTF-8"]));

    let (tell, told) = crossbeam_channel::unbounded();
    let server = Scripted::websocket(move |exchange| {
        for _ in 0..4 {
            tell.send(exchange.ws_read_text()?).map_err(io::Error::other)?;
        }
        exchange.hold()
    });
    let (client, _watch) = connected(server.url(), only(WebSocket));
    for text in ["one", "two", "three"] {
        client.send(text).unwrap();
    }
    drop(client);
    let packets: Vec<_> = (0..4).map(|_| told.recv_timeout(PATIENCE).unwrap()).collect();
    assert_eq!(packets, ["4one", "4two", "4three", "1"]);
}
