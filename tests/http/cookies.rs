use engineio::{Client, Error};

use super::balancer::Balancer;
use super::certificates::Authority;
use super::front::{address, tls_front};
use super::redirects::{moved, query};
use super::{Polling, WAYS, WebSocket, by, serve, server, visit};
use common::real::{Event, Server};
use common::scripted::{OPEN, Scripted};
use common::{PATIENCE, abort, connected};

/// The cookies of each request, sorted.
fn cookies(server: &Scripted) -> Vec<Vec<String>> {
    let requests = server.requests();
    let of = |headers: Vec<&str>| {
        // All cookies are in one header (RFC 6265, section 5.4).
        assert!(headers.len() <= 1, "{headers:?}");
        let mut cookies: Vec<_> =
            headers.first().map_or(Vec::new(), |all| all.split("; ").map(str::to_owned).collect());
        cookies.sort();
        cookies
    };
    requests.iter().map(|request| of(request.header("cookie"))).collect()
}

#[test]
fn the_servers_cookies_ride_on_every_later_request() {
    for way in [&[Polling][..], &[Polling, WebSocket]] {
        let server = server();
        visit(&Client::new(), server.url(), by(way));
        let cookies = cookies(&server);
        assert_eq!(cookies[0], [""; 0]);
        assert!(cookies.len() > 1 && cookies[1..].iter().all(|c| *c == ["set=by-server"]), "{cookies:?}");
    }
}

#[test]
fn they_merge_with_the_users_own() {
    for way in WAYS {
        let server = server();
        let own = by(way).header("Cookie", "own=1; set=mine").header("cookie", "more=2");
        visit(&Client::new(), server.url(), own);
        let cookies = cookies(&server);
        assert_eq!(cookies[0], ["more=2", "own=1", "set=mine"], "{way:?}");
        for later in &cookies[1..] {
            assert_eq!(*later, ["more=2", "own=1", "set=by-server"], "{way:?}");
        }
    }
}

#[test]
fn no_cookie_goes_out_in_clear_text() {
    for way in [&[Polling][..], &[WebSocket]] {
        let plain = server();
        // A jar treats 127.0.0.1 as secure without TLS, but not its other name 0.0.0.0.
        let target = plain.url().replace("127.0.0.1", "0.0.0.0");
        let secure = Scripted::start(move |exchange| {
            exchange.respond_with("302 Found", &format!("Location: {target}/engine.io/?EIO=4\r\n"), "")
        });
        let identity = Authority::new().identity(&["0.0.0.0"]);
        let port = tls_front(&identity, address(secure.url()).into());
        let client = Client::builder().ssl_verify(false).build().unwrap();
        let options = by(way).header("Cookie", "own=1");
        let error = client.connect_with(format!("https://0.0.0.0:{port}"), options).unwrap_err();
        assert!(error.to_string().contains("without encryption"), "{error}");
        assert_eq!(cookies(&secure), [["own=1"]], "{way:?}");
        assert!(plain.requests().is_empty(), "{way:?}");
    }
}

/// A poll or a websocket that is sent from https to http on the same host.
#[test]
fn a_session_is_not_led_out_of_tls() {
    for attacked in [Polling, WebSocket] {
        let plain = server();
        let target = format!("{}/engine.io/", plain.url().replace("127.0.0.1", "0.0.0.0"));
        let secure = Scripted::start(move |exchange| match &exchange.request {
            request if !request.query.contains_key("sid") => {
                serve(exchange, "Set-Cookie: session=secret; Path=/; Secure\r\n")
            }
            request if request.is_websocket() || attacked == Polling => moved(exchange, "307 Moved", &target),
            _ => exchange.hold(),
        });
        let port = tls_front(&Authority::new().identity(&["0.0.0.0"]), address(secure.url()).into());
        let client = Client::builder().ssl_verify(false).build().unwrap();
        let way = if attacked == Polling { &[Polling][..] } else { &[Polling, WebSocket] };
        client.connect_with(format!("https://0.0.0.0:{port}"), by(way)).unwrap();
        if attacked == Polling {
            client.wait();
            assert!(client.last_error().unwrap().to_string().contains("without encryption"));
        } else {
            assert_eq!(client.transport().unwrap(), Polling);
            abort(&client);
        }
        assert_eq!(cookies(&secure)[1], ["session=secret"]);
        assert!(plain.requests().is_empty());
    }
}

#[test]
fn path_domain_and_secure_are_respected() {
    let set = "Set-Cookie: here=1; Path=/engine.io/\r\n\
               Set-Cookie: above=1; Path=/\r\n\
               Set-Cookie: elsewhere=2; Path=/admin\r\n\
               Set-Cookie: other=3; Domain=example.org\r\n\
               Set-Cookie: tls=4; Secure\r\n\
               Set-Cookie: gone=5; Max-Age=0\r\n";
    for way in [&[Polling][..], &[Polling, WebSocket]] {
        let server = Scripted::start(move |exchange| serve(exchange, set));
        visit(&Client::new(), server.url(), by(way));
        for later in &cookies(&server)[1..] {
            // A connection to this machine itself counts as secure, in ureq as in browsers.
            assert_eq!(*later, ["above=1", "here=1", "tls=4"], "{way:?}");
        }
    }
}

