//! The behaviours that the 92 unit tests of python-engineio's client check (`tests/common/test_client.py` of
//! 4.15). The list names each of those tests, and the tests here that check the same.
//!
//! This file contains the tests of behaviours that no other file tests as well. A test without a file name is
//! in this file.
//!
//! - `test_create`, `test_on_event`, `test_current_transport`, `test_disconnect_not_connected`,
//!   `test_wait_no_task`, `test_send_packet_disconnected`: by `a_client_at_rest`.
//! - `test_custom_timeout`: by `a_timeout_must_be_above_zero`.
//! - `test_custom_json`: in `events/main.rs` by `another_json_library_writes_and_reads`,
//!   `json_is_decoded_on_request_only`. Python's client decodes by default.
//! - `test_timestamp_requests`: in `http/addresses.rs` by `timestamps_can_be_off`, `the_query_and_the_path`.
//! - `test_logger`, `test_trigger_event_error`, `test_trigger_event`: by `failures_of_handlers_are_logged`.
//! - `test_on_event_invalid`: in `events/main.rs` by `handlers_by_name`.
//! - `test_trigger_unknown_event`: in `events/main.rs` by `events_in_a_select`, where no handler is
//!   registered.
//! - `test_already_connected`: in `connect.rs` by `a_second_connect_is_refused`.
//! - `test_invalid_transports`: in `http/addresses.rs` by `bad_input_is_told_before_anything_is_sent`.
//! - `test_connect_polling`, `test_connect_websocket`: in `http/addresses.rs` by
//!   `websocket_schemes_mean_the_same`, for each way to connect.
//! - `test_connect_query_string`, `test_engineio_url`: in `http/addresses.rs` by `the_query_and_the_path`,
//!   `the_path_option`; unit tests of `src/protocol/endpoint.rs`.
//! - `test_connect_custom_headers`: in `http/headers.rs` by `headers_go_with_every_request`.
//! - `test_send`, `test_send_packet`, `test_receive_message_packet`, `test_write_loop_websocket_one_packet`,
//!   `test_write_loop_websocket_one_packet_binary`, `test_write_loop_polling_one_packet`,
//!   `test_read_loop_polling`, `test_read_loop_websocket`: in `messages.rs` by
//!   `every_kind_comes_back_by_polling`, `every_kind_comes_back_by_websocket`,
//!   `every_kind_comes_back_after_an_upgrade`.
//! - `test_wait`: in `disconnect/waits.rs` by `everyone_who_waits_returns_after_the_disconnect_handler`.
//! - `test_disconnect_polling`, `test_disconnect_websocket`, `test_disconnect_polling_abort`,
//!   `test_disconnect_websocket_abort`: by `disconnects`.
//! - `test_background_tasks`, `test_sleep`, `test_create_queue`, `test_create_event`: by `helpers`.
//! - `test_polling_connection_failed`, `test_websocket_connection_failed`: in `connect.rs` by
//!   `nobody_listens`.
//! - `test_polling_connection_404`, `test_polling_connection_404_no_json`,
//!   `test_websocket_connection_failed_with_websocket_error`: in `connect.rs` by
//!   `a_status_is_told_with_its_body`.
//! - `test_polling_connection_invalid_packet`, `test_polling_connection_no_open_packet`: in `connect.rs` by
//!   `answers_that_are_no_handshake`.
//! - `test_websocket_connection_no_open_packet`: in `connect.rs` by
//!   `the_open_packet_is_checked_by_websocket_too`.
//! - `test_polling_connection_successful`, `test_websocket_connection_successful`: by
//!   `what_the_server_says_first`.
//! - `test_polling_https_noverify_connection_successful`,
//!   `test_websocket_https_noverify_connection_successful`, `test_websocket_connection_without_verify`,
//!   `test_websocket_connection_with_verify`: in `tls/trust.rs`.
//! - `test_websocket_connection_with_cert`, `test_websocket_connection_with_cert_and_key`,
//!   `test_websocket_connection_verify_with_cert_and_key`: in `tls/trust.rs`, `tls/agent.rs`.
//! - `test_websocket_connection_with_proxies`: in `proxy/`.
//! - `test_polling_connection_with_more_packets`: in `connect.rs` by
//!   `packets_behind_the_handshake_are_delivered_after_connect`.
//! - `test_polling_connection_upgraded`, `test_websocket_upgrade_successful`: in `connect.rs` by
//!   `a_second_connect_is_refused`; `messages.rs` by `every_kind_comes_back_after_an_upgrade`.
//! - `test_polling_connection_not_upgraded`, `test_websocket_upgrade_failed`,
//!   `test_websocket_upgrade_no_pong`: in `connect.rs` by `a_failed_upgrade_leaves_polling`.
//! - `test_websocket_connection_with_cookies`, `test_websocket_connection_with_cookie_header`,
//!   `test_websocket_connection_with_cookies_and_headers`, `test_websocket_connection_with_auth`: by
//!   `cookies_and_credentials_of_an_agent_and_of_headers`.
//! - `test_receive_noop_packet`, `test_receive_ping_packet`: by `packets_that_are_no_messages`.
//! - `test_receive_close_packet`, `test_receive_unknown_packet`, `test_read_loop_websocket_unexpected_error`,
//!   `test_read_loop_websocket_no_response`, `test_write_loop_websocket_bad_connection`: in
//!   `disconnect/endings.rs` by `endings_by_websocket`.
//! - `test_read_loop_polling_bad_packet`, `test_read_loop_polling_no_response`,
//!   `test_read_loop_polling_bad_status`, `test_write_loop_polling_bad_connection`,
//!   `test_write_loop_polling_bad_status`: in `disconnect/endings.rs` by `endings_by_polling`.
//! - `test_read_loop_websocket_timeout`: in `heartbeat.rs` by
//!   `silence_ends_the_connection_and_not_too_early`. Python reports a transport error, and this
//!   client a ping timeout.
//! - `test_write_loop_polling_three_packets`, `test_write_loop_polling_two_packets_done`: in `messages.rs` by
//!   `posts_keep_to_16_packets_and_the_payload_limit`.
//! - `test_write_loop_websocket_three_packets`: in `disconnect/main.rs` by `the_server_is_told_last`,
//!   `dropping_the_last_handle_ends_the_connection`.
//! - `test_signal_handler`: in `sigint.rs`.
//!
//! These tests of Python's do not apply:
//!
//! - `test_is_asyncio_based`: there is no other kind of client.
//! - `test_some_invalid_transports`: transports are an enum, so an unknown name does not compile; the empty
//!   list is tested, see `test_invalid_transports`.
//! - `test_write_loop_empty_queue`, `test_write_loop_no_packets`, `test_write_loop_disconnected`,
//!   `test_read_loop_polling_disconnected`, `test_read_loop_websocket_disconnected`: these check states of
//!   the loops that are not visible from outside.
//! - `test_trigger_legacy_disconnect_event`: a handler without a reason is a closure that ignores it.
//! - `test_websocket_connection_extra`: its options belong to another library; the tests of this client's
//!   options are in `http/headers.rs`.

use std::time::Duration;

use common::real::Server;
use common::scripted::{Scripted, open_with};
use common::{Lines, PATIENCE, abort, connected, only};
use engineio::{Client, Disconnect, Error, Message, Reason, State, TransportKind};

use TransportKind::{Polling, WebSocket};

const BOTH: [TransportKind; 2] = [Polling, WebSocket];

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

#[test]
fn a_timeout_must_be_above_zero() {
    assert!(Client::builder().request_timeout(Duration::from_secs(27)).build().is_ok());
    assert!(Client::builder().request_timeout(Duration::ZERO).build().is_err());
}

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

/// Cargo runs only the files that the manifest names.
#[test]
fn every_test_file_is_run() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let file = if name.ends_with(".rs") { name } else { format!("{name}/main.rs") };
        if file == "build.rs" {
            continue;
        }
        let named = manifest.lines().any(|line| line == format!("path = \"{file}\""));
        assert!(named || !folder.join(&file).exists(), "tests/Cargo.toml has no entry for {file}");
    }
}
