//! Passwords, cookies and tokens are never shown.

use std::sync::{Mutex, OnceLock};

use engineio::{Client, ConnectOptions, WebSocketOptions};
use log::{Level, LevelFilter, Log, Metadata, Record};
use ureq::Agent;

use super::{WAYS, by, server, visit};

/// The log lines of all crates of this process.
struct Everything(Mutex<Vec<String>>);

impl Log for Everything {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        self.0.lock().unwrap().push(format!("{} {} {}", record.level(), record.target(), record.args()));
    }

    fn flush(&self) {}
}

fn everything() -> &'static Everything {
    static LOG: OnceLock<Everything> = OnceLock::new();
    let log = LOG.get_or_init(|| Everything(Mutex::default()));
    // An error means that the logger has been set already.
    let _ = log::set_logger(log);
    log::set_max_level(LevelFilter::Trace);
    log
}

const SECRET: &str = "s3cr3t";

#[test]
fn secrets_are_in_no_log_line_and_no_debug_output() {
    let log = everything();
    let server =
        super::Scripted::start(|exchange| super::serve(exchange, "Set-Cookie: session=s3cr3t-cookie\r\n"));
    let url = server.url().replace("http://", "http://user:s3cr3t%3Apassword@");
    for way in WAYS {
        let options = by(way)
            .header("X-Api-Key", "s3cr3t-key")
            .header("Cookie", "own=s3cr3t-own")
            .header("Proxy-Authorization", "s3cr3t-proxy");
        let websocket =
            WebSocketOptions::new().header("X-Socket", "s3cr3t-socket").subprotocols(["s3cr3t-token"]);
        let builder =
            Client::builder().websocket_options(websocket.clone()).http_agent(Agent::new_with_defaults());
        for debug in [format!("{options:?}"), format!("{websocket:?}"), format!("{builder:?}")] {
            assert!(!debug.contains(SECRET), "{debug}");
        }
        let client = builder.build().unwrap();
        assert!(!format!("{client:?}").contains(SECRET), "{client:?}");
        visit(&client, &format!("{url}?token=s3cr3t-query"), options);
        let debug = format!("{client:?} {:?} {:?}", client.handshake(), client.last_error());
        assert!(!debug.contains(SECRET), "{debug}");
    }
    // The server takes the part of a proxy here, and refuses the tunnel.
    let proxied = Client::builder().proxy(&url).build().unwrap();
    let error = proxied.connect("https://example.invalid").unwrap_err();
    assert!(!format!("{error} {error:?} {proxied:?}").contains(SECRET), "{error:?}");
    // Here it gets requests to forward.
    proxied.connect("http://example.invalid").unwrap();
    super::abort(&proxied);
    // The base64 of user:s3cr3t:password must not appear either.
    let basic = "dXNlcjpzM2NyM3Q6cGFzc3dvcmQ";
    let lines = log.0.lock().unwrap().clone();
    let connecting = |line: &String| line.contains(" engineio connecting to http://127.0.0.1");
    assert!(lines.iter().any(connecting), "nothing was logged");
    // The documentation names these exceptions: crates below ureq log whole requests at trace level, and
    // cookies that are not `Secure` at debug level.
    let exceptions = ["TRACE ureq_proto::util ", "DEBUG cookie_store::cookie_store "];
    let ours = |line: &&String| !exceptions.iter().any(|exception| line.starts_with(exception));
    for line in lines.iter().filter(ours) {
        // ureq's own lines show whole URLs, but without a password.
        let line = if line.starts_with("DEBUG ureq::run ") {
            line.replace("s3cr3t-query", "")
        } else {
            line.clone()
        };
        assert!(!line.contains(SECRET) && !line.contains(basic), "{line}");
    }
}

#[test]
fn errors_do_not_show_the_password_of_a_url() {
    let client = Client::new();
    for url in [
        "http://user:s3cr3t@127.0.0.1:1",
        "ftp://user:s3cr3t@example.org",
        "http://user:s3cr3t@",
        "http://user:s3cr3t@[::1",
        "http://user:s3cr3t@example.org:99999",
        "user:s3cr3t@example.org",
    ] {
        let error = client.connect_with(url, ConnectOptions::new()).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(SECRET), "{url}: {shown}");
    }
    let refused = server();
    let error =
        client.connect_with(refused.url(), ConnectOptions::new().header("X-Bad\n", "s3cr3t")).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(SECRET), "{error}");
}

#[test]
fn an_error_of_an_agent_for_https_only_has_no_query() {
    let agent: Agent = Agent::config_builder().https_only(true).proxy(None).build().into();
    let client = Client::builder().http_agent(agent).build().unwrap();
    for way in WAYS {
        let error = client.connect_with("http://user:s3cr3t@127.0.0.1:1?token=s3cr3t", by(way)).unwrap_err();
        assert!(
            error.to_string().contains("https only, and http://127.0.0.1:1/engine.io/ is not"),
            "{error}"
        );
        assert!(!format!("{error:?}").contains(SECRET), "{error:?}");
    }
}

#[test]
fn a_session_id_is_told_at_debug_only() {
    for way in WAYS {
        let (server, lines) = (server(), common::Lines::default());
        let client = Client::builder().logger(lines.clone()).build().unwrap();
        client.connect_with(server.url(), by(way)).unwrap();
        assert_eq!(client.sid().as_deref(), Some("abc"));
        let shown = format!("{client:?} {:?}", client.handshake().unwrap());
        assert!(!shown.contains("abc"), "{shown}");
        client.disconnect().unwrap();
        let said = format!("connected by {}", way.last().unwrap());
        assert!(lines.at(Level::Info).contains(&said), "{}", lines.all());
        for level in [Level::Error, Level::Warn, Level::Info] {
            assert!(!lines.at(level).iter().any(|line| line.contains("abc")), "{}", lines.all());
        }
        assert!(lines.at(Level::Debug).contains(&"the session is abc".to_owned()), "{}", lines.all());
    }
}
