//! The program `engineio-cat` as a child process.

#[path = "../../../tests/examples/harness.rs"]
mod harness;

#[cfg(target_os = "linux")]
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use demo_server::{Kind, Server};
use harness::{Example, Output, PATIENCE};

const PROGRAM: &str = env!("CARGO_BIN_EXE_engineio-cat");

fn start(arguments: &[&str]) -> Example {
    Example::start(Path::new(PROGRAM), arguments)
}

fn run_for(arguments: &[&str], input: &str, code: i32) -> Example {
    harness::run_for(Path::new(PROGRAM), arguments, input, code)
}

fn echo() -> Server {
    Server::start(Kind::Echo).expect("a port is free")
}

/// Runs `cat`, and ends its input only when `last` has been printed, so the result does not depend on timing.
fn converse(arguments: &[&str], input: impl AsRef<[u8]>, last: &str) -> Example {
    let mut example = start(arguments);
    example.write(input);
    example.stdout.wait_for(last);
    example.end_input();
    assert_eq!(example.code(), 0, "{}", example.report());
    example
}

#[test]
fn lines_go_out_and_come_back() {
    let server = echo();
    for arguments in [&[server.url()][..], &["-t", "polling", server.url()]] {
        let example = converse(arguments, "one\n\n  three\u{1F980}\n", "three");
        assert_eq!(example.stdout.lines, ["one", "", "  three\u{1F980}"], "{}", example.report());
        assert_eq!(example.stderr.text(), "");
    }
}

#[test]
fn what_comes_after_the_end_of_input_is_printed() {
    let mut example = start(&["--linger", "1000", echo().url()]);
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
    let example = converse(&["--json", echo().url()], "{\"a\":[1]}\nnot JSON\n", "not JSON");
    assert_eq!(example.stdout.lines, ["{", "  \"a\": [", "    1", "  ]", "}", "not JSON"]);
}

#[test]
fn binary_goes_through_as_it_is() {
    let mut bytes: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    bytes.extend(b"\nthe end\n");
    let example = converse(&["--binary", echo().url()], &bytes, "the end");
    assert!(example.stdout.bytes == bytes, "{} bytes came back", example.stdout.bytes.len());
}

#[test]
fn binary_is_printed_in_hexadecimal() {
    let server = Server::start(Kind::Room).expect("a port is free");
    let mut example = start(&["-v", server.url()]);
    example.stderr.wait_for("connected by websocket");
    let other = engineio::Client::new();
    other.connect(server.url()).expect("the server is there");
    other.send(&[0, 1, 255]).expect("connected");
    example.stdout.wait_for("<3 bytes> 00 01 ff");
}

/// Only to a terminal: a file, or another program, gets what the server sent.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_gets_no_control_characters() {
    let line = "red \x1b[31m, \u{9b}31m, \u{202e}back, a\ttab, \rover\n";
    let arguments = [&[][..], &["--json"], &["--binary"]];
    for arguments in arguments {
        let (mut output, terminal) = terminal();
        let mut child = Command::new(PROGRAM)
            .args(arguments)
            .arg(echo().url())
            .stdin(Stdio::piped())
            .stdout(terminal)
            .stderr(Stdio::null())
            .spawn()
            .expect("it is built");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(line.as_bytes()).expect("cat reads");
        output.wait_for("over");
        drop(stdin);
        assert!(child.wait().expect("it is our child").success());
        let shown = output.text();
        assert_eq!(shown, r"red \u{1b}[31m, \u{9b}31m, \u{202e}back, a	tab, \rover".replace(r"a\t", "a\t"));
    }
    assert_eq!(converse(&[echo().url()], line, "over").stdout.bytes, line.as_bytes());
}

/// The output of a pseudo-terminal, and the terminal for a child.
#[cfg(target_os = "linux")]
fn terminal() -> (Output, std::fs::File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    let controller = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("there are terminals");
    grantpt(&controller).and_then(|()| unlockpt(&controller)).expect("the terminal is ours");
    let path = ptsname(&controller, Vec::new()).expect("it has a name").into_string().expect("an ASCII name");
    let terminal = std::fs::File::options().read(true).write(true).open(path).expect("it can be opened");
    (Output::of(std::fs::File::from(controller)), terminal)
}

#[test]
fn text_that_is_none_is_refused() {
    let mut example = start(&[echo().url()]);
    example.write([0xff, b'\n']);
    assert_eq!(example.code(), 1);
    assert!(example.stderr.text().contains("--binary takes anything"), "{}", example.report());
}

