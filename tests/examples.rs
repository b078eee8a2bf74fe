//! Every example, run as a reader of it would: its program as a child process, its output and its exit code.
//!
//! `cargo test` builds the examples; with `--test examples` alone, `cargo build --examples` has to be called before.

mod common;
#[path = "../examples/embedded/mod.rs"]
mod embedded;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use embedded::{Kind, Server};

/// How long an example may take. Only a failing test waits that long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running example. Dropping it kills and reaps the process.
struct Example {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Output,
    stderr: Output,
}

impl Example {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let program = program(name);
        let mut child = Command::new(&program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}; `cargo build --examples` makes it", program.display()));
        Example {
            name: name.to_owned(),
            stdin: child.stdin.take(),
            stdout: Output::of(child.stdout.take().expect("stdout is piped")),
            stderr: Output::of(child.stderr.take().expect("stderr is piped")),
            child,
        }
    }

    fn write(&mut self, text: impl AsRef<[u8]>) {
        let stdin = self.stdin.as_mut().expect("the input has not ended");
        stdin.write_all(text.as_ref()).and_then(|()| stdin.flush()).expect("the example reads");
    }

    fn end_input(&mut self) {
        self.stdin = None;
    }

    /// Waits for the end. The code is that of the exit.
    fn code(&mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                self.stdout.read_to_end();
                self.stderr.read_to_end();
                return status.code().unwrap_or_else(|| panic!("{status}; {}", self.report()));
            }
            assert!(Instant::now() < deadline, "{} has not ended; {}", self.name, self.report());
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn report(&self) -> String {
        format!("stdout:\n{}\nstderr:\n{}", self.stdout.text(), self.stderr.text())
    }

    /// The lines, in that order, perhaps with others between. A line may be given in part.
    fn assert_lines(&self, expected: &[&str]) {
        let mut lines = self.stdout.lines.iter();
        for part in expected {
            assert!(lines.any(|line| line.contains(part)), "no line with {part:?}; {}", self.report());
        }
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // An error means that it has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a child writes, read as it comes, so that it never waits for us.
struct Output {
    arriving: Receiver<Vec<u8>>,
    pump: Option<JoinHandle<()>>,
    bytes: Vec<u8>,
    lines: Vec<String>,
}

impl Output {
    fn of(output: impl Read + Send + 'static) -> Self {
        let (sender, arriving) = mpsc::channel();
        let pump = thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while let Ok(1..) = output.read_until(b'\n', &mut line) {
                // Read on when nobody listens any more.
                let _ = sender.send(std::mem::take(&mut line));
            }
        });
        Output { arriving, pump: Some(pump), bytes: Vec::new(), lines: Vec::new() }
    }

    fn take(&mut self, line: Vec<u8>) {
        self.lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
        self.bytes.extend(line);
    }

    /// Waits for a line that has that in it.
    fn wait_for(&mut self, part: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.arriving.recv_timeout(left) {
                Ok(line) => self.take(line),
                Err(e) => panic!("no line with {part:?}: {e}; there is:\n{}", self.text()),
            }
            if self.lines.last().is_some_and(|line| line.contains(part)) {
                return;
            }
        }
    }

    /// For a child that has ended.
    fn read_to_end(&mut self) {
        if let Some(pump) = self.pump.take() {
            pump.join().expect("the pump does not panic");
        }
        while let Ok(line) = self.arriving.try_recv() {
            self.take(line);
        }
    }

    fn text(&self) -> String {
        self.lines.join("\n")
    }
}

/// Examples lie beside the directory with the tests.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test has a path");
    let target = test.ancestors().nth(2).expect("it lies in target/<profile>/deps");
    target.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// Runs an example to its end, which must be a good one.
fn run(name: &str, arguments: &[&str], expected: &[&str]) -> Example {
    let example = run_for(name, arguments, "", 0);
    example.assert_lines(expected);
    example
}

