use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ureq::http::HeaderValue;

/// The value of `Authorization` or `Proxy-Authorization` for the Basic scheme (RFC 7617). It is marked as
/// sensitive.
pub(crate) fn basic(user: &str, password: &str) -> HeaderValue {
    let credentials = BASE64_STANDARD.encode(format!("{user}:{password}"));
    let value = HeaderValue::try_from(format!("Basic {credentials}"));
    let mut value = value.expect("base64 is a valid header value");
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_is_base64_and_not_shown() {
        // The first pair is the example of RFC 7617, section 2.
        for (user, password, expected) in [
            ("Aladdin", "open sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ("ü\n", "", "Basic w7wKOg=="),
            ("", "", "Basic Og=="),
        ] {
            let value = basic(user, password);
            assert_eq!(value, expected);
            assert!(value.is_sensitive());
        }
    }
}
