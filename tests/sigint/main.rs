//! Ctrl-C. Each case runs in a child process, which is this program started again.

#![cfg(all(feature = "sigint", target_os = "linux"))]

mod choices;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use common::process::{threads, waiting, with_sigint};
use common::real::{Event, Server};
use common::scripted::Scripted;
use common::{PATIENCE, eventually, only};
use engineio::{Client, Error, Reconnection, State, TransportKind};
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process, setrlimit};
use signal_hook::consts::SIGINT;

use TransportKind::{Polling, WebSocket};

/// The signal by which a program without a handler ends.
const BY_SIGINT: Option<i32> = Some(2);

/// The exit code of a program with a handler, if the handler has run.
const HANDLED: Option<i32> = Some(7);

const PART: &str = "ENGINEIO_TEST_PART";
const URL: &str = "ENGINEIO_TEST_URL";
const TRANSPORT: &str = "ENGINEIO_TEST_TRANSPORT";

/// The entry point of the child processes. The parent process has no part to run.
#[test]
fn child() {
    let Ok(part) = std::env::var(PART) else { return };
    let part = part.as_str();
    if choices::run(part) {
        return;
    }
    let has_handler = matches!(part, "handler" | "connecting" | "reconnecting" | "lasting handled");
    let handled = Arc::new(AtomicBool::new(false));
    if has_handler {
        signal_hook::flag::register(SIGINT, handled.clone()).unwrap();
    }
    let mut clients = clients(part);
    for client in &clients {
        let connected = match part {
            "starved" => without_descriptors(|| connect(client)),
            "recovered" => {
                without_descriptors(|| connect(client)).unwrap_err();
                connect(client)
            }
            _ => connect(client),
        };
        match part {
            "connecting" | "starved" => println!("[{}]", connected.unwrap_err()),
            _ => connected.unwrap(),
        }
    }
    println!("[ready]");
    match part {
        "alive" => std::io::stdin().lines().for_each(|line| clients[0].send(line.unwrap()).unwrap()),
        "busy" => clients[0].send("to be echoed").unwrap(),
        "reconnecting" | "lasting" => clients[0].send("cmd:close").unwrap(),
        "lasting disconnect" | "lasting handled" => disconnect_in_time(&clients[0]),
        "dropped" => {
            eventually("the second client is disconnected", || clients[1].state() == State::Disconnected);
            clients.truncate(1);
            let readers = || threads().iter().filter(|(name, _)| name == "eio-reader").count();
            eventually("nobody but Ctrl-C has the second client", || readers() == 1);
            println!("[dropped]");
        }
        _ => {}
    }
    // The first client is waited for last, because its end may never come.
    clients.iter().rev().for_each(Client::wait);
    println!("[behind wait]");
    if has_handler {
        // The connection is over, and the process goes on.
        std::process::exit(if handled.load(Ordering::SeqCst) { 7 } else { 8 });
    }
    // Without a handler, the signal ends the process.
    park();
}

/// The clients of a child process. Only the first one has handlers that do not return.
fn clients(part: &str) -> Vec<Client> {
    let never = Duration::from_secs(3600);
    let policy =
        Reconnection::new().delay(never).max_delay(never).on_event(|event| println!("[policy: {event}]"));
    let mut builder = Client::builder().handle_sigint(part != "off").reconnection(policy);
    let lasting = part.starts_with("lasting");
    if matches!(part, "hang" | "dropped") || lasting {
        builder = builder.request_timeout(PATIENCE * 10);
    }
    let count = if matches!(part, "two" | "hang" | "dropped") { 2 } else { 1 };
    let clients: Vec<_> = (0..count).map(|_| builder.clone().build().unwrap()).collect();
    for (index, client) in clients.iter().enumerate() {
        let hangs = part == "hang" && index == 0;
        let lasts = lasting || part == "dropped" && index == 0;
        client.on_disconnect(move |_, reason| {
            println!("[{reason} {index}]");
            if hangs {
                park();
            }
            if lasts {
                // The handler returns when the parent sends a line.
                std::io::stdin().lines().next();
                println!("[handler done]");
            }
        });
        let busy = part == "busy";
        let held = (part == "dropped" && index == 1).then(|| Panics);
        client.on_message(move |_, _| {
            let _ = &held;
            println!("[message]");
            if busy {
                park();
            }
        });
    }
    clients
}

