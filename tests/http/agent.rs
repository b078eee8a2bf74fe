use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use engineio::{Client, ConnectOptions, Error};
use ureq::http::Uri;
use ureq::{Agent, Cookie};

use super::redirects::{moved, query};
use super::{Polling, WAYS, WebSocket, by, serve, server, visit};
use common::scripted::{OPEN, Scripted};
use common::{PATIENCE, abort};

fn client(agent: &Agent) -> Client {
    Client::builder().http_agent(agent.clone()).build().unwrap()
}

fn configured(config: impl FnOnce(Builder) -> Builder) -> Agent {
    config(Agent::config_builder()).build().into()
}

type Builder = ureq::config::ConfigBuilder<ureq::typestate::AgentScope>;

fn insert(agent: &Agent, cookie: &str, uri: &str) {
    let uri: Uri = uri.parse().unwrap();
    agent.cookie_jar_lock().insert(Cookie::parse(cookie.to_owned(), &uri).unwrap(), &uri).unwrap();
}

fn names(agent: &Agent) -> Vec<String> {
    let jar = agent.cookie_jar_lock();
    let mut names: Vec<_> = jar.iter().map(|c| format!("{}={}", c.name(), c.value())).collect();
    names.sort();
    names
}

#[test]
fn its_cookies_go_out_and_the_servers_come_back() {
    for way in WAYS {
        let server = server();
        let agent = Agent::new_with_defaults();
        insert(&agent, "lent=1; Path=/", server.url());
        insert(&agent, "other=2; Path=/", "http://example.org/");
        insert(&agent, "elsewhere=3; Path=/admin", server.url());
        visit(&client(&agent), server.url(), by(way));
        let first = &server.requests()[0];
        assert_eq!(first.header("cookie"), ["lent=1"], "{way:?}");
        assert_eq!(names(&agent), ["elsewhere=3", "lent=1", "other=2", "set=by-server"], "{way:?}");
        // The user's agent stays usable.
        let answer = agent.get(format!("{}/engine.io/?EIO=4", server.url())).call().unwrap();
        assert_eq!(answer.status(), 200);
        // The next connection starts with the agent's present cookies.
        let before = server.requests().len();
        visit(&client(&agent), server.url(), by(way));
        let mut cookies: Vec<_> =
            server.requests()[before].header("cookie")[0].split("; ").map(str::to_owned).collect();
        cookies.sort();
        assert_eq!(cookies, ["lent=1", "set=by-server"]);
    }
}

#[test]
fn cookies_of_a_redirect_come_back() {
    for way in WAYS {
        let server = Scripted::start(|exchange| {
            let query = exchange.request.query.iter().map(|(name, value)| format!("{name}={value}"));
            let query = query.collect::<Vec<_>>().join("&");
            let (to, set) = match exchange.request.path.as_str() {
                "/engine.io/" => ("/second/", "hop=1; Path=/\r\nSet-Cookie: gone=; Path=/; Max-Age=0"),
                "/second/" => ("/third/", "next=2\r\nSet-Cookie: changed=by-server; Path=/"),
                _ => return serve(exchange, "Set-Cookie: last=3; Path=/\r\n"),
            };
            exchange.respond_with(
                "307 Moved",
                &format!("Set-Cookie: {set}\r\nLocation: {to}?{query}\r\n"),
                "",
            )
        });
        let agent = Agent::new_with_defaults();
        for cookie in ["gone=0; Path=/", "changed=0; Path=/", "kept=0; Path=/"] {
            insert(&agent, cookie, server.url());
        }
        // The cookies of this header go into the jar of this connection only.
        let options = by(way).header("Cookie", "own=4; kept=mine");
        let client = client(&agent);
        client.connect_with(server.url(), options).unwrap();
        abort(&client);
        let expected = ["changed=by-server", "hop=1", "kept=0", "last=3", "next=2"];
        assert_eq!(names(&agent), expected, "{way:?}");
    }
}

/// 20 cookies, and a redirect to a path of 60,000 slashes and back.
#[test]
fn its_cookies_cost_no_more_on_a_long_path() {
    let server = Scripted::start(|exchange| match exchange.request.path.as_str() {
        "/engine.io/" => {
            let location =
                format!("Location: {}?{}\r\n", "/".repeat(60_000).replacen("//", "/x", 1), query(exchange));
            exchange.respond_with("302 Found", &location, "")
        }
        path if path.len() > 1000 => moved(exchange, "302 Found", "/back/"),
        _ => serve(exchange, ""),
    });
    for way in WAYS {
        let agent = configured(|c| c.max_response_header_size(200 << 10));
        for n in 0..20 {
            insert(&agent, &format!("c{n}=1; Path=/"), server.url());
        }
        let client = client(&agent);
        let start = Instant::now();
        client.connect_with(server.url(), by(way)).unwrap();
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        assert_eq!(server.requests().last().unwrap().header("cookie")[0].split("; ").count(), 20);
        abort(&client);
    }
}

