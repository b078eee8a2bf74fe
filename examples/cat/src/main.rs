//! A netcat for Engine.IO: it sends lines from stdin as messages, and prints the messages that it receives.
//!
//! ```text
//! cargo run -p engineio-cat -- http://localhost:5000
//! echo '{"a":1}' | cargo run -p engineio-cat -- --json -t websocket -H 'X-User: ann' http://localhost:5000
//! cargo run -p engineio-cat -- --help
//! ```

use std::error::Error;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{ArgAction, Parser};
use crossbeam_channel::{Receiver, Sender, at, bounded, never, select, unbounded};
use engineio::{Client, ConnectOptions, Error as ClientError, Message, Reason, Reconnection, TransportKind};
use log::{LevelFilter, Log, Metadata, Record};
use serde_json::Value;

/// Sends the lines of stdin to an Engine.IO server, and prints what the server sends.
///
/// The program ends at the end of the input, or when the server disconnects.
#[derive(Parser)]
#[command(after_help = "\
Messages go to stdout, everything else to stderr. On a terminal, control characters in messages other than \
tabs and line ends are shown as escapes.

Exit code: 0 if all of the input was sent and the connection ended cleanly; 1 if no connection could be \
made, or if it broke or ended before the end of the input; 2 for invalid arguments. \
Ctrl-C disconnects, and then ends the program by the signal.

Examples:
  engineio-cat http://localhost:5000
        Talk to a server by hand.
  engineio-cat -t websocket -vv http://localhost:5000
        Use websocket only, and show every packet.
  echo hello | engineio-cat --linger 0 http://localhost:5000
        Send a line, and do not wait for an answer.
  engineio-cat --path socket.io http://localhost:3000
        Talk to a Socket.IO server. The line 0 enters the main namespace.
        The line 2[\"event\",\"data\"] emits an event.")]
struct Arguments {
    /// URL of the server: http, https, ws, wss or unix
    url: String,

    /// Use this transport, polling or websocket. If repeated, the transports are tried in the given order
    /// [default: polling, then an upgrade to websocket]
    #[arg(short, long, value_name = "NAME")]
    transport: Vec<TransportKind>,

    /// Send this header with every request. May be repeated
    #[arg(short = 'H', long, value_name = "NAME: VALUE", value_parser = parse_header)]
    header: Vec<(String, String)>,

    /// Path of the endpoint on the server
    #[arg(long, default_value = "engine.io")]
    path: String,

    /// Print JSON messages indented, on several lines
    #[arg(long)]
    json: bool,

    /// Send each line as a binary message, including its line end, and write received bytes unchanged.
    /// Without this option, received bytes are printed in hexadecimal
    #[arg(long)]
    binary: bool,

    /// Accept any certificate from the server
    #[arg(short = 'k', long)]
    insecure: bool,

    /// PEM file with an authority to accept in addition to the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    /// Connect through this proxy (http://, https:// or socks5://), instead of the one from the environment
    #[arg(long, value_name = "URL")]
    proxy: Option<String>,

    /// Reconnect when the connection is lost. Meanwhile, input is held back
    #[arg(long)]
    reconnect: bool,

    /// Time to wait for messages after the end of the input, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = parse_seconds)]
    linger: Duration,

    /// Log to stderr. -v: states, warnings and a summary at the end; -vv: packets; -vvv: their contents
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
}

/// The time limit for the messages that are unsent at the end of the input, at most the 4 MiB of a full
/// outbox.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(60);

/// A notification from a handler to the main loop.
enum Event {
    Connected,
    Disconnected(Reason),
    /// Stdout was closed by its reader.
    OutputClosed,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_stderr(arguments.verbose);
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("engineio-cat: {}", explain(e.as_ref(), arguments.verbose > 0));
            ExitCode::FAILURE
        }
    }
}

