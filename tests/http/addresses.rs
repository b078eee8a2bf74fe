//! The targets of requests: scheme, path and query.

use engineio::{Client, ConnectOptions, Error};

use super::{Polling, WAYS, WebSocket, by, every_request, server};
use common::scripted::{Request, Scripted};
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
    for path in ["", " ", "a b", "a?b", "../x", "a/%2e%2E/b"] {
        let error = Client::new().connect_with("http://localhost:1", ConnectOptions::new().path(path));
        assert!(matches!(error, Err(Error::InvalidOption { option: "path", .. })), "{path:?}: {error:?}");
    }
}

#[test]
fn the_slash_at_the_end_of_the_path() {
    let table = [
        ("engine.io", "/engine.io/", "/engine.io"),
        ("/engine.io", "/engine.io/", "/engine.io"),
        ("engine.io/", "/engine.io/", "/engine.io"),
        ("/a/b/", "/a/b/", "/a/b"),
        ("/", "/", "/"),
        ("my%20app/ü", "/my%20app/%C3%BC/", "/my%20app/%C3%BC"),
    ];
    for (path, with, without) in table {
        for (slash, expected) in [(true, with), (false, without)] {
            let options = ConnectOptions::new().path(path).trailing_slash(slash);
            let requests = every_request(&Client::new(), |url| format!("{url}?a=1"), &options);
            for request in requests {
                assert_eq!(request.path, expected, "{path}, {slash}");
                assert_eq!(request.query["a"], "1");
            }
        }
    }
}

/// The name leads nowhere without the option. The second machine of the name is another one.
#[test]
fn addresses_in_place_of_a_lookup() {
    for way in WAYS {
        let server = server();
        let port: u16 = server.url().rsplit(':').next().unwrap().parse().unwrap();
        let client = Client::builder()
            .resolve("Name.invalid", port, [127, 0, 0, 77])
            .resolve("name.invalid.", port, [127, 0, 0, 1])
            .resolve("name.invalid", 1, [127, 0, 0, 78])
            .build()
            .unwrap();
        client.connect_with(format!("http://name.invalid:{port}"), by(way)).unwrap();
        client.disconnect().unwrap();
        for request in server.requests() {
            assert_eq!(request.header("host"), [format!("name.invalid:{port}")]);
        }
    }
}

#[test]
fn a_redirect_leads_to_an_address_of_the_option() {
    let target = server();
    let port: u16 = target.url().rsplit(':').next().unwrap().parse().unwrap();
    let location = format!("Location: http://moved.invalid:{port}/engine.io/?EIO=4&transport=polling\r\n");
    let front = Scripted::start(move |exchange| exchange.respond_with("302 Found", &location, ""));
    let client = Client::builder().resolve("moved.invalid", port, [127, 0, 0, 1]).build().unwrap();
    client.connect_with(front.url(), by(&[Polling])).unwrap();
    client.disconnect().unwrap();
    assert!(target.requests().iter().all(|request| request.header("host")[0].starts_with("moved.invalid:")));
}

#[test]
fn connections_come_from_the_local_address() {
    for way in WAYS {
        let server = server();
        let client = Client::builder().local_address([127, 0, 0, 9]).build().unwrap();
        client.connect_with(server.url(), by(way)).unwrap();
        client.disconnect().unwrap();
        assert!(server.peers().iter().all(|peer| peer.to_string() == "127.0.0.9"), "{:?}", server.peers());
    }
    // The server has only IPv4, and the other address is not this machine's.
    let server = server();
    for (local, told) in [("::1", "it has no IPv6 address"), ("192.0.2.1", "does not belong to this machine")]
    {
        let client = Client::builder().local_address(local.parse::<std::net::IpAddr>().unwrap());
        let error = client.build().unwrap().connect(server.url()).unwrap_err().to_string();
        assert!(error.contains(told), "{local}: {error}");
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
