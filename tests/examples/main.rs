//! Every example, run as its reader would run it: the tests start its program as a child process, and check
//! its output and exit code.
//!
//! `cargo test` builds the examples. With `--test examples` alone, call `cargo build --examples` first.

mod harness;

use std::path::PathBuf;

use demo_server::{Kind, Server};
use harness::Example;

/// The path of an example's program, which lies beside the directory of the tests.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test has a path");
    let target = test.ancestors().nth(2).expect("it lies in target/<profile>/deps");
    target.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

fn start(name: &str, arguments: &[&str]) -> Example {
    Example::start(&program(name), arguments)
}

/// Runs an example, and checks that it succeeds.
fn run(name: &str, arguments: &[&str], expected: &[&str]) -> Example {
    let example = run_for(name, arguments, 0);
    assert_lines(&example, expected);
    example
}

/// Checks that stdout has these lines in this order, with any others between them. Each is a part of a line.
fn assert_lines(example: &Example, expected: &[&str]) {
    let mut lines = example.stdout.lines.iter();
    for part in expected {
        assert!(lines.any(|line| line.contains(part)), "no line with {part:?}; {}", example.report());
    }
}

fn run_for(name: &str, arguments: &[&str], code: i32) -> Example {
    harness::run_for(&program(name), arguments, "", code)
}

fn echo() -> Server {
    Server::start(Kind::Echo).expect("a port is free")
}

#[test]
fn quickstart() {
    let exchange =
        ["received Text(\"Hello Server!\")", "received Binary(", "disconnected: client disconnect"];
    run("quickstart", &[], &exchange);
    for transport in ["polling", "websocket"] {
        run("quickstart", &["--transport", transport, echo().url()], &exchange);
    }
}

#[test]
fn echo_server() {
    let mut server = start("echo_server", &["0"]);
    server.stdout.wait_for("listening at http://");
    let line = server.stdout.text();
    let url = line.split_whitespace().find_map(|word| word.strip_suffix(';')).expect("a URL");
    run("quickstart", &[url], &["received Text(\"Hello Server!\")"]);
    // The port is taken.
    let port = url.rsplit(':').next().expect("a port");
    let example = run_for("echo_server", &[port], 1);
    assert!(example.stderr.text().contains(port), "{}", example.report());
}

#[test]
fn custom_headers() {
    let example = run("custom_headers", &[], &["received welcome, ann", "received hello"]);
    assert!(!example.stdout.text().contains("a-secret"), "{}", example.report());
    run("custom_headers", &[echo().url()], &["received welcome, ann", "received hello"]);
}

#[cfg(all(feature = "sigint", target_os = "linux"))]
#[test]
fn ctrl_c() {
    let file = std::env::temp_dir().join(format!("engineio-ctrl-c-{}", std::process::id()));
    // The program must not inherit our disposition, which is `ignore` in the background of a script.
    let program = program("ctrl_c").into_os_string().into_string().expect("a path in UTF-8");
    let server = echo();
    let arguments = ["--default-signal=INT", &program, server.url(), file.to_str().expect("a path in UTF-8")];
    let mut example = Example::start(std::path::Path::new("env"), &arguments);
    example.stdout.wait_for("received message 3");
    let id = example.child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    assert_eq!(example.code(), 0, "{}", example.report());
    assert_lines(&example, &["disconnected: client disconnect", "wrote 3 messages"]);
    let written = std::fs::read_to_string(&file);
    std::fs::remove_file(&file).expect("it was written");
    assert_eq!(written.unwrap(), "message 1\nmessage 2\nmessage 3");
}

#[test]
fn transports() {
    let expected =
        ["the default", "by websocket", "websocket only", "by websocket", "polling only", "by polling"];
    run("transports", &[], &expected);
    run("transports", &[echo().url()], &expected);
}

#[test]
fn background_task() {
    run("background_task", &[], &["received up for", "client disconnect", "3 reports were sent"]);
}

#[test]
fn tls() {
    let expected = [
        "as it is: the certificate of localhost is not signed by a known authority",
        "with the authority: ",
        "with a certificate as well: connected by websocket, and the server says hello",
        "without verification, which anybody in between can abuse: connected by websocket",
    ];
    let example = run("tls", &[], &expected);
    let connected = example.stdout.lines.iter().filter(|line| line.contains("connected by"));
    assert_eq!(connected.count(), 2, "{}", example.report());
}