#[test]
fn headers_and_a_path() {
    let example = converse(&["-H", "X-User: ann", "-H", "Authorization:x", echo().url()], "", "welcome, ann");
    assert_eq!(example.stdout.text(), "welcome, ann");
    let server = Server::start(Kind::SocketIo).expect("a port is free");
    let example = converse(&["--path", "socket.io", server.url()], "0\n", "embedded");
    assert_eq!(example.stdout.text(), r#"0{"sid":"embedded"}"#);
    run_for(&["--path", "elsewhere", server.url()], "", 1);
}

#[test]
fn verbose_tells_what_happens_but_no_secrets() {
    let arguments = ["-vvv", "-H", "Authorization: a-secret", "-H", "Cookie: a=a-secret", echo().url()]
        .map(str::to_owned);
    let example = converse(&arguments.each_ref().map(String::as_str), "hello\n", "hello");
    let log = example.stderr.text();
    for part in ["connected by websocket", "TRACE", "hello", "sent     1 messages", "received 1 messages"] {
        assert!(log.contains(part), "no {part:?}; {}", example.report());
    }
    assert!(!log.contains("a-secret"), "{}", example.report());
    assert_eq!(example.stdout.text(), "hello");
}

#[test]
fn the_exit_code_tells_how_it_ended() {
    let nobody =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port is free");
    let example = run_for(&[&format!("http://{nobody}")], "", 1);
    assert!(example.stderr.text().contains("connection refused"), "{}", example.report());
    for wrong in [&["-H", "no colon"][..], &["-t", "pigeon"], &["--linger", "-1"], &["--unknown"]] {
        run_for(wrong, "", 2);
    }
    let example = run_for(&["--help"], "", 0);
    assert!(example.stdout.text().contains("Exit code"));
    // The input exceeds the server's limit.
    let server = echo();
    let example = run_for(&[server.url()], &"x".repeat(1_000_000), 1);
    assert!(example.stderr.text().contains("the server accepts"), "{}", example.report());
}

#[test]
fn the_server_ends_it() {
    type End = fn(&Server);
    let ends: [(&str, End, i32); 2] =
        [("before the end of the input", Server::kick, 1), ("transport error", Server::cut, 1)];
    for (told, end, code) in ends {
        let server = echo();
        let mut example = start(&["-v", server.url()]);
        // The echo ensures that the upgrade is over: during an upgrade engineioxide drops the connection
        // without a close packet.
        example.write("echo\n");
        example.stdout.wait_for("echo");
        end(&server);
        assert_eq!(example.code(), code, "{}", example.report());
        assert!(example.stderr.text().contains(told), "{}", example.report());
    }
}

#[test]
fn the_server_ends_it_when_all_is_said() {
    let server = echo();
    let mut example = start(&["--linger", "1000", "-v", server.url()]);
    example.write("last\n");
    example.end_input();
    example.stdout.wait_for("last");
    example.stderr.wait_for("end of the input");
    server.kick();
    assert_eq!(example.code(), 0, "{}", example.report());
}

#[cfg(target_os = "linux")]
#[test]
fn ctrl_c_disconnects_and_ends_it() {
    use std::os::unix::process::ExitStatusExt;

    // The program must not inherit our disposition, which is `ignore` in the background of a script.
    let mut child = Command::new("env")
        .args(["--default-signal=INT", PROGRAM])
        .args(["-v", echo().url()])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it is built");
    let mut stderr = Output::of(child.stderr.take().expect("piped"));
    stderr.wait_for("connected by websocket");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let status = child.wait().unwrap();
    stderr.read_to_end();
    assert_eq!(status.signal(), Some(2), "{status}");
    assert!(!stderr.text().contains("engineio-cat:"), "{}", stderr.text());
}

#[test]
fn reconnects_and_holds_the_input_meanwhile() {
    let server = echo();
    let mut example = start(&["--reconnect", "-v", server.url()]);
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
    let mut child = Command::new(PROGRAM)
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

#[test]
fn a_proxy_and_an_authority_are_used() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let example = run_for(&["--proxy", &format!("http://{nobody}"), echo().url()], "", 1);
    assert!(example.stderr.text().contains("proxy"), "{}", example.report());
    let example = run_for(&["--ca", "no-such-file.pem", echo().url()], "", 1);
    assert!(example.stderr.text().contains("No such file"), "{}", example.report());
}
