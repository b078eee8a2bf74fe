use std::error::Error as _;

use super::*;

#[test]
fn debug_leads_with_the_text_and_repeats_nothing() {
    // The text for this error number differs between operating systems.
    let cause = std::io::Error::from_raw_os_error(1);
    let expected = format!("no way to the server: {cause}");
    let error = Error::connection_from("no way to the server", cause);
    assert_eq!(format!("{error:?}"), expected);
    let doubled = Error::connection_from("no way: it broke", Box::new(Error::connection("it broke")));
    assert_eq!(format!("{doubled:?}"), "no way: it broke");
    assert_eq!(format!("{:?}", Error::QueueFull), "the outbox is full");
}

#[test]
fn control_characters_of_a_server_are_shown_nowhere() {
    let text = "a\u{9b}31m\n\u{202e}b";
    let cause = || Box::new(std::io::Error::other(std::io::Error::other(text)));
    let body = Value::String(text.into());
    let errors = [
        Error::connection(text),
        Error::connection_from("broken", cause()),
        Error::connection_from(text, cause()),
        Error::refused(text, Some(400), Some(body.clone())),
        Error::protocol(text),
        Error::websocket_closed(Some(1000), text),
        Error::json(cause()),
        // The texts of the user's own code stay as they are, but for `Debug`.
        Error::Json(ErrorCause::new(cause())),
    ];
    for error in errors {
        let causes = std::iter::successors(error.source(), |cause| (*cause).source());
        let texts = causes.map(ToString::to_string).chain([error.to_string()]);
        let shown = texts.filter(|_| !matches!(error, Error::Json(_))).chain([format!("{error:?}")]);
        let shown = shown.collect::<String>();
        assert!(shown.contains(r"a\u{9b}31m\n\u{202e}b"), "{shown}");
        assert!(!shown.contains(['\u{9b}', '\n', '\u{202e}']), "{shown:?}");
        if let Error::Connection { body: Some(kept), .. } = error {
            assert_eq!(*kept, body);
        }
    }
}

#[test]
fn an_error_becomes_an_io_error_of_the_same_kind() {
    use std::io::{Error as Io, ErrorKind as Kind};
    let refused = || Io::from(Kind::ConnectionRefused);
    let table = [
        (Error::Timeout { what: "x" }, Kind::TimedOut),
        (Error::SocketIsClosed, Kind::NotConnected),
        (Error::QueueFull, Kind::WouldBlock),
        (Error::connection_from("no way to the server", refused()), Kind::ConnectionRefused),
        (Error::connection("broken"), Kind::Other),
    ];
    for (error, kind) in table {
        let text = error.to_string();
        let io = Io::from(error);
        assert_eq!((io.kind(), io.to_string()), (kind, text));
        assert!(io.get_ref().is_some_and(|inner| inner.is::<Error>()), "the error is kept");
    }
}

#[test]
fn a_clone_shares_the_cause() {
    let error = Error::connection_from("no way to the server", std::io::Error::other("cause"));
    let clone = error.clone();
    assert_eq!(format!("{clone:?}"), format!("{error:?}"));
    let address = |error: &Error| error.source().map(|cause| std::ptr::from_ref(cause).cast::<()>());
    assert_eq!(address(&clone), address(&error));
}

#[test]
fn an_error_is_small() {
    // Every `Result` of the crate is at least as large as its error.
    assert!(size_of::<Error>() <= 64, "{}", size_of::<Error>());
}

#[test]
fn causes_are_behind_source_and_not_in_the_text() {
    let cause = std::io::Error::other("the cause");
    let error = Error::connection_from("cannot connect", cause);
    assert_eq!(error.to_string(), "cannot connect");
    assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("the cause"));
    assert!(error.source().is_some_and(|cause| cause.is::<std::io::Error>()), "it keeps its type");
}
