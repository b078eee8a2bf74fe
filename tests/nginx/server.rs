//! A running nginx, with a configuration of the test's own.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::eventually;

/// What nginx's manual has for a websocket, and a poll needs as well.
pub(crate) const PASS: &str = "proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $switch;
";

/// The directives around the servers of a test.
const HTTP: &str = "map $http_upgrade $switch { default upgrade; '' ''; }
    log_format test '$server_port $request_method $status $sent_http_content_encoding.';
    access_log access test;
    client_body_temp_path body; proxy_temp_path proxy;
    fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    tcp_nodelay on;
";

/// Ends when it is dropped, and with this process.
pub(crate) struct Nginx {
    pub(crate) ports: Vec<u16>,
    directory: PathBuf,
    child: Child,
}

impl Nginx {
    /// Starts nginx with the `server` blocks that the function makes of as many free ports.
    pub(crate) fn start(count: usize, servers: impl FnOnce(&[u16], &Path) -> String) -> Self {
        // The ports were free a moment ago.
        let free: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> = free.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        drop(free);
        let directory = std::env::temp_dir().join(format!("engineio-nginx-{}", ports[0]));
        fs::create_dir_all(&directory).unwrap();
        let configuration = format!(
            "daemon off; master_process off; pid pid; error_log error info;\n\
             events {{ worker_connections 512; }}\nhttp {{ {HTTP} {} }}\n",
            servers(&ports, &directory)
        );
        fs::write(directory.join("conf"), configuration).unwrap();
        // The shell ends nginx when its own stdin is closed.
        let script = "nginx -p . -e error -c conf & nginx=$!; cat > /dev/null; kill -9 $nginx";
        let mut command = Command::new("sh");
        command.args(["-c", script]).current_dir(&directory).stdin(Stdio::piped());
        let nginx = Nginx { child: command.spawn().unwrap(), ports, directory };
        for port in &nginx.ports {
            eventually("nginx listens", || TcpStream::connect(("127.0.0.1", *port)).is_ok());
        }
        nginx
    }

    pub(crate) fn url(&self, index: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports[index])
    }

    /// The requests so far, one a line: port, method, status and encoding.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.join("access")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let errors = fs::read_to_string(self.directory.join("error")).unwrap_or_default();
            eprintln!("nginx's log:\n{}\n{errors}", self.log());
        }
        drop(self.child.stdin.take());
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
