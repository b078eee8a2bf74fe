//! Connections to Unix sockets.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, bounded};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, connect};

use super::race::socket;
use super::{Lookup, Register, Waiter};
use crate::error::{Error, Result};
use crate::net::TimeLeft;
use crate::net::tcp::Tcp;

/// The pause between two attempts while the queue of the server's socket is full. The system does not tell
/// when there is room.
const PAUSE: Duration = Duration::from_millis(20);

/// Checks that a socket can have this path. The error says what is wrong with it.
pub(crate) fn check_socket(path: &Path) -> Result<(), String> {
    match SocketAddrUnix::new(path) {
        Ok(_) => Ok(()),
        Err(Errno::NAMETOOLONG) => {
            Err("the path of the socket is too long: most systems allow about 100 bytes".into())
        }
        Err(_) => Err("the path of the socket contains a NUL byte".into()),
    }
}

/// Connects to a Unix socket, while there is time. std's `TcpStream` is a stream socket of any family here.
pub(in crate::net) fn unix(path: &Path, time: &dyn TimeLeft, register: Register<'_>) -> Result<Arc<Tcp>> {
    let (sender, interruptions) = bounded(1);
    let wait = Arc::new(Lookup::new(sender));
    register(Waiter::Lookup(Arc::downgrade(&wait)))?;
    loop {
        match try_unix(path) {
            Ok(stream) => {
                let stream = Arc::new(Tcp::new(stream));
                register(Waiter::Connect(Arc::downgrade(&stream)))?;
                return Ok(stream);
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => return Err(refused(path, e)),
        }
        if time.time_left().is_zero() {
            return Err(Error::Timeout { what: "connecting to the Unix socket, whose queue is full" });
        }
        if !matches!(interruptions.recv_timeout(PAUSE), Err(RecvTimeoutError::Timeout)) {
            return Err(super::closed(ErrorKind::Interrupted.into()));
        }
    }
}

/// Connects if that is possible without waiting.
fn try_unix(path: &Path) -> io::Result<TcpStream> {
    let stream = socket(AddressFamily::UNIX)?;
    connect(&stream, &SocketAddrUnix::new(path)?)?;
    Ok(stream)
}

fn refused(path: &Path, cause: io::Error) -> Error {
    let what = match cause.kind() {
        ErrorKind::NotFound => "it does not exist (is the server running?)",
        ErrorKind::ConnectionRefused => "connection refused (is the server running?)",
        ErrorKind::PermissionDenied => "permission denied",
        _ => "the connection failed",
    };
    let what = format!("cannot connect to the Unix socket {}: {what}", path.display());
    Error::connection_from(what, super::without_text(cause))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::time::Instant;

    use rustix::net::{SocketType, bind, listen};

    use super::*;
    use crate::sync::{Mutex, lock};

    const PATIENCE: Duration = Duration::from_secs(10);

    /// The path of a socket in the target directory. It is relative, because the absolute one may be too
    /// long.
    fn path(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("engineio-{}-{name}.sock", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    /// A listener whose queue is full.
    fn full(path: &Path) -> (UnixListener, Vec<UnixStream>) {
        let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        bind(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
        listen(&socket, 0).unwrap();
        let listener = UnixListener::from(socket);
        let queued = std::iter::from_fn(|| try_unix(path).ok());
        (listener, queued.map(|stream| UnixStream::from(std::os::fd::OwnedFd::from(stream))).collect())
    }

    #[test]
    fn a_full_queue_is_waited_for() {
        let path = path("full");
        let (listener, queued) = full(&path);
        let deadline = Instant::now() + 3 * PAUSE;
        let error = unix(&path, &deadline, &|_| Ok(())).unwrap_err();
        assert!(error.is_timeout() && Instant::now() >= deadline, "{error}");
        let interrupted = Mutex::new(Vec::new());
        let interrupt = |waiter: Waiter| {
            let Waiter::Lookup(wait) = waiter else { panic!("there is no room") };
            wait.upgrade().unwrap().interrupt();
            lock(&interrupted).push(wait);
            Ok(())
        };
        let error = unix(&path, &(Instant::now() + PATIENCE), &interrupt).unwrap_err();
        assert!(error.to_string().contains("was closed"), "{error}");
        let server =
            std::thread::spawn(move || (0..=queued.len()).for_each(|_| drop(listener.accept().unwrap())));
        unix(&path, &(Instant::now() + PATIENCE), &|_| Ok(())).unwrap();
        server.join().unwrap();
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn paths() {
        assert_eq!(check_socket(Path::new("/run/app.sock")), Ok(()));
        let long = "/x".repeat(60);
        assert!(check_socket(Path::new(&long)).unwrap_err().contains("too long"));
        assert!(check_socket(Path::new("/a\0b")).unwrap_err().contains("NUL"));
        let error = unix(&path("none"), &(Instant::now() + PATIENCE), &|_| Ok(())).unwrap_err();
        assert!(
            error.to_string().contains("-none.sock: it does not exist (is the server running?)"),
            "{error}"
        );
    }
}
