//! The official servers of `tests/servers/`. Each test starts a process of its own.
//!
//! The packages are installed under cargo's target directory, once for each state of the pins.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The time limit for any wait for a server, or for a client of one. Only a failing test waits that long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A hint for the text of a failure.
const NEEDED: &str = "the interoperation tests need python3 (with venv or pip), node and npm";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    PythonThreading,
    PythonAsgi,
    PythonAiohttp,
    Node,
    /// npm's engine.io 3, which speaks Engine.IO v3.
    NodeV3,
    /// The Socket.IO server, which takes no options.
    SocketIo,
}

/// The options of a server. The defaults are those of the official servers.
#[derive(Clone, Debug)]
pub struct Options {
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    pub max_payload: usize,
    /// The transports as the servers expect them: names that are separated by commas.
    pub transports: &'static str,
    /// Seconds until uvicorn closes an idle connection. The other servers do not know it.
    pub keep_alive: Option<u32>,
    /// The path of the endpoint, as the server expects it.
    pub path: &'static str,
    /// The path of a Unix socket in place of a port. The threading server does not know it.
    pub socket: Option<PathBuf>,
    /// True if the path of the endpoint ends with a slash. Only npm's server knows it.
    pub trailing_slash: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            max_payload: 1_000_000,
            transports: "polling,websocket",
            keep_alive: None,
            path: "engine.io",
            socket: None,
            trailing_slash: true,
        }
    }
}

/// A running server. Dropping it kills and reaps the process.
pub struct Server {
    kind: Kind,
    child: Child,
    port: u16,
    lines: Receiver<String>,
    /// The server's stderr, which a failing test shows.
    stderr: Arc<Mutex<String>>,
    pumps: Vec<JoinHandle<()>>,
}

impl Server {
    /// Starts a server, and waits until it can be reached.
    pub fn start(kind: Kind, options: &Options) -> Self {
        let mut child = command(kind)
            .arg(format!("--ping-interval={}", options.ping_interval.as_millis()))
            .arg(format!("--ping-timeout={}", options.ping_timeout.as_millis()))
            .arg(format!("--max-payload={}", options.max_payload))
            .arg(format!("--transports={}", options.transports))
            .arg(format!("--path={}", options.path))
            .args(options.socket.iter().map(|socket| format!("--socket={}", socket.display())))
            .args((!options.trailing_slash).then_some("--no-trailing-slash"))
            .args(options.keep_alive.map(|seconds| format!("--keep-alive={seconds}")))
            // Stdin is held open. The server ends when it is closed, so a killed test leaves no server
            // behind.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start the {kind:?} server: {error}; {NEEDED}"));
        let (lines, stdout_pump) = pump_lines(child.stdout.take().expect("stdout is piped"));
        let (stderr, stderr_pump) = pump_text(child.stderr.take().expect("stderr is piped"));
        let pumps = vec![stdout_pump, stderr_pump];
        let mut server = Self { kind, child, port: 0, lines, stderr, pumps };
        server.port = server.read_port();
        server
    }

    fn read_port(&self) -> u16 {
        let line = self.next_line("its port", Instant::now() + PATIENCE);
        let port = line.strip_prefix("PORT ").and_then(|port| port.parse().ok());
        port.unwrap_or_else(|| panic!("the {:?} server said {line:?}, not its port", self.kind))
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Waits for the next event of this name. The events before it are dropped.
    pub fn wait_for(&self, name: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let line = self.next_line(name, deadline);
            let event: Value = serde_json::from_str(&line)
                .unwrap_or_else(|error| panic!("the {:?} server said {line:?}: {error}", self.kind));
            if event["event"] == name {
                return event;
            }
        }
    }

    fn next_line(&self, what: &str, deadline: Instant) -> String {
        let left = deadline.saturating_duration_since(Instant::now());
        self.lines.recv_timeout(left).unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => {
                panic!("the {:?} server has not told {what} in {PATIENCE:?}", self.kind)
            }
            RecvTimeoutError::Disconnected => {
                panic!("the {:?} server ended without telling {what}", self.kind)
            }
        })
    }

    /// Stops the whole process, so its connections stay open and fall silent.
    pub fn freeze(&self) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-STOP", &pid]).status().expect("there is a `kill`");
        assert!(status.success(), "cannot stop the {:?} server: {status}", self.kind);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that the process has ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for pump in self.pumps.drain(..) {
            let _ = pump.join();
        }
        let stderr = self.stderr.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if thread::panicking() && !stderr.is_empty() {
            eprintln!("stderr of the {:?} server:\n{stderr}", self.kind);
        }
    }
}

/// Reads lines as they arrive, because a full pipe would block the server.
fn pump_lines(stdout: impl Read + Send + 'static) -> (Receiver<String>, JoinHandle<()>) {
    let (sender, receiver) = mpsc::channel();
    let pump = thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // The thread reads on when the receiver is gone.
            let _ = sender.send(line);
        }
    });
    (receiver, pump)
}

