//! A line with a round trip of 300 ms that loses 2 % of the packets. The servers run in a namespace of their
//! own, and `line.py` connects both namespaces.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use engineio::{Client, ConnectOptions, Message, Reason, TransportKind};

use crate::{PART, Polling, WebSocket, bulk_server, system};
use common::real::{Event, Options, Server};
use common::scripted::open_with;
use common::{Seen, Watch, eventually};

/// The setup of a namespace. It selects reno, which every system has and permits, so the test is the same
/// everywhere. It also checks that the devices for the line can be made.
pub(crate) const SETUP: &str = "ip link set lo up && echo reno > /proc/sys/net/ipv4/tcp_congestion_control \
     && ip tuntap add dev probe mode tun && ip link del probe";

const NEAR: &str = "10.77.0.1";
const FAR: &str = "10.77.0.2";

const ROUND_TRIP: Duration = Duration::from_millis(300);

const PING_INTERVAL: Duration = Duration::from_secs(1);
const PING_TIMEOUT: Duration = Duration::from_secs(2);
/// The limit allows for a lost SYN, which costs a second: a pong waits for it during an upgrade or a POST.
const POLLING_PING_TIMEOUT: Duration = Duration::from_secs(4);
/// The limit is long because real servers do not see a pong that is on its way behind a big message.
const BULK_PING_TIMEOUT: Duration = Duration::from_secs(40);

const SMALL: usize = 200;
const BIG: usize = 300_000;
/// The size of a message that takes longer than the server may be silent.
const LONG: usize = 900_000;

/// The time limit for the round trip of a big message. The loss limits reno to some 40 kB/s.
const BULK_PATIENCE: Duration = Duration::from_secs(45);

const ROUTES: [&[TransportKind]; 3] = [&[Polling], &[WebSocket], &[Polling, WebSocket]];

fn small() -> impl Iterator<Item = String> {
    (0..SMALL).map(|i| format!("message {i}"))
}

fn big() -> Vec<u8> {
    (0..BIG).map(|i| (i % 251) as u8).collect()
}

/// A process that reports what it does, line by line, and ends when its stdin is closed.
struct Helper {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Helper {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Helper { child, lines }
    }

    /// Waits for the next line that starts with `word`, and returns the rest of it.
    fn told(&mut self, word: &str) -> String {
        let mut lines = self.lines.by_ref().map(Result::unwrap);
        lines.find_map(|line| line.strip_prefix(word).map(str::to_owned)).expect("it has failed")
    }

