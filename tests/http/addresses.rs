//! The targets of requests: scheme, path and query.

use engineio::{Client, ConnectOptions, Error};

use super::{Polling, WAYS, WebSocket, by, every_request, server};
use common::scripted::Request;
use common::{abort, carrier};

#[test]
fn the_query_and_the_path() {
    let url = |url: &str| format!("{url}/ignored?token=a%20b&flag=&EIO=3&sid=mine");
    let requests = every_request(&Client::new(), url, &ConnectOptions::new());
    for request in &requests {
        assert_eq!(request.path, "/engine.io/");
        let is =
            |name: &str, value: &str| assert_eq!(request.query.get(name).map(String::as_str), Some(value));
        is("token", "a%20b");
        is("flag", "");
        is("EIO", "4");
        is("transport", if request.is_websocket() { WebSocket.as_str() } else { Polling.as_str() });
        assert!(request.query.get("sid").is_none_or(|sid| sid == "abc"), "{request:?}");
        assert!(request.query["t"].starts_with(|c: char| c.is_ascii_digit()), "{request:?}");
    }
    let sids = requests.iter().filter(|request| request.query.contains_key("sid")).count();
    assert_eq!(requests.len() - sids, 3, "all but the first request of each session have the sid");
    let first: Vec<_> = requests.iter().take(2).map(|request| &request.query["t"]).collect();
    assert_ne!(first[0], first[1]);
}

#[test]
fn timestamps_can_be_off() {
    let client = Client::builder().timestamp_requests(false).build().unwrap();
    for request in every_request(&client, str::to_owned, &ConnectOptions::new()) {
        assert!(!request.query.contains_key("t"), "{request:?}");
    }
}

#[test]
fn the_path_option() {
    let options = ConnectOptions::new().path("/deep/socket.io/");
    for request in every_request(&Client::new(), |url| format!("{url}/engine.io/"), &options) {
        assert_eq!(request.path, "/deep/socket.io/");
    }
    for path in ["", "/", "a b", "a?b", "../x"] {
        let error = Client::new().connect_with("http://localhost:1", ConnectOptions::new().path(path));
        assert!(matches!(error, Err(Error::InvalidOption { option: "path", .. })), "{path:?}: {error:?}");
    }
}

#[test]
fn websocket_schemes_mean_the_same() {
    for way in WAYS {
        let server = server();
        let client = Client::new();
        client.connect_with(server.url().replace("http://", "ws://"), by(way)).unwrap();
        assert_eq!(client.transport().unwrap(), carrier(way));
        let requests: Vec<_> = server.requests().iter().map(Request::is_websocket).collect();
        match way {
            // The first poll may be there already.
            [Polling] => assert!(!requests.contains(&true), "{requests:?}"),
            [WebSocket] => assert_eq!(requests, [true]),
            _ => assert_eq!(requests, [false, true]),
        }
        abort(&client);
    }
}

#[test]
fn bad_input_is_told_before_anything_is_sent() {
    let none = Client::new().connect_with("http://localhost:1", ConnectOptions::new().transports([]));
    assert!(matches!(none, Err(Error::InvalidOption { option: "transports", .. })), "{none:?}");
    let urls =
        ["", "localhost:5000", "ftp://localhost", "http://", "http://:5000", "http://h:99999", "http://a b"];
    for url in urls {
        let refused = Client::new().connect(url);
        assert!(matches!(refused, Err(Error::InvalidUrl { .. })), "{url:?}: {refused:?}");
    }
}
