//! A real proxy, squid, with its default rules: it forwards plain requests, and opens tunnels to port 443
//! only.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use engineio::Error;

use crate::{Polling, WebSocket, builder, by, only, visit};
use common::eventually;
use common::real::Server;

/// The rules of the configuration that comes with squid.
const RULES: &str = "acl SSL_ports port 443
acl Safe_ports port 80 21 443 70 210 1025-65535 280 488 591 777
http_access deny !Safe_ports
http_access deny CONNECT !SSL_ports
http_access allow localhost
http_access deny all
";

/// A running squid. It ends when it is dropped, and with this process.
struct Squid {
    port: u16,
    directory: PathBuf,
    child: Child,
}

impl Squid {
    fn start() -> Self {
        // The port was free a moment ago.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let directory = std::env::temp_dir().join(format!("engineio-squid-{port}"));
        fs::create_dir_all(&directory).unwrap();
        // Squid gives up the rights of root, and has to write its log here.
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777)).unwrap();
        let own = format!(
            "http_port 127.0.0.1:{port}\npid_filename none\ncache deny all\nmax_filedescriptors 1024\n\
             shutdown_lifetime 0 seconds\naccess_log stdio:{0}/access\ncache_log {0}/log\n\
             coredump_dir {0}\n",
            directory.display()
        );
        fs::write(directory.join("conf"), format!("{own}{RULES}")).unwrap();
        // The shell ends squid when its own stdin is closed.
        let script = "squid -N -f conf & squid=$!; cat > /dev/null; kill -9 $squid";
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(&directory).stdin(Stdio::piped());
        let squid = Squid { port, child: command.spawn().unwrap(), directory };
        eventually("squid listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        squid
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The requests so far, one a line. Squid writes a request down when it is over.
    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("access")).unwrap_or_default()
    }
}

impl Drop for Squid {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[test]
#[ignore = "needs squid"]
fn polling_gets_through_squid_and_a_plain_websocket_does_not() {
    let (squid, server) = (Squid::start(), Server::start());
    let client = builder().proxy(squid.url()).build().unwrap();
    visit(&client, server.url(), &[Polling]);
    let is_forwarded = |method: &str| {
        let request = format!("{method} {}/engine.io/?", server.url());
        squid.log().lines().any(|line| line.contains("/200 ") && line.contains(&request))
    };
    eventually("squid has forwarded a GET and a POST", || is_forwarded("GET") && is_forwarded("POST"));
    let client = builder().proxy(squid.url()).build().unwrap();
    // The tunnel is refused, so that the connection stays on polling.
    client.connect_with(server.url(), by(&[Polling, WebSocket])).unwrap();
    assert_eq!(client.transport().unwrap(), Polling);
    client.disconnect().unwrap();
    assert!(squid.log().contains("TCP_DENIED/403"), "{}", squid.log());
    let error = client.connect_with(server.url(), only(WebSocket)).unwrap_err();
    let Error::Connection { message, status: Some(403), .. } = &error else { panic!("{error:?}") };
    assert!(message.contains("refused a tunnel") && message.contains("443"), "{message}");
}