fn pump_text(mut stderr: impl Read + Send + 'static) -> (Arc<Mutex<String>>, JoinHandle<()>) {
    let text = Arc::new(Mutex::new(String::new()));
    let shared = Arc::clone(&text);
    let pump = thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(size @ 1..) = stderr.read(&mut buffer) {
            let mut text = shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            text.push_str(&String::from_utf8_lossy(&buffer[..size]));
        }
    });
    (text, pump)
}

/// The command for the server, whose packages are installed if necessary.
fn command(kind: Kind) -> Command {
    match kind {
        Kind::PythonThreading => python_command("threading_server.py"),
        Kind::PythonAsgi => python_command("asgi_server.py"),
        Kind::PythonAiohttp => python_command("aiohttp_server.py"),
        Kind::Node => node_command("server.js"),
        Kind::NodeV3 => {
            let mut command = node_command("server.js");
            command.arg("--engine=engine.io-v3");
            command
        }
        Kind::SocketIo => node_command("socketio.js"),
    }
}

fn node_command(script: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(sources().join("node").join(script)).env("NODE_PATH", node_packages());
    command
}

/// The directory with npm's packages, for `NODE_PATH`.
pub fn node_packages() -> PathBuf {
    node_home().join("node_modules")
}

fn python_command(script: &str) -> Command {
    let mut command = Command::new(python());
    // The scripts lie in the source tree, which Python must not change.
    command.arg(sources().join("python").join(script)).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// The path of a Python that has the packages.
pub fn python() -> PathBuf {
    python_home().join("bin/python")
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../servers")
}

fn python_home() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        // A virtual environment belongs to one interpreter, so the interpreter's version is a pin too.
        let version = run(Command::new("python3").arg("--version"));
        let pins = version + &read(&sources().join("python/requirements.txt"));
        installed("python", &pins, install_python)
    })
}

fn node_home() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        let pins = read(&sources().join("node/package-lock.json"));
        installed("node", &pins, install_node)
    })
}

/// Cargo's directory for the files of tests.
fn temporary() -> PathBuf {
    let test = std::env::current_exe().expect("the test has a path");
    let target = test.ancestors().nth(3).expect("it lies in target/<profile>/deps");
    target.join("tmp")
}

/// The directory with the packages that `install` makes for these pins.
///
/// The directory is made under another name, and renamed when it is complete. So it is never incomplete, a
/// killed run leaves no lock behind, and of two runs at once the second uses the directory of the first.
fn installed(name: &str, pins: &str, install: fn(&Path)) -> PathBuf {
    let parent = temporary().join("official-servers");
    let mut hasher = DefaultHasher::new();
    pins.hash(&mut hasher);
    let home = parent.join(format!("{name}-{:016x}", hasher.finish()));
    if home.is_dir() {
        return home;
    }
    let building = parent.join(format!("{name}-building-{}", std::process::id()));
    remove_dir(&building);
    fs::create_dir_all(&building).expect("the target directory is writable");
    install(&building);
    if let Err(error) = fs::rename(&building, &home) {
        assert!(home.is_dir(), "cannot rename {} to {}: {error}", building.display(), home.display());
        remove_dir(&building);
    }
    home
}

/// Makes a virtual environment with the packages. Either Debian's `python3-venv` (which has no pip) or
/// `python3-pip` (which has no ensurepip) is enough.
fn install_python(home: &Path) {
    run(Command::new("python3").args(["-m", "venv", "--without-pip"]).arg(home));
    let python = home.join("bin/python");
    let mut pip = if succeeds(Command::new("python3").args(["-m", "pip", "--version"])) {
        let packages =
            run(Command::new(&python).args(["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]));
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--target", packages.trim()]);
        pip
    } else {
        run(Command::new(&python).args(["-m", "ensurepip"]));
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install"]);
        pip
    };
    pip.args(["--quiet", "--no-input", "--disable-pip-version-check", "--requirement"]);
    run(pip.arg(sources().join("python/requirements.txt")));
}

fn install_node(home: &Path) {
    for file in ["package.json", "package-lock.json"] {
        fs::copy(sources().join("node").join(file), home.join(file))
            .expect("the target directory is writable");
    }
    run(Command::new("npm").args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(home));
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Runs a command of the installation. Returns its output, or panics with it.
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| match error.kind() {
        ErrorKind::NotFound => panic!("{:?} is missing; {NEEDED}", command.get_program()),
        _ => panic!("cannot run {command:?}: {error}"),
    });
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed, {}:\n{text}{errors}", output.status);
    text
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

fn remove_dir(path: &Path) {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            panic!("cannot remove {}: {error}", path.display())
        }
        _ => {}
    }
}