    fn end(&mut self) {
        self.child.stdin.take();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the servers, in a namespace of their own. Each route has one server for small messages and one for
/// big ones. The last servers send one big message each.
pub(crate) fn serve() {
    let address = "0.0.0.0";
    let ping = Options { ping_interval: PING_INTERVAL, address, ..Options::default() };
    let with_timeout = |ping_timeout| Server::with(Options { ping_timeout, ..ping.clone() });
    let talks = ROUTES.map(|route| {
        with_timeout(if route.contains(&Polling) { POLLING_PING_TIMEOUT } else { PING_TIMEOUT })
    });
    let bulks = ROUTES.map(|_| with_timeout(BULK_PING_TIMEOUT));
    let open = open_with(PING_INTERVAL.as_millis() as u64, PING_TIMEOUT.as_millis() as u64);
    let senders = [Polling, WebSocket].map(|_| bulk_server(address, open.clone(), LONG));
    let real = talks.iter().chain(&bulks).map(Server::url);
    let ports =
        real.chain(senders.iter().map(|sender| sender.url())).map(|url| url.rsplit(':').next().unwrap());
    println!("ports {}", ports.collect::<Vec<_>>().join(" "));
    thread::scope(|scope| {
        for server in &talks {
            scope.spawn(|| saw(server, small().map(Event::Text)));
        }
        for server in &bulks {
            scope.spawn(|| saw(server, [Event::Binary(big().into())]));
        }
    });
    println!("saw everything");
    // The servers run until the client's process has counted the losses.
    let _ = std::io::stdin().read_line(&mut String::new());
}

fn saw(server: &Server, messages: impl IntoIterator<Item = Event>) {
    let next = || server.next_within(BULK_PATIENCE);
    assert_eq!(next(), Event::Connect);
    for message in messages {
        let seen = next();
        assert!(seen == message, "{:.200}", format!("{seen:?} instead of {message:?}"));
    }
    assert_eq!(next(), Event::Disconnect("TransportClose".into()));
    server.nothing_more();
}

/// Starts the line to the namespace of the process `pid`.
fn line_to(pid: u32) -> Helper {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/network/line.py");
    let mut line = Helper::start(Command::new("python3").arg(script));
    line.told("ready");
    let far = format!("nsenter -t {pid} -n ip");
    for command in [
        format!("ip link set far netns {pid}"),
        format!("ip addr add {NEAR} peer {FAR} dev near"),
        format!("{far} addr add {FAR} peer {NEAR} dev far"),
        format!("{far} link set far mtu 1500 up"),
        "ip link set near mtu 1500 up".into(),
    ] {
        assert!(system(&command), "{command}");
    }
    line
}

/// Runs all connections at once, which takes no longer than one of them.
pub(crate) fn talk() {
    let exe = std::env::current_exe().unwrap();
    let in_namespace = format!("{SETUP} && exec \"$0\" --exact child --nocapture");
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-c", &in_namespace]).arg(exe).env(PART, "lossy-server");
    let mut servers = Helper::start(&mut command);
    let ports = servers.told("ports ");
    let urls: Vec<_> = ports.split(' ').map(|port| format!("http://{FAR}:{port}")).collect();
    let mut line = line_to(servers.child.id());
    thread::scope(|scope| {
        for (i, route) in ROUTES.into_iter().enumerate() {
            let (talk, bulk) = (&urls[i], &urls[ROUTES.len() + i]);
            scope.spawn(|| there_and_back(talk, route));
            scope.spawn(|| one_big_each_way(bulk, route));
        }
        for (url, transport) in urls[2 * ROUTES.len()..].iter().zip([Polling, WebSocket]) {
            scope.spawn(move || bytes_are_life(url, transport));
        }
    });
    servers.told("saw everything");
    line.end();
    let dropped = line.told("dropped ");
    assert!(dropped.split(' ').all(|count| count.parse::<u32>().unwrap() > 0), "{dropped}");
    assert!(retransmitted() > 0);
}

/// The number of TCP segments that were retransmitted from this namespace.
fn retransmitted() -> u64 {
    let snmp = std::fs::read_to_string("/proc/self/net/snmp").unwrap();
    let mut rows = snmp.lines().filter_map(|line| line.strip_prefix("Tcp: ")).map(|row| row.split(' '));
    let (names, values) = (rows.next().unwrap(), rows.next().unwrap());
    names.zip(values).find(|(name, _)| *name == "RetransSegs").unwrap().1.parse().unwrap()
}

fn connect(client: &Client, url: &str, route: &[TransportKind]) -> Watch {
    let watch = Watch::new(client);
    client.connect_with(url, ConnectOptions::new().transports(route.iter().copied())).unwrap();
    watch.connected();
    assert_eq!(client.transport().unwrap(), *route.last().unwrap());
    watch
}

fn disconnect(client: &Client, watch: &Watch) {
    client.disconnect().unwrap();
    assert_eq!(watch.disconnected(), Reason::ClientDisconnect);
    watch.nothing_more();
}

fn there_and_back(url: &str, route: &[TransportKind]) {
    let client = Client::new();
    let watch = connect(&client, url, route);
    let started = Instant::now();
    for (i, text) in small().enumerate() {
        client.send(&*text).unwrap();
        if i == 0 {
            assert_eq!(watch.message(), Message::from(text), "{route:?}");
            assert!(started.elapsed() >= ROUND_TRIP, "the line was not slow: {:?}", started.elapsed());
        }
    }
    for text in small().skip(1) {
        assert_eq!(watch.message(), Message::from(text), "{route:?}");
    }
    // The server sends the next ping only after the pong, and ends the session without one.
    let heartbeats = || {
        let received = client.stats().received;
        received.packets - received.messages
    };
    let before = heartbeats();
    eventually("three more pings", || heartbeats() >= before + 3);
    disconnect(&client, &watch);
}

fn one_big_each_way(url: &str, route: &[TransportKind]) {
    // The request timeout limits a POST, and a big message takes long.
    let client = Client::builder().request_timeout(BULK_PATIENCE).build().unwrap();
    let watch = connect(&client, url, route);
    client.send(big()).unwrap();
    let echo = watch.0.recv_timeout(BULK_PATIENCE).expect("no echo");
    assert!(echo == Seen::Message(big().into()), "{route:?}: {:.200}", format!("{echo:?}"));
    disconnect(&client, &watch);
}

/// Pings arrive late behind a big message, but the bytes of the message keep the connection alive.
fn bytes_are_life(url: &str, transport: TransportKind) {
    let client = Client::new();
    // The server sends as soon as it can, which may be before this thread is told.
    let started = Instant::now();
    let watch = connect(&client, url, &[transport]);
    let message = watch.0.recv_timeout(BULK_PATIENCE).expect("no message");
    assert!(
        message == Seen::Message("x".repeat(LONG).into()),
        "{transport}: {:.200}",
        format!("{message:?}")
    );
    assert!(started.elapsed() > PING_INTERVAL + PING_TIMEOUT, "it was quick: {:?}", started.elapsed());
    assert_eq!(watch.disconnected(), Reason::ServerDisconnect, "{transport}");
}
