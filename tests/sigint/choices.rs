//! The choices of `OnSigint`, and handlers of the program's own that are installed before and after the first
//! connection.

use engineio::OnSigint;
use signal_hook::iterator::Signals;

use super::*;

/// Runs a part of a child process. Returns false if it is none of this file.
pub(super) fn run(part: &str) -> bool {
    match part {
        "return" | "return twice" | "return and hang" => returns(part),
        "return beside exit" => {
            let (exits, returns) = (client(OnSigint::Exit), client(OnSigint::Return));
            connect(&exits).unwrap();
            connect(&returns).unwrap();
            println!("[ready]");
            exits.wait();
            returns.wait();
            println!("[behind wait]");
        }
        "hook after" | "hook after, return" => {
            let on_sigint = if part == "hook after" { OnSigint::Exit } else { OnSigint::Return };
            let client = client(on_sigint);
            connect(&client).unwrap();
            let mut signals = Signals::new([SIGINT]).unwrap();
            let own = thread::spawn(move || signals.forever().next().map(|_| println!("[own handler]")));
            println!("[ready]");
            client.wait();
            own.join().unwrap();
            println!("[behind wait]");
        }
        "ctrlc before" => {
            let (tell, told) = channel();
            ctrlc::set_handler(move || tell.send(()).unwrap()).unwrap();
            let client = client(OnSigint::Exit);
            connect(&client).unwrap();
            println!("[ready]");
            client.wait();
            told.recv_timeout(PATIENCE).unwrap();
            println!("[behind wait]");
        }
        "ctrlc after" => {
            let client = client(OnSigint::Exit);
            connect(&client).unwrap();
            let (tell, told) = channel();
            assert!(ctrlc::try_set_handler(|| {}).is_err(), "the client has a handler");
            ctrlc::set_handler(move || tell.send(()).unwrap()).unwrap();
            println!("[ready]");
            told.recv_timeout(PATIENCE).unwrap();
            client.send("still connected").unwrap();
            client.wait();
        }
        _ => return false,
    }
    true
}

fn client(on_sigint: OnSigint) -> Client {
    Client::builder().handle_sigint(on_sigint).build().unwrap()
}

/// Ends behind `wait`, with the state of a success.
fn returns(part: &str) {
    let client = client(OnSigint::Return);
    for _ in 0..if part == "return twice" { 2 } else { 1 } {
        client.on_disconnect(|_, reason| println!("[{reason}]"));
        connect(&client).unwrap();
        println!("[ready]");
        client.wait();
        println!("[behind wait]");
    }
    client.disconnect().unwrap();
    if part == "return and hang" {
        park();
    }
}

#[test]
fn wait_returns_and_the_program_goes_on() {
    for (transport, part) in [(Polling, "return"), (WebSocket, "return"), (WebSocket, "return beside exit")] {
        let server = Server::start();
        let mut program = Program::start(part, server.url(), transport);
        program.says("[ready]");
        program.interrupt();
        program.says("[behind wait]");
        assert_eq!(program.ends().code(), Some(0), "{part}");
        assert_eq!(server.disconnected(), "TransportClose");
    }
}

#[test]
fn a_second_ctrl_c_ends_a_program_that_hangs_behind_wait() {
    let server = Server::start();
    let mut program = Program::start("return and hang", server.url(), WebSocket);
    program.says("[ready]");
    program.interrupt();
    program.says("[behind wait]");
    program.interrupt();
    assert_eq!(program.ends().signal(), BY_SIGINT);
}

#[test]
fn the_next_connection_counts_anew() {
    let server = Server::start();
    let mut program = Program::start("return twice", server.url(), WebSocket);
    for _ in 0..2 {
        program.says("[ready]");
        program.interrupt();
        program.says("[client disconnect]");
        program.says("[behind wait]");
    }
    assert_eq!(program.ends().code(), Some(0));
}

/// The table in the documentation of `handle_sigint`. The first case with `signal-hook` is tested by
/// `a_handler_of_its_own_runs_and_the_process_lives`.
#[test]
fn handlers_beside_the_clients() {
    for (part, on_the_way, code) in [
        ("ctrlc before", "[behind wait]", Some(0)),
        ("hook after", "[own handler]", None),
        ("hook after, return", "[behind wait]", Some(0)),
    ] {
        let server = Server::start();
        let mut program = Program::start(part, server.url(), WebSocket);
        program.says("[ready]");
        program.interrupt();
        program.says(on_the_way);
        let status = program.ends();
        assert_eq!(status.code(), code, "{part}: {status}");
        assert_eq!(server.disconnected(), "TransportClose", "{part}");
    }
}

#[test]
fn a_handler_of_ctrlc_replaces_that_of_the_clients() {
    let server = Server::start();
    let program = Program::start("ctrlc after", server.url(), WebSocket);
    program.says("[ready]");
    assert_eq!(server.next(), Event::Connect);
    program.interrupt();
    assert_eq!(server.next(), Event::Text("still connected".into()));
}
