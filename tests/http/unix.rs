//! Servers at Unix sockets.

use std::fs;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use engineio::{Client, ConnectOptions, Error, Message};

use common::scripted::{Exchange, OPEN, Scripted};
use common::{Watch, abort, carrier, in_full};

use super::{Polling, WAYS, WebSocket, by, every_request, serve};

/// A Unix socket in front of a TCP server. Its file is removed at the end.
struct Socket(PathBuf);

impl Socket {
    fn in_front_of(url: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("eio {} {}.sock", std::process::id(), NUMBER.fetch_add(1, Ordering::SeqCst));
        let path = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&path).unwrap();
        let server = url.trim_start_matches("http://").to_owned();
        // The threads end with the process, or with their connections.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(&server) else { break };
                pump(client, server);
            }
        });
        Socket(path)
    }

    /// The URL with only the path, in which the space is encoded.
    fn plain(&self) -> String {
        format!("unix://{}", self.0.display()).replace(' ', "%20")
    }

    /// The URL in the form that other HTTP clients use.
    fn encoded(&self) -> String {
        format!("http+unix://{}", self.0.display().to_string().replace('/', "%2F").replace(' ', "%20"))
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Copies in both directions, each until its end.
fn pump(client: UnixStream, server: TcpStream) {
    let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let (mut from, mut to) = (server, client);
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
}

fn error_of(url: &str, options: ConnectOptions) -> Error {
    Client::new().connect_with(url, options).unwrap_err()
}

#[test]
fn every_way_to_a_socket() {
    for form in [Socket::plain, Socket::encoded] {
        // The server's own URL is a secret of the socket: only its query is passed on.
        let sockets = std::sync::Mutex::new(Vec::new());
        let url = |tcp: &str| {
            let socket = Socket::in_front_of(tcp);
            let url = format!("{}?token=a", form(&socket));
            sockets.lock().unwrap().push(socket);
            url
        };
        // A proxy of the option is not used either.
        let client = Client::builder().proxy("http://127.0.0.1:1").build().unwrap();
        for request in every_request(&client, url, &ConnectOptions::new()) {
            assert_eq!(request.header("host"), ["localhost"]);
            assert_eq!((request.path.as_str(), request.query["token"].as_str()), ("/engine.io/", "a"));
        }
    }
}

#[test]
fn messages_and_options_are_those_of_other_connections() {
    for way in WAYS {
        let server = super::server();
        let socket = Socket::in_front_of(server.url());
        let url = socket.encoded().replace("://", "://user:secret@") + "/dropped?a=1";
        let options =
            by(way).header("Host", "app.example").header("Cookie", "own=1").path("/").trailing_slash(false);
        let client = Client::new();
        client.connect_with(&url, options).unwrap();
        assert_eq!(client.transport().unwrap(), carrier(way));
        client.send("x".repeat(300_000)).unwrap();
        client.send("quit").unwrap();
        client.wait_timeout(std::time::Duration::from_millis(1));
        abort(&client);
        for (index, request) in server.requests().iter().enumerate() {
            assert_eq!(request.path, "/");
            assert_eq!(request.header("host"), ["app.example"]);
            assert_eq!(request.header("authorization"), ["Basic dXNlcjpzZWNyZXQ="]);
            let cookies = request.header("cookie").join("; ");
            assert!(
                cookies.contains("own=1") && (index == 0 || cookies.contains("set=by-server")),
                "{cookies}"
            );
        }
    }
}

#[test]
fn the_end_of_a_server_is_noticed() {
    for transport in [Polling, WebSocket] {
        let server = Scripted::start(|exchange| serve(exchange, ""));
        let socket = Socket::in_front_of(server.url());
        let client = Client::new();
        let watch = Watch::new(&client);
        client.connect_with(socket.plain(), common::only(transport)).unwrap();
        watch.connected();
        drop(server);
        watch.disconnected();
        client.wait();
    }
}

#[test]
fn errors_name_the_path() {
    let none = std::env::temp_dir().join("eio-nobody.sock");
    let error = error_of(&format!("unix://{}", none.display()), ConnectOptions::new());
    let expected = format!("cannot connect to the Unix socket {}: it does not exist", none.display());
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert!(matches!(error, Error::Connection { status: None, .. }), "{error:?}");
    // The file is there, but nobody listens.
    let path = std::env::temp_dir().join(format!("eio-deaf-{}.sock", std::process::id()));
    drop(UnixListener::bind(&path).unwrap());
    let error = error_of(&format!("unix://{}", path.display()), ConnectOptions::new());
    fs::remove_file(&path).unwrap();
    assert!(
        error.to_string().contains("deaf") && error.to_string().contains("connection refused"),
        "{error}"
    );
    for (status, transport) in [("401 Unauthorized", Polling), ("404 Not Found", WebSocket)] {
        let server = Scripted::start(move |exchange| exchange.respond(status, ""));
        let socket = Socket::in_front_of(server.url());
        let error = error_of(&socket.encoded(), by(&[transport])).to_string();
        assert!(error.contains(status) && error.contains(&*socket.0.to_string_lossy()), "{error}");
    }
    for url in [
        format!("unix:///{}", "x".repeat(200)),
        format!("http+unix://%2F{}", "x".repeat(200)),
        "unix:///run/a%00b".into(),
        "unix://run/app.sock".into(),
        "http+unix://app.sock".into(),
        "https+unix://%2Frun%2Fapp.sock".into(),
    ] {
        let error = error_of(&url, ConnectOptions::new());
        assert!(matches!(error, Error::InvalidUrl { .. }), "{url}: {}", in_full(&error));
    }
}

/// A server that redirects its handshake to `to`, which may have the path `/moved/`.
fn redirecting(to: &'static str) -> Scripted {
    Scripted::start(move |exchange: &mut Exchange| match exchange.request.path.as_str() {
        "/engine.io/" => exchange.respond_with("307 Temporary Redirect", &format!("Location: {to}\r\n"), ""),
        "/moved/" => serve(exchange, ""),
        other => panic!("{other}"),
    })
}

#[test]
fn a_redirect_stays_on_the_socket() {
    for (host, to) in [
        (None, "/moved/"),
        (None, "../moved/"),
        (None, "http://localhost/moved/"),
        (Some("app.example"), "http://App.example/moved/"),
        (Some("app.example:80"), "//app.example/moved/"),
    ] {
        for way in WAYS {
            let server = redirecting(to);
            let socket = Socket::in_front_of(server.url());
            let options = host.into_iter().fold(by(way), |options, host| options.header("Host", host));
            let client = Client::new();
            client.connect_with(socket.plain(), options).unwrap_or_else(|e| panic!("{to}: {}", in_full(&e)));
            client.disconnect().unwrap();
        }
    }
}

#[test]
fn a_redirect_never_leaves_the_socket() {
    let other = Scripted::start(|exchange| exchange.answer(OPEN));
    let elsewhere: &'static str = String::leak(format!("{}/moved/", other.url()));
    for to in
        [elsewhere, "https://localhost/moved/", "http://localhost:5000/moved/", "http://app.example/moved/"]
    {
        for transport in [Polling, WebSocket] {
            let server = redirecting(to);
            let socket = Socket::in_front_of(server.url());
            let error = error_of(&socket.plain(), by(&[transport])).to_string();
            assert!(error.contains("that is not followed"), "{to}: {error}");
            assert!(error.contains(&*socket.0.to_string_lossy()), "{to}: {error}");
        }
    }
    assert_eq!(other.connections(), 0);
}

/// A server on the network cannot make the client connect to a socket of this machine.
#[test]
fn no_redirect_leads_to_a_socket() {
    for to in ["unix:///run/app.sock", "http+unix://%2Frun%2Fapp.sock/moved/"] {
        let server = redirecting(to);
        let error = error_of(server.url(), ConnectOptions::new()).to_string();
        assert!(error.contains("it is neither http nor https"), "{to}: {error}");
    }
}

#[test]
fn a_message_comes_back() {
    let server = common::real::Server::start();
    let socket = Socket::in_front_of(server.url());
    for way in WAYS {
        let client = Client::new();
        let watch = Watch::new(&client);
        client.connect_with(socket.plain(), by(way)).unwrap();
        watch.connected();
        for message in [Message::from("text"), Message::from(vec![0; 1 << 20])] {
            client.send(message.clone()).unwrap();
            assert_eq!(watch.message(), message);
        }
        client.disconnect().unwrap();
    }
}