/// A value of a handler. The last share of the client drops it.
struct Panics;

impl Drop for Panics {
    fn drop(&mut self) {
        println!("[dropped on {}]", thread::current().name().unwrap());
        panic!("in a destructor");
    }
}

/// Disconnects while the disconnect handler runs.
fn disconnect_in_time(client: &Client) {
    client.send("cmd:close").unwrap();
    eventually("the handler runs", || client.state() == State::Disconnected);
    let disconnecting = client.clone();
    let disconnect = waiting("disconnect waits", move || drop(disconnecting.disconnect()));
    println!("[disconnecting]");
    disconnect.join().unwrap();
    println!("[behind disconnect]");
}

fn connect(client: &Client) -> Result<(), Error> {
    let transport: TransportKind = std::env::var(TRANSPORT).unwrap().parse().unwrap();
    client.connect_with(std::env::var(URL).unwrap(), only(transport))
}

/// Runs a function while no file descriptor can be opened.
fn without_descriptors<T>(run: impl FnOnce() -> T) -> T {
    let before = getrlimit(Resource::Nofile);
    let mut none = before;
    none.current = Some(0);
    setrlimit(Resource::Nofile, none).unwrap();
    let result = run();
    setrlimit(Resource::Nofile, before).unwrap();
    result
}

fn park() -> ! {
    loop {
        thread::park();
    }
}