/// What no rule for servers allows, and servers set all the same (RFC 6265, section 5).
#[test]
fn values_of_any_kind_come_back_as_they_were() {
    let set = [
        "srv=node one",
        "json={\"a\":[1,2],\"b\":\"c d\"}",
        "quoted=\"x\"",
        "io:sid=abc",
        "a[0]=1,2",
        "user=Jürgen",
    ];
    let headers: String = set.iter().map(|pair| format!("Set-Cookie: {pair}; Path=/\r\n")).collect();
    for way in [&[Polling][..], &[Polling, WebSocket]] {
        let headers = headers.clone();
        let server = Scripted::start(move |exchange| serve(exchange, &headers));
        visit(&Client::new(), server.url(), by(way));
        for request in &server.requests()[1..] {
            assert_eq!(request.header("cookie"), [set.join("; ")], "{way:?}");
        }
    }
    for way in WAYS {
        let server = server();
        let own = format!("{}; =odd;flag", set.join("; "));
        visit(&Client::new(), server.url(), by(way).header("Cookie", &own));
        assert_eq!(server.requests()[0].header("cookie"), [own.replace(";flag", "; flag")], "{way:?}");
    }
    for bad in ["a=1\r\nX-More: 1", "a=1\n", "a=\0"] {
        let refused = Client::new().connect_with(server().url(), by(&[Polling]).header("Cookie", bad));
        assert!(matches!(refused, Err(Error::InvalidOption { option: "header", .. })), "{refused:?}");
    }
}

#[test]
fn the_longer_path_comes_first() {
    let set = "Set-Cookie: a=root; Path=/\r\nSet-Cookie: a=deep; Path=/engine.io\r\n";
    for way in [&[Polling][..], &[Polling, WebSocket]] {
        let server = Scripted::start(move |exchange| serve(exchange, set));
        visit(&Client::new(), server.url(), by(way));
        for request in &server.requests()[1..] {
            assert_eq!(request.header("cookie"), ["a=deep; a=root"], "{way:?}");
        }
    }
}

/// The other server has the same host, to which the server's cookies belong, but not the origin that the
/// user's own header is for.
#[test]
fn the_users_own_stay_at_their_origin() {
    for way in WAYS {
        let other = server();
        let target = format!("{}/engine.io/", other.url());
        let first = Scripted::start(move |exchange| {
            let head = format!("Location: {target}?{}\r\nSet-Cookie: hop=1; Path=/\r\n", query(exchange));
            exchange.respond_with("307 Moved", &head, "")
        });
        visit(&Client::new(), first.url(), by(way).header("Cookie", "own=1"));
        assert_eq!(cookies(&first), [["own=1"]]);
        assert_eq!(cookies(&other)[0], ["hop=1"], "{way:?}");
        assert!(!cookies(&other).concat().contains(&"own=1".to_owned()), "{way:?}");
    }
}

/// A cookie of a response counts from then on, whoever else is under way.
#[test]
fn cookies_of_a_posts_answer_and_of_a_poll_count() {
    let server = Scripted::start(|exchange| match exchange.request.clone() {
        request if request.is_post() => {
            exchange.respond_with("200 OK", "Set-Cookie: post=1; Path=/\r\n", "ok")
        }
        request if request.is_poll() && exchange.polls() == 1 => {
            exchange.respond_with("200 OK", "Set-Cookie: poll=1; Path=/\r\n", "4go")
        }
        request if request.is_poll() => exchange.hold(),
        _ => exchange.payload(OPEN),
    });
    let (client, watch) = connected(server.url(), by(&[Polling]));
    assert_eq!(watch.message().as_text(), Some("go"));
    for _ in 0..2 {
        client.send("hello").unwrap();
        client.flush(PATIENCE).unwrap();
    }
    let posts = server.requests().into_iter().filter(|request| request.is_post());
    let sent: Vec<_> = posts.map(|post| post.header("cookie").concat()).collect();
    assert_eq!(sent, ["poll=1", "poll=1; post=1"]);
    abort(&client);
}

#[test]
fn a_new_connection_starts_without_the_last_ones() {
    let server = server();
    let client = Client::new();
    visit(&client, server.url(), by(&[Polling]));
    let first = server.requests().len();
    visit(&client, server.url(), by(&[Polling]));
    assert_eq!(cookies(&server)[first], [""; 0]);
}

/// The two nodes do not know each other's sessions.
#[test]
fn a_sticky_cookie_leads_to_the_same_node() {
    for way in WAYS {
        let nodes = [Server::start(), Server::start()];
        let balancer = Balancer::start(&[nodes[0].url(), nodes[1].url()]);
        for turn in 0..4 {
            let (client, watch) = connected(balancer.url(), by(way));
            let expected = *way.last().unwrap();
            assert_eq!(client.transport().unwrap(), expected, "the upgrade met another node");
            client.send("hello").unwrap();
            assert_eq!(watch.message().as_text(), Some("hello"));
            // New sessions alternate between the nodes.
            assert_eq!(nodes[turn % 2].next(), Event::Connect);
            client.disconnect().unwrap();
            nodes[turn % 2].disconnected();
        }
        let requests = balancer.requests();
        if way[0] == Polling {
            assert!(requests >= 8, "each request is to be balanced by itself: {requests}");
        }
    }
}