fn run_for(name: &str, arguments: &[&str], input: &str, code: i32) -> Example {
    let mut example = Example::start(name, arguments);
    example.write(input);
    example.end_input();
    let ended = example.code();
    assert_eq!(ended, code, "{}", example.report());
    example
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
fn custom_headers() {
    let example = run("custom_headers", &[], &["received welcome, ann", "received hello"]);
    assert!(!example.stdout.text().contains("a-secret"), "{}", example.report());
    run("custom_headers", &[echo().url()], &["received welcome, ann", "received hello"]);
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
    let mut example = Example::start("background_task", &[server.url()]);
    example.stdout.wait_for("received up for");
    server.kick();
    assert_eq!(example.code(), 0, "{}", example.report());
    example.assert_lines(&["disconnected: server disconnect", "reports were sent"]);
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
    let mut example = Example::start("disconnect_reasons", &[server.url()]);
    example.stdout.wait_for("waiting for the end");
    server.cut();
    assert_eq!(example.code(), 0, "{}", example.report());
    example.assert_lines(&["transport error", "in detail: "]);
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
        "the connection is closed",
    ];
    // The body stands in the line of the status.
    let example = run("error_handling", &[], &[&expected[..3], &expected[4..]].concat());
    assert!(example.stdout.text().contains(expected[3]), "{}", example.report());
    assert!(!example.stdout.text().contains("no error"), "{}", example.report());
    run("error_handling", &[echo().url()], &["connected by websocket"]);
    let example = run_for("error_handling", &[&embedded::refusing().expect("a port is free")], "", 1);
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
        let mut example = Example::start(name, &[server.url()]);
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
    // One that does not pass messages on.
    let example = run_for("chat", &[echo().url()], "", 1);
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

const SOCKETIO: [&str; 4] = [
    "in namespace /",
    r#"event     ["echo",{"text":"hello"}]"#,
    r#"ack       ["thank you"]"#,
    r#"event     ["question","how are you?"], to be acknowledged"#,
];

#[test]
#[cfg(unix)]
#[ignore = "needs python3 and node"]
fn socketio_echo_with_the_official_server() {
    use common::official;

    let server = official::Server::start(official::Kind::SocketIo, &official::Options::default());
    for namespace in ["/", "/chat"] {
        run("socketio_echo", &[&server.url(), namespace], &SOCKETIO);
        // What the server was told.
        assert_eq!(server.wait_for("answer")["answer"], "fine, thank you");
        let seen = server.wait_for("disconnect");
        assert_eq!(
            (seen["namespace"].as_str(), seen["reason"].as_str()),
            (Some(namespace), Some("client namespace disconnect"))
        );
    }
    let example = run_for("socketio_echo", &[&server.url(), "/closed"], "", 1);
    assert!(example.stderr.text().contains("members only"), "{}", example.report());
}

mod cat {
    use super::*;

    /// Ends the input when that has been printed, so that nothing hangs on how long it takes.
    fn converse(arguments: &[&str], input: impl AsRef<[u8]>, last: &str) -> Example {
        let mut example = Example::start("cat", arguments);
        example.write(input);
        example.stdout.wait_for(last);
        example.end_input();
        assert_eq!(example.code(), 0, "{}", example.report());
        example
    }

    #[test]
    fn lines_go_out_and_come_back() {
        let server = echo();
        for arguments in [&[][..], &[server.url()], &["-t", "polling", server.url()]] {
            let example = converse(arguments, "one\n\n  three\u{1F980}\n", "three");
            assert_eq!(example.stdout.lines, ["one", "", "  three\u{1F980}"], "{}", example.report());
            assert_eq!(example.stderr.text(), "");
        }
    }

    #[test]
    fn what_comes_after_the_end_of_input_is_printed() {
        let mut example = Example::start("cat", &["--linger", "1000", echo().url()]);
        example.write("no line end");
        example.end_input();
        example.stdout.wait_for("no line end");
    }

    #[test]
    fn much_input_loses_nothing() {
        let input: String = (0..20_000).map(|i| format!("line {i}\n")).collect();
        let example = converse(&[echo().url()], &input, "line 19999");
        assert_eq!(example.stdout.bytes, input.as_bytes());
    }

    #[test]
    fn json_is_printed_indented() {
        let example = converse(&["--json"], "{\"a\":[1]}\nnot JSON\n", "not JSON");
        assert_eq!(example.stdout.lines, ["{", "  \"a\": [", "    1", "  ]", "}", "not JSON"]);
    }

    #[test]
    fn binary_goes_through_as_it_is() {
        let mut bytes: Vec<u8> = (0..=255).cycle().take(200_000).collect();
        bytes.extend(b"\nthe end\n");
        let example = converse(&["--binary"], &bytes, "the end");
        assert!(example.stdout.bytes == bytes, "{} bytes came back", example.stdout.bytes.len());
    }

    #[test]
    fn binary_is_printed_in_hexadecimal() {
        let server = Server::start(Kind::Room).expect("a port is free");
        let mut example = Example::start("cat", &["-v", server.url()]);
        example.stderr.wait_for("connected by websocket");
        let other = engineio::Client::new();
        other.connect(server.url()).expect("the server is there");
        other.send(&[0, 1, 255]).expect("connected");
        example.stdout.wait_for("<3 bytes> 00 01 ff");
    }

    #[test]
    fn text_that_is_none_is_refused() {
        let mut example = Example::start("cat", &[]);
        example.write([0xff, b'\n']);
        assert_eq!(example.code(), 1);
        assert!(example.stderr.text().contains("--binary takes anything"), "{}", example.report());
    }

    #[test]
    fn headers_and_a_path() {
        let example =
            converse(&["-H", "X-User: ann", "-H", "Authorization:x", echo().url()], "", "welcome, ann");
        assert_eq!(example.stdout.text(), "welcome, ann");
        let server = Server::start(Kind::SocketIo).expect("a port is free");
        let example = converse(&["--path", "socket.io", server.url()], "0\n", "embedded");
        assert_eq!(example.stdout.text(), r#"0{"sid":"embedded"}"#);
        run_for("cat", &["--path", "elsewhere", server.url()], "", 1);
    }

    #[test]
    fn verbose_tells_what_happens_but_no_secrets() {
        let arguments = ["-vvv", "-H", "Authorization: a-secret", "-H", "Cookie: a=a-secret", echo().url()]
            .map(str::to_owned);
        let example = converse(&arguments.each_ref().map(String::as_str), "hello\n", "hello");
        let log = example.stderr.text();
        for part in ["connected by websocket", "TRACE", "hello", "sent     1 messages", "received 1 messages"]
        {
            assert!(log.contains(part), "no {part:?}; {}", example.report());
        }
        assert!(!log.contains("a-secret"), "{}", example.report());
        assert_eq!(example.stdout.text(), "hello");
    }

    #[test]
    fn the_exit_code_tells_how_it_ended() {
        let nobody =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port is free");
        let example = run_for("cat", &[&format!("http://{nobody}")], "", 1);
        assert!(example.stderr.text().contains("connection refused"), "{}", example.report());
        for wrong in [&["-H", "no colon"][..], &["-t", "pigeon"], &["--linger", "-1"], &["--unknown"]] {
            run_for("cat", wrong, "", 2);
        }
        let example = run_for("cat", &["--help"], "", 0);
        assert!(example.stdout.text().contains("Exit code"));
        // Above what the server takes.
        let example = run_for("cat", &[], &"x".repeat(1_000_000), 1);
        assert!(example.stderr.text().contains("the server accepts"), "{}", example.report());
    }

    #[test]
    fn the_server_ends_it() {
        type End = fn(&Server);
        let ends: [(&str, End, i32); 2] =
            [("server disconnect", Server::kick, 0), ("transport error", Server::cut, 1)];
        for (reason, end, code) in ends {
            let server = echo();
            let mut example = Example::start("cat", &["-v", server.url()]);
            example.stderr.wait_for("connected by websocket");
            end(&server);
            assert_eq!(example.code(), code, "{}", example.report());
            assert!(example.stderr.text().contains(reason), "{}", example.report());
        }
    }

    #[test]
    fn reconnects_and_holds_the_input_meanwhile() {
        let server = echo();
        let mut example = Example::start("cat", &["--reconnect", "-v", server.url()]);
        example.stderr.wait_for("connected by websocket");
        server.cut();
        example.stderr.wait_for("connecting again");
        example.write("held\n");
        server.mend();
        example.stdout.wait_for("held");
        example.end_input();
        assert_eq!(example.code(), 0, "{}", example.report());
    }

    #[test]
    fn ends_when_nobody_reads_its_output() {
        let server = Server::start(Kind::Room).expect("a port is free");
        let mut child = Command::new(program("cat"))
            .arg(server.url())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it is built");
        drop(child.stdout.take());
        let other = engineio::Client::new();
        other.connect(server.url()).expect("the server is there");
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            other.send("anybody there?").expect("connected");
            match child.try_wait().expect("it is our child") {
                Some(status) => break Some(status),
                None if Instant::now() > deadline => break None,
                None => thread::sleep(Duration::from_millis(20)),
            }
        };
        if status.is_none() {
            let _ = child.kill();
            let _ = child.wait();
        }
        assert!(status.is_some_and(|status| status.success()), "{status:?}");
    }
}
