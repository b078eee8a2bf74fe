//! Failures of TLS, in words that help a user. native-tls does not classify its errors: only their text tells
//! what went wrong, and this file knows the texts of OpenSSL. On other platforms an error is reported as a
//! failed handshake, with the platform's text behind `source()`.

use std::fmt;

use crate::error::Error;

/// Builds the error for a handshake that failed.
pub(super) fn handshake_failed(host: &str, error: native_tls::Error) -> Error {
    Error::connection_from(explain(host, &error.to_string()), Whole(error))
}

/// An error of native-tls without its causes, which its text repeats.
#[derive(Debug)]
struct Whole(native_tls::Error);

impl fmt::Display for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Whole {}

fn explain(host: &str, text: &str) -> String {
    let text = text.to_ascii_lowercase();
    if text.contains("certificate verify failed") {
        return verification(host, &text);
    }
    if let Some(refusal) = refusal(&text) {
        return format!("{host}: {refusal}");
    }
    let tells = |words: &[&str]| words.iter().any(|words| text.contains(words));
    if tells(&["wrong version number", "unknown protocol", "packet length too long", "http request"]) {
        format!("{host} does not speak TLS on this port (is it http:// or ws://?)")
    } else if tells(&["unexpected eof", "connection reset"]) {
        format!("{host} closed the connection during the TLS handshake (does it speak TLS on this port?)")
    } else if tells(&["unsupported protocol"]) {
        format!("{host} speaks only versions of TLS that are too old")
    } else {
        format!("the TLS handshake with {host} failed")
    }
}

const ANOTHER_HOST: &str = "is not for the host";

/// OpenSSL's texts for an unknown authority. The signature fails if a known authority has the same name and
/// another key.
const UNKNOWN: [&str; 5] =
    ["self-signed", "self signed", "issuer certificate", "the first certificate", "signature failure"];

/// Explains why the server's certificate was not accepted, from a text of `X509_verify_cert_error_string`.
fn verification(host: &str, text: &str) -> String {
    let tells = |words: &[&str]| words.iter().any(|words| text.contains(words));
    let what = if tells(&["certificate has expired"]) {
        "has expired".into()
    } else if tells(&["not yet valid"]) {
        "is not valid yet (is the clock right?)".into()
    } else if tells(&["hostname mismatch", "ip address mismatch"]) {
        format!("{ANOTHER_HOST} {host}")
    } else if tells(&UNKNOWN) {
        "is not signed by a known authority; add the authority's certificate with `ca_certificate`".into()
    } else if tells(&["revoked"]) {
        "is revoked".into()
    } else {
        "cannot be verified".into()
    };
    match tells(&["certificate has expired", "not yet valid"]) {
        // An authority's certificate may be the invalid one.
        true => format!("a certificate of {host} {what}"),
        false => format!("the certificate of {host} {what}"),
    }
}

/// True for the error of a certificate that is valid, but for another host.
pub(super) fn is_for_another_host(error: &Error) -> bool {
    matches!(error, Error::Connection { message, .. } if message.contains(ANOTHER_HOST))
}

/// Explains the server's TLS alert, if the text of an error names one. In TLS 1.3 the server checks the
/// client's certificate when the client's handshake is already over, so the alert arrives with the first
/// read.
pub(super) fn refusal(text: &str) -> Option<String> {
    const MARK: &str = "alert number ";
    let digits = &text[text.find(MARK)? + MARK.len()..];
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    let number: u8 = digits[..end].parse().ok()?;
    // The numbers are those of RFC 8446, section 6.2.
    Some(match number {
        40 => "the server refused the TLS handshake (does it require a client certificate?)".into(),
        42..=46 | 48 | 49 | 51 => {
            let why = match number {
                43 => "it is of an unsupported kind",
                44 => "it is revoked",
                45 => "it has expired",
                48 => "it is not signed by an authority that the server knows",
                49 => "access denied",
                _ => "it is not acceptable, or missing",
            };
            format!("the server refused the client certificate: {why}")
        }
        70 | 71 => "the server speaks no version of TLS, or no cipher, that this client accepts".into(),
        112 => "the server does not know the host name".into(),
        116 => "the server requires a client certificate; set it with `client_certificate`".into(),
        _ => format!("the server ended TLS with the alert {number}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts of OpenSSL 1.1.1, 3.0 and 3.5 that the tests in `tests/tls` do not produce.
    #[test]
    fn texts() {
        const VERIFY: &str =
            "error:0A000086:SSL routines::certificate verify failed:ssl/statem/statem_clnt.c:2091:";
        let verify = |text| format!("{VERIFY} ({text})");
        let alert = |text, number| {
            format!("error:0A000410:SSL routines:ssl3_read_bytes:{text}:SSL alert number {number}")
        };
        for (text, expected) in [
            (
                verify("self signed certificate"),
                "the certificate of a.example is not signed by a known authority",
            ),
            (verify("self-signed certificate in certificate chain"), "is not signed by a known authority"),
            (verify("unable to verify the first certificate"), "is not signed by a known authority"),
            (verify("unable to get issuer certificate"), "is not signed by a known authority"),
            (verify("CRL has expired"), "the certificate of a.example cannot be verified"),
            (verify("certificate revoked"), "the certificate of a.example is revoked"),
            (verify("EE certificate key too weak"), "the certificate of a.example cannot be verified"),
            (alert("sslv3 alert handshake failure", 40), "does it require a client certificate?"),
            (
                alert("ssl/tls alert bad certificate", 42),
                "refused the client certificate: it is not acceptable, or missing",
            ),
            (alert("tlsv1 alert access denied", 49), "refused the client certificate: access denied"),
            (alert("tlsv1 alert protocol version", 70), "a.example: the server speaks no version of TLS"),
            (alert("tlsv1 alert internal error", 80), "a.example: the server ended TLS with the alert 80"),
            (alert("tlsv1 unrecognized name", 112), "a.example: the server does not know the host name"),
            (
                "error:0A000102:SSL routines::unsupported protocol:ssl/x.c:1:".into(),
                "versions of TLS that are too old",
            ),
            ("error:1408F10B:SSL routines:ssl3_get_record:wrong version number".into(), "does not speak TLS"),
            (
                "Connection reset by peer (os error 104)".into(),
                "closed the connection during the TLS handshake",
            ),
            ("A certificate chain could not be built".into(), "the TLS handshake with a.example failed"),
        ] {
            let told = explain("a.example", &text);
            assert!(told.contains(expected), "{text}: {told}");
        }
    }

    #[test]
    fn what_is_no_alert() {
        for text in ["", "alert number", "alert number x", "alert number 4000", "Connection reset by peer"] {
            assert_eq!(refusal(text), None, "{text}");
        }
    }
}