#[test]
fn custom_json() {
    run("custom_json", &[], &[r#"JSON: "ann" has [1,2,3]"#, "no JSON: plain text"]);
}

#[test]
fn background_task_ends_with_the_connection() {
    let server = echo();
    let mut example = start("background_task", &[server.url()]);
    example.stdout.wait_for("received up for");
    server.kick();
    assert_eq!(example.code(), 0, "{}", example.report());
    assert_lines(&example, &["disconnected: server disconnect", "reports were sent"]);
}

#[test]
fn disconnect_reasons() {
    let reasons =
        ["client disconnect", "the user logged out", "server disconnect", "transport error", "ping timeout"];
    run(
        "disconnect_reasons",
        &[],
        &reasons.map(|reason| format!("    {reason} (")).each_ref().map(String::as_str),
    );
}

#[test]
fn disconnect_reasons_of_another_server() {
    let server = echo();
    let mut example = start("disconnect_reasons", &[server.url()]);
    example.stdout.wait_for("waiting for the end");
    server.cut();
    assert_eq!(example.code(), 0, "{}", example.report());
    assert_lines(&example, &["transport error", "in detail: "]);
}

#[test]
fn error_handling() {
    let expected = [
        "it has no scheme",
        "connection refused",
        "401",
        "who are you?",
        "no configuration found",
        "the server accepts",
        "there is no open connection",
    ];
    // The body is in the same line as the status.
    let example = run("error_handling", &[], &[&expected[..3], &expected[4..]].concat());
    assert!(example.stdout.text().contains(expected[3]), "{}", example.report());
    assert!(!example.stdout.text().contains("no error"), "{}", example.report());
    run("error_handling", &[echo().url()], &["connected by websocket"]);
    let example = run_for("error_handling", &[&demo_server::refusing().expect("a port is free")], 1);
    assert!(example.stderr.text().contains("log in"), "{}", example.report());
}

const RECOVERY: [&str; 5] = [
    "connected, session",
    "disconnected: transport error",
    "attempt 1",
    "connected, session",
    "disconnected: client disconnect",
];

#[test]
fn reconnect() {
    run("reconnect", &[], &RECOVERY);
}

#[test]
fn reconnect_by_hand() {
    run("reconnect_by_hand", &[], &RECOVERY);
}

#[test]
fn reconnects_to_another_server() {
    for name in ["reconnect", "reconnect_by_hand"] {
        let server = echo();
        let mut example = start(name, &[server.url()]);
        example.stdout.wait_for("connected, session");
        server.cut();
        example.stdout.wait_for("attempt 1");
        server.mend();
        example.stdout.wait_for("connected, session");
    }
}

#[test]
fn workers() {
    for arguments in [&[][..], &[echo().url()]] {
        let example = run("workers", arguments, &["12 results came back"]);
        assert_eq!(example.stdout.text().matches("sending {").count(), 12);
    }
}

#[test]
fn chat() {
    let talk =
        ["bob hears ann: Hello, Bob!", "ann hears bob: Hello, Ann!", "ann hears bob: Fine", "ann has left"];
    run("chat", &[], &talk);
    run("chat", &[Server::start(Kind::Room).expect("a port is free").url()], &talk);
    // This server does not pass messages on.
    let example = run_for("chat", &[echo().url()], 1);
    assert!(example.stderr.text().contains("does the server pass messages on?"), "{}", example.report());
}

#[test]
fn select() {
    let expected = ["tick        1", "message     tick 1", "enough", "disconnect  client disconnect"];
    run("select", &[], &expected);
    run("select", &[echo().url()], &expected);
}

#[test]
fn latency() {
    let example =
        run("latency", &["--rounds", "40"], &["p50 ms     p90 ms     p99 ms", "polling", "websocket"]);
    let rows: Vec<Vec<&str>> =
        example.stdout.lines.iter().map(|line| line.split_whitespace().collect()).collect();
    for transport in ["polling", "websocket"] {
        let rounds: Vec<_> = rows.iter().filter(|row| row[0] == transport).map(|row| row[1]).collect();
        assert_eq!(rounds, ["10", "20", "30", "40"], "{}", example.report());
    }
    for row in rows.iter().filter(|row| row[1] == "40") {
        let times: Vec<f64> = row[2..].iter().map(|time| time.parse().expect("a number")).collect();
        assert!(times.len() == 3 && times.is_sorted() && times[0] > 0.0, "{}", example.report());
    }
    run("latency", &["--rounds", "1", echo().url()], &["polling          1", "websocket        1"]);
}

#[test]
fn socketio_echo() {
    run("socketio_echo", &[], &SOCKETIO);
    run("socketio_echo", &[Server::start(Kind::SocketIo).expect("a port is free").url()], &SOCKETIO);
}

const SOCKETIO: [&str; 5] = [
    "in namespace /",
    r#"event     ["echo",{"text":"hello"}]"#,
    r#"ack       ["thank you"]"#,
    r#"event     ["question","how are you?"], to be acknowledged"#,
    r#"event     "echo" with the attachment"#,
];

#[test]
#[cfg(unix)]
#[ignore = "needs python3 and node"]
fn socketio_echo_with_the_official_server() {
    use common::official;

    let server = official::Server::start(official::Kind::SocketIo, &official::Options::default());
    for namespace in ["/", "/chat"] {
        run("socketio_echo", &[&server.url(), namespace], &SOCKETIO);
        // These are the server's own reports.
        assert_eq!(server.wait_for("answer")["answer"], "fine, thank you");
        let seen = server.wait_for("disconnect");
        assert_eq!(
            (seen["namespace"].as_str(), seen["reason"].as_str()),
            (Some(namespace), Some("client namespace disconnect"))
        );
    }
    let example = run_for("socketio_echo", &[&server.url(), "/closed"], 1);
    assert!(example.stderr.text().contains("members only"), "{}", example.report());
}