/// The text of an error in terms of this program's options, on request with all its causes.
fn explain(error: &(dyn Error + 'static), in_full: bool) -> String {
    let text = match error.downcast_ref::<ClientError>() {
        Some(error) if in_full => format!("{error:?}"),
        _ => error.to_string(),
    };
    text.replace("`ConnectOptions::path`", "--path")
        .replace("with `ca_certificate`", "with --ca, or accept any with --insecure")
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let url = &arguments.url;
    let (events, happened) = unbounded();
    let client = client(arguments, events)?;
    client.connect_with(url, connect_options(arguments))?;
    if io::stdin().is_terminal() {
        eprintln!("connected to {url} by {}; Ctrl-D ends", client.transport()?);
    }
    let ended = exchange(&client, arguments, &happened);
    let disconnected = client.disconnect();
    if arguments.verbose > 0 {
        let (sent, received) = (client.stats().sent, client.stats().received);
        eprintln!("sent     {} messages in {} packets, {} bytes", sent.messages, sent.packets, sent.bytes);
        eprintln!(
            "received {} messages in {} packets, {} bytes",
            received.messages, received.packets, received.bytes
        );
    }
    ended?;
    Ok(disconnected?)
}

fn client(arguments: &Arguments, events: Sender<Event>) -> Result<Client, Box<dyn Error>> {
    let mut builder = Client::builder().ssl_verify(!arguments.insecure);
    if let Some(file) = &arguments.ca {
        let pem = std::fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?;
        builder = builder.ca_certificate(pem);
    }
    if let Some(proxy) = &arguments.proxy {
        builder = builder.proxy(proxy);
    }
    if arguments.reconnect {
        builder = builder.reconnection(Reconnection::new());
    }
    let client = builder.build()?;
    let (connects, disconnects) = (events.clone(), events.clone());
    client.on_connect(move |_| connects.send(Event::Connected));
    client.on_disconnect(move |_, reason| disconnects.send(Event::Disconnected(reason)));
    let (json, binary) = (arguments.json, arguments.binary);
    client.on_message(move |_, message| {
        if print(&message, json, binary).is_err() {
            events.send(Event::OutputClosed).ok();
        }
    });
    Ok(client)
}

fn connect_options(arguments: &Arguments) -> ConnectOptions {
    let mut options = ConnectOptions::new().path(&arguments.path);
    if !arguments.transport.is_empty() {
        options = options.transports(arguments.transport.iter().copied());
    }
    for (name, value) in &arguments.header {
        options = options.header(name, value);
    }
    options
}

/// Sends the messages from stdin, until stdin or the connection ends.
fn exchange(
    client: &Client,
    arguments: &Arguments,
    happened: &Receiver<Event>,
) -> Result<(), Box<dyn Error>> {
    let input = read_input(arguments.binary);
    let mut connected = true;
    // The message to send next. It stays here while there is no connection.
    let mut held: Option<Message> = None;
    let mut end = never();
    let mut at_end = false;
    loop {
        if let Some(message) = held.take_if(|_| connected) {
            match client.send(message.clone()) {
                // The event of the disconnect will arrive soon.
                Err(ClientError::SocketIsClosed) => (held, connected) = (Some(message), false),
                sent => sent?,
            }
        }
        let lines = if connected && !at_end { &input } else { &never() };
        select! {
            recv(lines) -> line => match line {
                Ok(line) => held = Some(line?),
                Err(_) => {
                    finish_input(client, arguments.verbose > 0)?;
                    at_end = true;
                    end = at(Instant::now() + arguments.linger);
                }
            },
            recv(end) -> _ => return Ok(()),
            recv(happened) -> event => match event? {
                Event::Connected => connected = true,
                Event::OutputClosed => return Ok(()),
                Event::Disconnected(reason) if arguments.reconnect => {
                    connected = false;
                    eprintln!("disconnected: {reason}; connecting again");
                }
                Event::Disconnected(reason) => return over(client, &reason, at_end && held.is_none()),
            },
        }
    }
}

fn finish_input(client: &Client, verbose: bool) -> Result<(), ClientError> {
    if verbose {
        eprintln!("end of the input");
    }
    match client.flush(FLUSH_TIMEOUT) {
        // The event of the disconnect will arrive soon.
        Ok(()) | Err(ClientError::SocketIsClosed) => Ok(()),
        failed => failed,
    }
}

/// The result of a connection that this program did not end by itself.
fn over(client: &Client, reason: &Reason, all_sent: bool) -> Result<(), Box<dyn Error>> {
    if *reason == Reason::ClientDisconnect {
        // The reason is Ctrl-C: the signal ends this process during the wait.
        client.wait();
    }
    eprintln!("disconnected: {reason}");
    match client.last_error() {
        _ if *reason == Reason::ServerDisconnect && all_sent => Ok(()),
        _ if *reason == Reason::ServerDisconnect => Err("the server left before the end of the input".into()),
        Some(error) => Err(error.into()),
        None => Err("the connection was lost".into()),
    }
}

/// Reads the lines of stdin as messages. The channel ends with the input.
fn read_input(binary: bool) -> Receiver<io::Result<Message>> {
    // The bound keeps a file from being read into memory: the thread is a line or two ahead of the network.
    let (lines, input) = bounded(2);
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        loop {
            let line = if binary { read_bytes(&mut stdin) } else { read_text(&mut stdin) };
            let Some(line) = line.transpose() else { return };
            let failed = line.is_err();
            if lines.send(line).is_err() || failed {
                return;
            }
        }
    });
    input
}

