//! Heads of requests and responses that are as large as ureq allows, and larger.

use std::error::Error as _;

use engineio::{Client, Error};
use ureq::Agent;

use super::common::scripted::Scripted;
use super::{WAYS, by, serve, server, visit};

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
