//! The payload of a close frame (RFC 6455, sections 5.5.1 and 7.4), and the faults of a server.

use crate::error::Error;

/// The server's words at the end.
#[derive(Debug, PartialEq)]
pub(super) struct CloseFrame {
    /// `None` for a close frame without a payload.
    pub(super) code: Option<u16>,
    pub(super) reason: String,
}

impl CloseFrame {
    /// Reads the payload. A code that no server may send is the server's mistake, and says nothing.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, Violation> {
        let Some((code, reason)) = payload.split_first_chunk() else {
            return match payload {
                [] => Ok(CloseFrame { code: None, reason: String::new() }),
                _ => Err(Violation::protocol("a close frame with half a code")),
            };
        };
        let code = u16::from_be_bytes(*code);
        if !may_be_sent(code) {
            return Err(Violation::protocol(format!("a close frame with the reserved code {code}")));
        }
        match std::str::from_utf8(reason) {
            Ok(reason) => Ok(CloseFrame { code: Some(code), reason: reason.to_owned() }),
            Err(_) => Err(Violation::text("a close frame whose reason is not UTF-8")),
        }
    }
}

/// A fault of the server.
#[derive(Debug)]
pub(super) struct Violation {
    /// The close code for it.
    pub(super) code: u16,
    pub(super) error: Error,
}

impl Violation {
    fn new(code: u16, what: impl std::fmt::Display) -> Self {
        Violation { code, error: Error::protocol(format!("over websocket: {what}")) }
    }

    pub(super) fn protocol(what: impl std::fmt::Display) -> Self {
        Violation::new(1002, what)
    }

    /// The violation of a text that is no packet.
    pub(super) fn packet(error: impl std::fmt::Display) -> Self {
        Violation { code: 1002, error: Error::protocol(error.to_string()) }
    }

    /// The violation of a text that is not UTF-8.
    pub(super) fn text(what: impl std::fmt::Display) -> Self {
        Violation::new(1007, what)
    }
}

/// True for the codes of RFC 6455, section 7.4, and of its registry at IANA that may stand in a close frame.
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(code: u16, reason: &[u8]) -> Result<CloseFrame, Violation> {
        CloseFrame::parse(&[&code.to_be_bytes(), reason].concat())
    }

    #[test]
    fn codes() {
        for code in [1000, 1001, 1002, 1003, 1007, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
            let frame = CloseFrame { code: Some(code), reason: "é".into() };
            assert_eq!(parse(code, "é".as_bytes()).ok(), Some(frame), "{code}");
        }
        for code in [0, 1, 7, 999, 1004, 1005, 1006, 1015, 1016, 1999, 2000, 2999, 5000, 65_535] {
            let violation = parse(code, b"").unwrap_err();
            assert!(violation.error.to_string().contains(&format!("reserved code {code}")), "{violation:?}");
            assert_eq!(violation.code, 1002);
        }
    }

    #[test]
    fn payloads() {
        assert_eq!(CloseFrame::parse(b"").unwrap(), CloseFrame { code: None, reason: String::new() });
        assert_eq!(parse(1000, b"").unwrap(), CloseFrame { code: Some(1000), reason: String::new() });
        assert_eq!(CloseFrame::parse(b"\x03").unwrap_err().code, 1002);
        assert_eq!(parse(1000, b"\xff").unwrap_err().code, 1007);
    }
}
