//! The texts of the compiler for common mistakes, and closures that must compile. The tests pass snippets to
//! rustc, with the crate as Cargo has built it for these tests.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;
use std::{env, fs};

const EDITIONS: [&str; 2] = ["2021", "2024"];

/// The newest build of the crate. There is one for each combination of features. All that are newer than the
/// one for this test have the same source, because Cargo has just brought the latter up to date.
fn library(dependencies: &Path) -> PathBuf {
    let built =
        |path: &PathBuf| fs::metadata(path).and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("libengineio-") && name.ends_with(".rlib")
    };
    let files = fs::read_dir(dependencies).expect("this program's directory").flatten();
    files.map(|file| file.path()).filter(is_ours).max_by_key(built).expect("Cargo builds the library first")
}

/// Compiles the statements, which have a `client`. Returns the compiler's text if it refuses them.
fn compile(name: &str, edition: &str, statements: &str) -> Result<(), String> {
    let program = env::current_exe().unwrap();
    let dependencies = program.parent().unwrap();
    let mut library_argument = std::ffi::OsString::from("engineio=");
    library_argument.push(library(dependencies));
    let mut search = std::ffi::OsString::from("dependency=");
    search.push(dependencies);
    let name = format!("{}_{edition}", name.replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or("rustc".into()))
        .args(["--crate-type=lib", "--emit=metadata", "--color=never", "--edition", edition])
        .args(["--crate-name", &name, "--out-dir", env!("CARGO_TARGET_TMPDIR")])
        .arg("-L")
        .arg(search)
        .arg("--extern")
        .arg(library_argument)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("rustc runs");
    let source = format!("pub fn snippet(client: engineio::Client) {{\n{statements}\n}}\n");
    rustc.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
    let output = rustc.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(text) }
}

fn assert_told(name: &str, statements: &str, texts: &[&str]) {
    for edition in EDITIONS {
        let told = compile(name, edition, statements).expect_err(statements);
        for text in texts {
            assert!(told.contains(text), "{edition}: no {text:?} about {statements}:\n{told}");
        }
    }
}

#[test]
fn handlers_that_never_return_compile() {
    let handlers = "
        fn ends(_: &engineio::Client) -> ! { std::process::exit(1) }
        client.on_connect(ends);
        client.on_connect(|_| panic!());
        client.on_connect(|_| std::process::exit(1));
        client.on_connect(|_| loop {});
        client.on_connect(|_| todo!());
        client.on_connect(|_| { panic!(\"with a semicolon\"); });
        client.on_message(|_, _| panic!(\"no\"));
        client.on_message(|_, message| match message.as_text() {
            Some(_) => std::process::exit(1),
            None => unreachable!(),
        });
        client.on_disconnect(|_, _| loop { std::thread::park() });
        client.on_disconnect(|_, reason| if reason == engineio::Reason::PingTimeout { panic!() });
        client.on(\"connect\", |_, _| panic!()).unwrap();
    ";
    for edition in EDITIONS {
        compile("never", edition, handlers).unwrap_or_else(|told| panic!("{edition}:\n{told}"));
    }
}

#[test]
fn handlers_with_and_without_results_compile() {
    let handlers = "
        client.on_connect(|client| client.send(\"hi\"));
        client.on_connect(|_| {});
        client.on_connect(|_| Ok::<(), std::convert::Infallible>(()));
        client.on_message(|_, _| Err(\"a text\"));
        client.on_message(|client, message| -> Result<(), Box<dyn std::error::Error>> {
            let number: u8 = message.as_text().unwrap_or_default().parse()?;
            client.send_json(&number)?;
            Ok(())
        });
    ";
    for edition in EDITIONS {
        compile("results", edition, handlers).unwrap_or_else(|told| panic!("{edition}:\n{told}"));
    }
}

#[test]
fn a_handler_with_another_result_is_explained() {
    let advice = "end the closure with `;`, or return `Result<(), E>`";
    let told = |kind: &str| format!("a handler returns `()` or `Result<(), E>`, and not `{kind}`");
    let mistakes = [
        ("client.on_connect(|_| 5);", "{integer}"),
        ("client.on_message(|_, message| message.as_bytes().len());", "usize"),
        ("client.on_disconnect(|_, _| Some(()));", "Option<()>"),
        ("client.on_message(|client, _| client.flush(std::time::Duration::MAX).is_ok());", "bool"),
        ("client.on_message(|_, message| message.json::<u8>());", "Result<u8, engineio::Error>"),
    ];
    for (number, (statement, kind)) in mistakes.into_iter().enumerate() {
        assert_told(&format!("result {number}"), statement, &[&told(kind), advice]);
    }
}

#[test]
fn values_that_are_messages_compile() {
    let sends = "
        use engineio::{Message, bytes::Bytes, serde_json::json};
        struct Own;
        impl From<Own> for Message {
            fn from(_: Own) -> Self { \"own\".into() }
        }
        fn generic<M: Into<Message>>(client: &engineio::Client, message: M) {
            client.send(message).ok();
        }
        let text = String::new();
        client.send(\"text\").ok();
        client.send(&text).ok();
        client.send(text).ok();
        client.send(vec![1, 2, 3]).ok();
        client.send(&[1u8, 2][..]).ok();
        client.send(b\"bytes\").ok();
        client.send(Bytes::new()).ok();
        client.send(json!({})).ok();
        client.send(Own).ok();
        client.try_send(Message::from(Own)).ok();
        client.send_all([\"a\", \"b\"]).ok();
        client.send_all(vec![vec![1], vec![2]]).ok();
        client.try_send_all((0..3).map(|i| i.to_string())).ok();
        generic(&client, 'c'.to_string());
    ";
    for edition in EDITIONS {
        compile("messages", edition, sends).unwrap_or_else(|told| panic!("{edition}:\n{told}"));
    }
}

#[test]
fn a_value_that_is_no_message_is_explained() {
    let mistakes = [
        ("client.send(5);", "{integer}"),
        ("struct Point; client.try_send(&Point);", "&Point"),
        ("client.send(Some(\"text\"));", "Option<&str>"),
        ("client.send_all([(1, 2)]);", "({integer}, {integer})"),
        ("client.send(vec![\"a\", \"b\"]);", "Vec<&str>"),
    ];
    for (number, (statement, kind)) in mistakes.into_iter().enumerate() {
        let texts = [&*format!("`{kind}` is not a message"), "use `send_json(&value)`"];
        assert_told(&format!("message {number}"), statement, &texts);
    }
}
