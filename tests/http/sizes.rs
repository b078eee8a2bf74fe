//! Heads of requests and responses that are as large as ureq allows, and larger.

use std::error::Error as _;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engineio::{Client, Error};
use ureq::http::{HeaderValue, Request, Response};
use ureq::middleware::{Middleware, MiddlewareNext};
use ureq::{Agent, Body, SendBody};

use super::{PATIENCE, Polling, WAYS, abort, by, serve, server, visit};
use common::scripted::{OPEN, Scripted};

/// Response headers of `kib` KiB.
fn headers(kib: usize) -> String {
    (0..kib).map(|n| format!("X-{n:04}: {}\r\n", "y".repeat(1024 - 10))).collect()
}

fn answering(kib: usize) -> Scripted {
    let headers = headers(kib);
    Scripted::start(move |exchange| serve(exchange, &headers))
}

#[test]
fn a_large_head_of_a_response_is_read() {
    for way in WAYS {
        for kib in [31, 33, 60] {
            visit(&Client::new(), answering(kib).url(), by(way));
        }
        // These heads are as large as the user's agent allows.
        let agent: Agent =
            Agent::config_builder().proxy(None).max_response_header_size(400 << 10).build().into();
        let client = Client::builder().http_agent(agent).build().unwrap();
        // The number of headers is limited too, so they are few and large.
        let headers = (0..30).map(|n| format!("X-{n}: {}\r\n", "y".repeat(10_000))).collect::<String>();
        let server = Scripted::start(move |exchange| serve(exchange, &headers));
        visit(&client, server.url(), by(way));
    }
}

#[test]
fn a_response_head_above_the_limit_is_said_to_be() {
    for way in WAYS {
        let server = answering(70);
        let error = Client::new().connect_with(server.url(), by(way)).unwrap_err();
        let Error::Protocol { message, .. } = &error else { panic!("{error:?}") };
        assert!(
            message.contains("the head of the server's response") && message.contains("65536"),
            "{message}"
        );
    }
}

#[test]
fn a_large_header_of_a_request_is_sent() {
    for way in WAYS {
        let token = format!("Bearer {}", "t".repeat(100 << 10));
        let server = server();
        visit(&Client::new(), server.url(), by(way).header("Authorization", &token));
        assert!(
            server.requests().iter().all(|request| request.header("authorization") == [&token]),
            "{way:?}"
        );
    }
}

/// A middleware that adds a header, such as one with a ticket or a token.
struct Adds(HeaderValue);

impl Middleware for Adds {
    fn handle(
        &self,
        mut request: Request<SendBody>,
        next: MiddlewareNext,
    ) -> Result<Response<Body>, ureq::Error> {
        request.headers_mut().insert("x-ticket", self.0.clone());
        next.handle(request)
    }
}

#[test]
fn a_large_header_that_the_users_agent_adds_is_sent() {
    let large = "t".repeat(100 << 10);
    for way in WAYS {
        let server = server();
        let adds = Adds(large.parse().unwrap());
        let agent: Agent =
            Agent::config_builder().proxy(None).middleware(adds).user_agent(&large).build().into();
        visit(&Client::builder().http_agent(agent).build().unwrap(), server.url(), by(way));
        for request in server.requests() {
            assert_eq!([request.header("x-ticket"), request.header("user-agent")], [[&large], [&large]]);
        }
    }
}

#[test]
fn a_request_header_above_the_limit_is_said_to_be() {
    for way in WAYS {
        let server = server();
        let options = by(way).header("Authorization", "t".repeat(200 << 10));
        let error = Client::new().connect_with(server.url(), options.clone()).unwrap_err();
        assert!(error.to_string().contains("a header of the request"), "{error}");
        assert!(error.source().is_some() && server.requests().is_empty(), "{error:?}");
        // The user's agent raises the limit, as the error suggests.
        let agent: Agent = Agent::config_builder().proxy(None).output_buffer_size(300 << 10).build().into();
        visit(&Client::builder().http_agent(agent).build().unwrap(), server.url(), options);
    }
}

/// A server that answers each request as soon as something of it has arrived, and adds to `split` if that
/// was only a part of a POST. It serves one connection after the other.
fn hasty(listener: &TcpListener, split: &AtomicUsize) {
    for tcp in listener.incoming() {
        let mut tcp = tcp.unwrap();
        let mut request = vec![0; 64 << 10];
        while let Ok(count @ 1..) = tcp.read(&mut request) {
            let request = String::from_utf8_lossy(&request[..count]);
            if request.starts_with("GET") && request.contains("sid=") {
                // The poll is never answered, and its connection stays open.
                std::mem::forget(tcp);
                break;
            }
            let answer = if request.starts_with("GET") { OPEN } else { "ok" };
            if answer == "ok" && !request.ends_with("4hello") {
                split.fetch_add(1, Ordering::SeqCst);
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
            tcp.write_all(format!("{head}{answer}").as_bytes()).unwrap();
        }
    }
}

#[test]
fn the_head_and_the_body_of_a_post_are_one_write() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let split = Arc::new(AtomicUsize::new(0));
    let count = split.clone();
    std::thread::spawn(move || hasty(&listener, &count));
    let client = Client::new();
    client.connect_with(url, by(&[Polling])).unwrap();
    for _ in 0..50 {
        client.send("hello").unwrap();
        client.flush(PATIENCE).unwrap();
    }
    abort(&client);
    assert_eq!(split.load(Ordering::SeqCst), 0);
}
