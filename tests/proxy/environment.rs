//! Proxies from the environment. The tests run child processes, because a process cannot change its own
//! environment safely.

use std::env;
use std::process::Command;

use engineio::Client;

use crate::certificates::Authority;
use crate::server::{Kind, Proxy, address, tls_front};
use crate::{WAYS, builder, try_visit};
use common::real::Server;

const URL: &str = "ENGINEIO_TEST_URL";
const AUTHORITY: &str = "ENGINEIO_TEST_AUTHORITY";
const OPTION: &str = "ENGINEIO_TEST_OPTION";
const VARIABLES: [&str; 4] = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"];

/// The child process of the tests below. It visits a server in every way, or prints the error.
#[test]
fn child() {
    // The parent process has nothing to do here.
    let Ok(url) = env::var(URL) else { return };
    let mut builder = builder();
    if let Ok(pem) = env::var(AUTHORITY) {
        builder = builder.ca_certificate(pem);
    }
    builder = match env::var(OPTION).ok().as_deref() {
        Some("no_proxy") => builder.no_proxy(),
        Some("agent") => builder.http_agent(ureq::Agent::new_with_defaults()),
        Some(proxy) => builder.proxy(proxy),
        None => builder,
    };
    let client: Client = builder.build().unwrap();
    for way in WAYS {
        match try_visit(&client, &url, way) {
            Ok(()) => println!("visited"),
            Err(error) => println!("error: {error}; {error:?}"),
        }
    }
}

/// Runs the child process with these variables and no other proxy variables, and returns its output.
fn run(url: &str, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "environment::child", "--nocapture"]).env(URL, url).env_remove("REQUEST_METHOD");
    for name in VARIABLES {
        command.env_remove(name).env_remove(name.to_uppercase());
    }
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn assert_visited(url: &str, variables: &[(&str, &str)]) {
    let output = run(url, variables);
    assert_eq!(output.matches("visited").count(), WAYS.len(), "{variables:?}: {output}");
}

#[test]
fn proxies_are_used_by_default() {
    let server = Server::start();
    for (name, kind, scheme) in [
        ("http_proxy", Kind::Http, "http"),
        ("HTTP_PROXY", Kind::Http, "http"),
        ("ALL_PROXY", Kind::Socks5, "socks5h"),
    ] {
        let proxy = Proxy::start(kind);
        let url = format!("{scheme}://127.0.0.1:{}", proxy.port);
        assert_visited(server.url(), &[(name, &url)]);
        let asked = proxy.asked();
        assert!(asked.len() >= WAYS.len(), "{name}: {asked:?}");
        assert!(asked.iter().all(|asked| asked.target == address(server.url())), "{asked:?}");
    }
}

#[test]
fn each_scheme_has_its_own() {
    let server = Server::start();
    let authority = Authority::new();
    let port = tls_front(&authority.identity(&["localhost"]), address(server.url()).into());
    let (plain, secure) = (Proxy::start(Kind::Http), Proxy::start(Kind::Http));
    let urls = [&plain, &secure].map(|proxy| format!("http://127.0.0.1:{}", proxy.port));
    let pem = authority.pem();
    let variables = [("HTTP_PROXY", &*urls[0]), ("HTTPS_PROXY", &*urls[1]), (AUTHORITY, &*pem)];
    assert_visited(&format!("https://localhost:{port}"), &variables);
    assert_visited(&format!("wss://localhost:{port}"), &variables);
    assert!(!secure.asked().is_empty());
    assert_eq!(plain.asked(), []);
    let seen = secure.asked();
    assert_visited(&server.url().replace("http:", "ws:"), &variables);
    assert!(!plain.asked().is_empty());
    assert_eq!(secure.asked(), seen);
}

#[test]
fn what_keeps_the_proxy_out() {
    let server = Server::start();
    let (proxy, own) = (Proxy::start(Kind::Http), Proxy::start(Kind::Http));
    let url = format!("http://127.0.0.1:{}", proxy.port);
    let own_url = format!("http://127.0.0.1:{}", own.port);
    for exception in [
        ("NO_PROXY", "example.org, 127.0.0.1"),
        ("no_proxy", "127.0.0.0/8"),
        ("no_proxy", "*"),
        (OPTION, "no_proxy"),
        (OPTION, &own_url),
    ] {
        assert_visited(server.url(), &[("http_proxy", &url), exception]);
        assert_eq!(proxy.asked(), [], "{exception:?}");
    }
    assert!(own.asked().len() >= WAYS.len());
    // `no_proxy` does not apply to the option.
    let before = own.asked().len();
    assert_visited(server.url(), &[("no_proxy", "*"), (OPTION, &own_url)]);
    assert!(own.asked().len() > before);
}

/// ureq's agents read the environment too, but use the proxy of one scheme for all schemes.
#[test]
fn an_agent_of_the_environment_keeps_to_its_rules() {
    let server = Server::start();
    let (plain, secure) = (Proxy::start(Kind::Http), Proxy::start(Kind::Http));
    let urls = [&plain, &secure].map(|proxy| format!("http://127.0.0.1:{}", proxy.port));
    let variables = [("HTTP_PROXY", &*urls[0]), ("HTTPS_PROXY", &*urls[1]), (OPTION, "agent")];
    assert_visited(server.url(), &variables);
    assert!(!plain.asked().is_empty());
    assert_eq!(secure.asked(), []);
}

#[test]
fn errors_name_the_variable_and_no_password() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (name, value, expected) in [
        ("HTTP_PROXY", "ftp://user:s3cr3t@proxy".into(), "invalid HTTP_PROXY: not the URL of a proxy"),
        ("all_proxy", "socks4://user:s3cr3t@proxy".into(), "invalid all_proxy: SOCKS4 is not supported"),
        ("http_proxy", format!("http://user:s3cr3t@{closed}"), "cannot connect to the proxy"),
        ("http_proxy", format!("http://user:s3cr3t@{closed}"), "(set by `http_proxy`)"),
    ] {
        let output = run("http://127.0.0.1:9", &[(name, &value)]);
        assert!(output.contains(expected) && !output.contains("s3cr3t"), "{output}");
    }
}