#[test]
fn its_user_agent_holds_on_both_transports() {
    for way in WAYS {
        let server = server();
        visit(&client(&configured(|c| c.user_agent("lent/1"))), server.url(), by(way));
        assert!(server.requests().iter().all(|request| request.header("user-agent") == ["lent/1"]));
        let before = server.requests().len();
        // An agent without a `User-Agent` of its own gets the client's.
        visit(&client(&Agent::new_with_defaults()), server.url(), by(way));
        for request in &server.requests()[before..] {
            assert!(request.header("user-agent")[0].starts_with("engineio/"), "{way:?}");
        }
    }
}

#[test]
fn its_shorter_timeout_holds() {
    for way in WAYS {
        let silent = Scripted::start(|exchange| exchange.hold());
        let agent = configured(|c| c.timeout_global(Some(Duration::from_millis(200))));
        let client = Client::builder().http_agent(agent).request_timeout(PATIENCE * 2).build().unwrap();
        let started = Instant::now();
        let error = client.connect_with(silent.url(), by(way)).unwrap_err();
        assert!(error.is_timeout(), "{error:?}");
        assert!(started.elapsed() < PATIENCE);
    }
}

#[test]
fn its_timeouts_do_not_end_a_poll() {
    // The poll takes longer than any of the timeouts. A timeout would end it, and a second poll would follow.
    let (tell, told) = std::sync::mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let server = Scripted::start(move |exchange| match exchange.request.is_poll() {
        true => {
            let _ = told.lock().unwrap().recv_timeout(PATIENCE);
            exchange.payload("4late")?;
            exchange.wait_closed()
        }
        false => exchange.answer(OPEN),
    });
    let short = Some(Duration::from_millis(150));
    let agent = configured(|c| {
        c.timeout_global(short).timeout_per_call(short).timeout_recv_response(short).timeout_recv_body(short)
    });
    let client = client(&agent);
    let watch = common::Watch::new(&client);
    client.connect_with(server.url(), by(&[Polling])).unwrap();
    watch.connected();
    assert!(!client.wait_timeout(Duration::from_millis(600)), "the poll has ended");
    tell.send(()).unwrap();
    assert_eq!(watch.message().as_text(), Some("late"));
    abort(&client);
}

#[test]
fn its_status_and_redirect_settings_do_not_get_in_the_way() {
    let server = Scripted::start(|exchange| exchange.respond("403 Forbidden", r#"{"code":7}"#));
    let agent = configured(|c| c.http_status_as_error(true));
    let error = client(&agent).connect(server.url()).unwrap_err();
    let Error::Connection { status, body, .. } = error else { panic!("{error:?}") };
    assert_eq!((status, body.unwrap()["code"].as_i64()), (Some(403), Some(7)));
}

#[test]
fn a_factory_makes_one_for_each_connection() {
    let server = server();
    let made = Arc::new(AtomicUsize::new(0));
    let count = made.clone();
    let factory = move || {
        let number = count.fetch_add(1, Ordering::SeqCst);
        configured(|c| c.user_agent(format!("made/{number}")))
    };
    let client = Client::builder().http_agent_factory(factory).build().unwrap();
    for number in 0..3 {
        let before = server.requests().len();
        visit(&client, server.url(), by(&[Polling, WebSocket]));
        for request in &server.requests()[before..] {
            assert_eq!(request.header("user-agent"), [format!("made/{number}")]);
        }
    }
    assert_eq!(made.load(Ordering::SeqCst), 3);
}

#[test]
fn a_factory_that_panics_fails_the_connect_and_no_more() {
    let server = server();
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let switch = broken.clone();
    let factory = move || match switch.load(Ordering::SeqCst) {
        true => panic!("no agent today"),
        false => Agent::new_with_defaults(),
    };
    let client = Client::builder().http_agent_factory(factory).build().unwrap();
    let error = client.connect(server.url()).unwrap_err();
    assert!(error.to_string().contains("no agent today"), "{error}");
    broken.store(false, Ordering::SeqCst);
    visit(&client, server.url(), ConnectOptions::new());
}