/// Reads a line with its line end. A long line is cut into parts that every server accepts.
fn read_bytes(input: &mut impl BufRead) -> io::Result<Option<Message>> {
    let mut bytes = Vec::new();
    let size = input.take(64 * 1024).read_until(b'\n', &mut bytes)?;
    Ok((size > 0).then(|| bytes.into()))
}

fn read_text(input: &mut impl BufRead) -> io::Result<Option<Message>> {
    let line = input.lines().next().transpose();
    let line = line.map_err(|e| match e.kind() {
        io::ErrorKind::InvalidData => {
            io::Error::new(e.kind(), "the input is not UTF-8; --binary takes anything")
        }
        _ => e,
    })?;
    Ok(line.map(Message::from))
}

fn print(message: &Message, json: bool, binary: bool) -> io::Result<()> {
    let out = io::stdout().lock();
    if out.is_terminal() {
        let mut shown = Vec::new();
        write_message(&mut shown, message, json, binary)?;
        return write_escaped(out, &String::from_utf8_lossy(&shown));
    }
    write_message(out, message, json, binary)
}

/// Writes a text of the server to a terminal, which control characters could make do anything.
fn write_escaped(mut out: impl Write, text: &str) -> io::Result<()> {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        let keeps = matches!(c, '\n' | '\t');
        // Separators of lines, and controls of the direction of text.
        let separates = matches!(c, '\u{2028}'..='\u{202e}');
        let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2066}'..='\u{2069}');
        if (c.is_control() && !keeps) || separates || turns {
            shown.extend(c.escape_debug());
        } else {
            shown.push(c);
        }
    }
    out.write_all(shown.as_bytes())?;
    out.flush()
}

fn write_message(mut out: impl Write, message: &Message, json: bool, binary: bool) -> io::Result<()> {
    match message {
        Message::Binary(bytes) if binary => out.write_all(bytes)?,
        Message::Binary(bytes) => {
            write!(out, "<{} bytes>", bytes.len())?;
            bytes.iter().try_for_each(|byte| write!(out, " {byte:02x}"))?;
            writeln!(out)?;
        }
        text => match text.json::<Value>() {
            Ok(value) if json => writeln!(out, "{value:#}")?,
            _ => writeln!(out, "{text}")?,
        },
    }
    out.flush()
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header is written 'Name: value'")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().map_err(|e| e.to_string())?;
    Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())
}

struct Stderr;

impl Log for Stderr {
    fn enabled(&self, metadata: &Metadata) -> bool {
        // Log lines of other crates may show cookies and passwords.
        metadata.target() == "engineio"
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            eprintln!("{:<5} {}", record.level(), record.args());
        }
    }

    fn flush(&self) {}
}

fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        // The error at the end is enough.
        0 => LevelFilter::Error,
        1 => LevelFilter::Info,
        2 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    // An error would mean that there is another logger, and there is none.
    let _ = log::set_logger(&Stderr);
    log::set_max_level(level);
}
