//! The README: its first program with each of its servers, and its links.

#[path = "examples/harness.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The program, which `build.rs` takes from the README.
mod first_program {
    include!(concat!(env!("OUT_DIR"), "/first_program.rs"));
}

/// The URL for the first program. The build script has the name too.
const URL: &str = "ENGINEIO_FIRST_PROGRAM";

const README: &str = include_str!("../README.md");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The parts of the README outside of code blocks, and the code blocks with their languages.
fn parts() -> (Vec<&'static str>, Vec<&'static str>) {
    let mut parts = README.split("\n```");
    let (mut texts, mut blocks) = (Vec::new(), Vec::new());
    while let Some(text) = parts.next() {
        texts.push(text);
        blocks.extend(parts.next());
    }
    (texts, blocks)
}

/// The entry point of the child process. The parent process has no URL.
#[test]
fn child() {
    if std::env::var_os(URL).is_some() {
        first_program::main().expect("the first program works");
    }
}

#[cfg(unix)]
mod servers {
    use std::net::{TcpListener, TcpStream};

    use common::{eventually, official};

    use super::*;

    /// The first code block in that language.
    fn code(language: &str) -> &'static str {
        let (_, blocks) = parts();
        let block = blocks.iter().find_map(|block| block.strip_prefix(language)?.strip_prefix('\n'));
        block.unwrap_or_else(|| panic!("the README has no code in {language}"))
    }

    /// Runs the first program until it prints the server's answer.
    fn greets(url: &str) {
        let program = std::env::current_exe().expect("the test has a path");
        let program = program.to_str().expect("a path in UTF-8");
        let variable = format!("{URL}={url}");
        let arguments = [&variable, program, "--exact", "child", "--nocapture"];
        let mut client = harness::Example::start(Path::new("env"), &arguments);
        client.stdout.wait_for("Server says: Hello Server!");
    }

    /// A server of the README as a child process. It ends when it is dropped, and with this process.
    struct Server {
        example: harness::Example,
        file: PathBuf,
        port: u16,
    }

    impl Server {
        /// Starts the README's code in that language on a free port.
        fn start(language: &str, interpreter: &Path, variable: &str) -> Self {
            let (code, name) = (code(language), format!("engineio-readme-{}", std::process::id()));
            let file = std::env::temp_dir().join(name).with_extension(language);
            // The port is free at this moment.
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            assert_eq!(code.matches("5000").count(), 1, "the port is in the code once");
            fs::write(&file, code.replace("5000", &port.to_string())).unwrap();
            let script = r#""$0" "$1" & server=$!; cat > /dev/null; kill -9 $server"#;
            let [interpreter, path] =
                [interpreter, &file].map(|path| path.to_str().expect("a path in UTF-8"));
            let arguments = [variable, "sh", "-c", script, interpreter, path];
            let example = harness::Example::start(Path::new("env"), &arguments);
            eventually("the server listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
            Server { example, file, port }
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            // The shell ends the server at the end of its input.
            self.example.end_input();
            self.example.code();
            let _ = fs::remove_file(&self.file);
        }
    }

    #[test]
    fn the_first_program_with_rust() {
        let server = demo_server::Server::start(demo_server::Kind::Echo).expect("a port is free");
        greets(server.url());
    }

    #[test]
    #[ignore = "needs python3"]
    fn the_first_program_with_python() {
        let server = Server::start("python", &official::python(), "PYTHONUNBUFFERED=1");
        greets(&format!("http://localhost:{}", server.port));
    }

    #[test]
    #[ignore = "needs node"]
    fn the_first_program_with_node() {
        let packages = format!("NODE_PATH={}", official::node_packages().display());
        let server = Server::start("js", Path::new("node"), &packages);
        greets(&format!("http://localhost:{}", server.port));
    }
}

/// The fragment that a heading gets on the pages of code hosts.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    heading
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let (texts, _) = parts();
    let headings: BTreeSet<_> =
        texts.iter().flat_map(|text| text.lines()).filter(|line| line.starts_with('#')).map(anchor).collect();
    let mut links = 0;
    for target in texts.iter().flat_map(|text| text.split("](").skip(1)) {
        let target = target.split(')').next().expect("a link ends");
        links += 1;
        match target.strip_prefix('#') {
            Some(fragment) => assert!(headings.contains(fragment), "there is no heading for #{fragment}"),
            None if target.starts_with("https://") => {}
            None => assert!(root().join(target).exists(), "there is no {target}"),
        }
    }
    assert!(links > 50, "only {links} links were found");
}

#[test]
fn every_example_is_listed() {
    let examples = fs::read_dir(root().join("examples")).unwrap().map(|entry| entry.unwrap().file_name());
    for file in examples.filter_map(|file| file.into_string().ok()).filter(|file| file.ends_with(".rs")) {
        let name = file.trim_end_matches(".rs");
        assert!(README.contains(&format!("[`{name}`](examples/{file})")), "{name} is not in the table");
    }
}

/// Wider code needs a scroll bar on most pages.
fn is_not_wide(file: &Path, line: &str) {
    assert!(line.chars().count() <= 80, "{}: more than 80 columns: {line}", file.display());
}

#[test]
fn code_is_not_wide() {
    for block in parts().1 {
        block.lines().for_each(|line| is_not_wide(Path::new("README.md"), line));
    }
}

#[test]
fn code_in_documentation_is_not_wide() {
    let mut files = vec![root().join("src")];
    while let Some(file) = files.pop() {
        if file.is_dir() {
            files.extend(fs::read_dir(&file).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let (source, mut is_code) = (fs::read_to_string(&file).unwrap(), false);
        for line in source.lines().map(str::trim_start) {
            let comment = line.strip_prefix("///").or(line.strip_prefix("//!"));
            let Some(line) = comment.map(|line| line.strip_prefix(' ').unwrap_or(line)) else { continue };
            if line.starts_with("```") {
                is_code = !is_code;
            } else if is_code {
                is_not_wide(&file, line);
            }
        }
    }
}