struct Program {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Program {
    fn start(part: &str, url: &str, transport: TransportKind) -> Self {
        let disposition = if part == "alive" { "ignore" } else { "default" };
        let mut child = with_sigint(disposition, std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .envs([(PART, part), (URL, url), (TRANSPORT, transport.as_str())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        // This thread ends with the child, or when the receiver is dropped.
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Program { input: child.stdin.take().unwrap(), lines, child }
    }

    /// Waits for a line of the child that contains `expected`.
    fn says(&self, expected: &str) {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            if line.unwrap_or_else(|e| panic!("the child has not said {expected:?}: {e}")).contains(expected)
            {
                return;
            }
        }
    }

    /// The lines that were not read yet. Waits for the child's end.
    fn rest(&self) -> Vec<String> {
        self.lines.iter().collect()
    }

    fn interrupt(&self) {
        let id = Pid::from_child(&self.child);
        kill_process(id, Signal::INT).unwrap();
    }

    fn ends(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the child ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The child has ended already, unless the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn without_a_handler_the_server_sees_a_close_and_the_process_dies_by_the_signal() {
    for (transport, part) in [(Polling, "plain"), (WebSocket, "plain"), (WebSocket, "two")] {
        let server = Server::start();
        let mut program = Program::start(part, server.url(), transport);
        program.says("[ready]");
        program.interrupt();
        program.says("[client disconnect");
        assert_eq!(program.ends().signal(), BY_SIGINT, "{part}");
        assert!(!program.rest().contains(&"[behind wait]".into()), "{part}");
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
        program.says("[ready]");
        program.interrupt();
        program.says("[client disconnect");
        assert_eq!(program.ends().code(), HANDLED);
        assert_eq!(server.disconnected(), "TransportClose");
    }
}

#[test]
fn a_client_without_it_does_not_interfere() {
    // The transport is polling, by which the server notices only by a missing pong that the client has gone.
    let server = Server::start();
    let mut program = Program::start("off", server.url(), Polling);
    program.says("[ready]");
    assert_eq!(server.next(), Event::Connect);
    program.interrupt();
    assert_eq!(program.ends().signal(), BY_SIGINT);
    // The server's next event comes from this other client.
    let next = Client::builder().handle_sigint(false).build().unwrap();
    next.connect(server.url()).unwrap();
    assert_eq!(server.next(), Event::Connect);
    next.disconnect().unwrap();
}

#[test]
fn an_ignored_signal_stays_ignored() {
    let server = Server::start();
    let mut program = Program::start("alive", server.url(), WebSocket);
    program.says("[ready]");
    program.interrupt();
    writeln!(program.input, "still here").unwrap();
    assert_eq!(server.next(), Event::Connect);
    assert_eq!(server.next(), Event::Text("still here".into()));
}

#[test]
fn a_disconnect_that_hangs_holds_no_other_client_up_nor_a_second_signal() {
    let server = Server::start();
    let mut program = Program::start("hang", server.url(), WebSocket);
    program.says("[ready]");
    program.interrupt();
    // The order does not matter: the first client's handler does not return.
    program.says("[client disconnect");
    program.says("[client disconnect");
    for _ in 0..2 {
        assert_eq!(server.disconnected(), "TransportClose");
    }
    assert_eq!(program.child.try_wait().unwrap(), None, "it waits for the handler");
    program.interrupt();
    assert_eq!(program.ends().signal(), BY_SIGINT);
}

/// The connection is over and its disconnect handler still runs. The process does not end before the handler
/// is done.
#[test]
fn a_disconnect_handler_that_runs_is_waited_for() {
    for (transport, part) in [(Polling, "lasting"), (WebSocket, "lasting"), (WebSocket, "lasting disconnect")]
    {
        let server = Server::start();
        let mut program = Program::start(part, server.url(), transport);
        program.says(" 0]");
        if part == "lasting disconnect" {
            program.says("[disconnecting]");
        }
        program.interrupt();
        // A process that does not wait would end in this time.
        thread::sleep(Duration::from_millis(300));
        let _ = writeln!(program.input);
        program.says("[handler done]");
        assert_eq!(program.ends().signal(), BY_SIGINT, "{part}");
        assert!(!program.rest().contains(&"[behind wait]".into()), "{part}");
    }
}

/// In a program with a signal handler of its own, `disconnect` also returns after the disconnect handler.
#[test]
fn a_disconnect_that_waits_is_not_ended() {
    let server = Server::start();
    let mut program = Program::start("lasting handled", server.url(), WebSocket);
    program.says("[disconnecting]");
    program.interrupt();
    // A disconnect that does not wait would return in this time.
    thread::sleep(Duration::from_millis(300));
    let _ = writeln!(program.input);
    program.says("[handler done]");
    program.says("[behind disconnect]");
    assert_eq!(program.ends().code(), HANDLED);
}

#[test]
fn a_handler_that_never_ends_is_not_waited_for_beyond_the_timeout() {
    let server = Server::start();
    let mut program = Program::start("busy", server.url(), WebSocket);
    program.says("[message]");
    program.interrupt();
    assert_eq!(server.disconnected(), "TransportClose");
    assert_eq!(program.ends().signal(), BY_SIGINT);
}

/// Ctrl-C waits for the first client's handler. Meanwhile the program drops the second client, so that Ctrl-C
/// has the last share of it.
#[test]
fn a_destructor_that_panics_does_not_keep_the_process_alive() {
    let server = Server::start();
    let mut program = Program::start("dropped", server.url(), WebSocket);
    program.says("[ready]");
    program.interrupt();
    program.says("[dropped]");
    writeln!(program.input).unwrap();
    program.says("[dropped on eio-sigint]");
    assert_eq!(program.ends().signal(), BY_SIGINT);
}

#[test]
fn an_attempt_to_connect_ends() {
    let server = Scripted::start(|exchange| exchange.hold());
    let mut program = Program::start("connecting", server.url(), Polling);
    server.wait_for("request", |_| true);
    program.interrupt();
    program.says("[the connection attempt was ended by `disconnect` or Ctrl-C");
    assert_eq!(program.ends().code(), HANDLED);
}

#[test]
fn connecting_again_ends() {
    let server = Server::start();
    let mut program = Program::start("reconnecting", server.url(), WebSocket);
    program.says("[policy: connecting again in");
    program.interrupt();
    assert_eq!(program.ends().code(), HANDLED);
}

#[test]
fn what_cannot_be_installed_leaves_the_signal_alone_and_is_tried_again() {
    let server = Server::start();
    let mut program = Program::start("starved", server.url(), WebSocket);
    program.says("[ready]");
    program.interrupt();
    assert_eq!(program.ends().signal(), BY_SIGINT);

    let mut program = Program::start("recovered", server.url(), WebSocket);
    program.says("[ready]");
    program.interrupt();
    program.says("[client disconnect");
    assert_eq!(program.ends().signal(), BY_SIGINT);
    assert_eq!(server.disconnected(), "TransportClose");
}
