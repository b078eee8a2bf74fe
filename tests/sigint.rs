//! Ctrl-C in programs of their own: this one, started again to play one part.

#![cfg(all(feature = "sigint", target_os = "linux"))]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::real::{Event, Server};
use common::scripted::Scripted;
use common::{PATIENCE, within};
use engineio::{Client, ConnectOptions, Reconnection, TransportKind};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::SIGINT;

use TransportKind::{Polling, WebSocket};

/// How a program without a handler ends.
const BY_SIGINT: Option<i32> = Some(2);

const PART: &str = "ENGINEIO_TEST_PART";
const URL: &str = "ENGINEIO_TEST_URL";
const TRANSPORT: &str = "ENGINEIO_TEST_TRANSPORT";

/// What the child processes run; in the parent there is no part to play.
#[test]
fn child() {
    let Ok(part) = std::env::var(PART) else { return };
    let url = std::env::var(URL).unwrap();
    let transport: TransportKind = std::env::var(TRANSPORT).unwrap().parse().unwrap();
    let handled = Arc::new(AtomicBool::new(false));
    if part == "handler" {
        signal_hook::flag::register(SIGINT, handled.clone()).unwrap();
    }
    let builder = Client::builder().handle_sigint(part != "off").reconnection(Reconnection::new());
    let builder = if part == "hang" { builder.request_timeout(PATIENCE * 10) } else { builder };
    let clients = [builder.clone().build().unwrap(), builder.build().unwrap()];
    let clients = if part == "two" { &clients[..] } else { &clients[..1] };
    for client in clients {
        let hangs = part == "hang";
        client.on_disconnect(move |_, reason| {
            println!("[{reason}]");
            if hangs {
                park();
            }
        });
        if part == "connecting" {
            println!("[connecting]");
        }
        let options = ConnectOptions::new().transports([transport]);
        let connected = client.connect_with(&url, options);
        assert!(connected.is_ok() || part == "connecting", "{connected:?}");
    }
    println!("[connected]");
    if part == "alive" {
        for line in std::io::stdin().lines() {
            clients[0].send(line.unwrap()).unwrap();
        }
    }
    clients.iter().for_each(Client::wait);
    if part == "handler" {
        // The connection is over, and the process goes on.
        std::process::exit(if handled.load(Ordering::SeqCst) { 7 } else { 8 });
    }
    // Without a handler, the signal ends what is left.
    park();
}

fn park() -> ! {
    loop {
        std::thread::park();
    }
}

struct Program {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Program {
    fn start(part: &str, url: &str, transport: TransportKind) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        if part == "alive" {
            // As a shell without job control does for what it puts into the background.
            command = Command::new("sh");
            command.args(["-c", "trap '' INT; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
        }
        let mut child = command
            .args(["--exact", "child", "--nocapture"])
            .envs([(PART, part), (URL, url), (TRANSPORT, transport.as_str())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Program { input: child.stdin.take().unwrap(), output, child }
    }

    /// Waits for a line of the child's.
    fn says(&mut self, expected: &str) {
        let mut line = String::new();
        while !line.contains(expected) {
            line.clear();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the child has not said {expected:?}");
        }
    }

    fn interrupt(&self) {
        let id = Pid::from_child(&self.child);
        kill_process(id, Signal::INT).unwrap();
    }

    fn ends(mut self) -> ExitStatus {
        within(PATIENCE, "the child ends", move || self.child.wait().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It has ended already, unless the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn without_a_handler_the_server_sees_a_close_and_the_process_dies_by_the_signal() {
    for (transport, part) in [(Polling, "plain"), (WebSocket, "plain"), (WebSocket, "two")] {
        let server = Server::start();
        let mut program = Program::start(part, server.url(), transport);
        program.says("[connected]");
        program.interrupt();
        program.says("[client disconnect]");
        assert_eq!(program.ends().signal(), BY_SIGINT, "{part}");
        for _ in 0..if part == "two" { 2 } else { 1 } {
            assert_eq!(server.disconnected(), "TransportClose");
        }
    }
}

#[test]
fn a_handler_of_its_own_runs_and_the_process_lives() {
    for transport in [Polling, WebSocket] {
        let server = Server::start();
        let mut program = Program::start("handler", server.url(), transport);
        program.says("[connected]");
        program.interrupt();
        program.says("[client disconnect]");
        assert_eq!(program.ends().code(), Some(7));
        assert_eq!(server.disconnected(), "TransportClose");
    }
}

#[test]
fn a_client_without_it_does_not_interfere() {
    // By polling: the server does not see that a client has gone before it misses a pong.
    let server = Server::start();
    let mut program = Program::start("off", server.url(), Polling);
    program.says("[connected]");
    assert_eq!(server.next(), Event::Connect);
    program.interrupt();
    assert_eq!(program.ends().signal(), BY_SIGINT);
    server.nothing_more();
}

#[test]
fn an_ignored_signal_stays_ignored() {
    let server = Server::start();
    let mut program = Program::start("alive", server.url(), WebSocket);
    program.says("[connected]");
    program.interrupt();
    writeln!(program.input, "still here").unwrap();
    assert_eq!(server.next(), Event::Connect);
    assert_eq!(server.next(), Event::Text("still here".into()));
}

#[test]
fn a_second_one_does_not_wait_for_a_disconnect_that_hangs() {
    let server = Server::start();
    let mut program = Program::start("hang", server.url(), WebSocket);
    program.says("[connected]");
    program.interrupt();
    program.says("[client disconnect]");
    // It is still there, as the handler does not end.
    assert_eq!(program.child.try_wait().unwrap(), None);
    program.interrupt();
    assert_eq!(program.ends().signal(), BY_SIGINT);
}

#[test]
fn an_attempt_to_connect_ends() {
    let server = Scripted::start(|exchange| exchange.hold());
    let mut program = Program::start("connecting", server.url(), Polling);
    program.says("[connecting]");
    server.wait_for("request", |_| true);
    program.interrupt();
    assert_eq!(program.ends().signal(), BY_SIGINT);
}
