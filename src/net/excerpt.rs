//! Quotations of what a server says, for errors: short, and without the session id. Errors themselves escape
//! the control characters.

use std::borrow::Cow;

use crate::printable::start_of;
use crate::session_id::without_session_ids;

/// The limit for a quotation of the server's text, in characters.
pub(super) const QUOTED: usize = 200;

/// A part of the session id of at least this length is hidden like the whole: a quotation may cut the id.
const SHORTEST: usize = 8;

/// Tags that stand within a line.
const INLINE: [&str; 12] =
    ["a", "abbr", "b", "code", "em", "font", "i", "small", "span", "strong", "sub", "u"];

/// The first two lines of a text or of an HTML page, without its tags. `None` for anything else, and for
/// nothing.
pub(super) fn of_body(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    if text.matches(['\0', '\u{fffd}']).take(4).count() > 3 {
        return None;
    }
    let text: Cow<str> = if is_html(body) { plain(&text).into() } else { text };
    let mut lines: Vec<String> =
        text.lines().map(collapsed).filter(|line| !line.is_empty()).take(3).collect();
    lines.dedup();
    lines.truncate(2);
    Some(quotation(&lines.join(" / "))).filter(|quoted| !quoted.is_empty())
}

/// The start of a text, without session ids.
pub(super) fn quotation(text: &str) -> String {
    without_session_ids(start_of(text, QUOTED))
}

/// True if the body can only be HTML or XML: no packet starts with that character.
pub(super) fn is_html(body: &[u8]) -> bool {
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    body.trim_ascii_start().first() == Some(&b'<')
}

/// The text with one space between its words.
fn collapsed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text of an HTML page. Tags that stand within a line vanish, and others end the line.
fn plain(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        text.push_str(&rest[..at]);
        let tag = &rest[at + 1..];
        let name = tag.trim_start_matches('/');
        let name = &name[..name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len())];
        let name = name.to_ascii_lowercase();
        // The end of a style or a script is a tag of its own.
        let (end, taken) = match name.as_str() {
            _ if tag.starts_with("!--") => ("-->", 3),
            "script" if !tag.starts_with('/') => ("</script", 0),
            "style" if !tag.starts_with('/') => ("</style", 0),
            _ => (">", 1),
        };
        if !INLINE.contains(&name.as_str()) {
            text.push('\n');
        }
        rest = tag.find(end).map_or("", |at| &tag[at + taken..]);
    }
    text.push_str(rest);
    let entities =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&nbsp;", " "), ("&amp;", "&")];
    entities.iter().fold(text, |text, (entity, character)| text.replace(entity, character))
}

/// The text with `***` in place of the secret, whichever of its characters are percent-encoded or escaped as
/// in JSON.
pub(super) fn without<'a>(text: &'a str, secret: &str) -> Cow<'a, str> {
    if secret.is_empty() {
        return text.into();
    }
    let (mut shown, mut hidden) = (String::new(), false);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        match length_of(rest.as_bytes(), secret.as_bytes()) {
            0 => {
                shown.push(c);
                rest = &rest[c.len_utf8()..];
            }
            // A secret may end within a character that the text continues.
            length => {
                shown.push_str("***");
                hidden = true;
                rest = rest.get(length..).unwrap_or_default();
            }
        }
    }
    if hidden { shown.into() } else { text.into() }
}

/// The length of the secret's occurrence at the start of the text, or 0.
fn length_of(text: &[u8], secret: &[u8]) -> usize {
    let (mut length, mut found) = (0, 0);
    for byte in secret {
        let Some(taken) = taken(&text[length..], *byte) else { break };
        (length, found) = (length + taken, found + 1);
    }
    if found >= secret.len().min(SHORTEST) { length } else { 0 }
}

/// The length of one byte of the secret at the start of the text, in any encoding.
fn taken(text: &[u8], byte: u8) -> Option<usize> {
    let hex = |digits: Option<&[u8]>| {
        let digits = std::str::from_utf8(digits?).ok()?;
        u32::from_str_radix(digits, 16).ok().filter(|value| *value == u32::from(byte))
    };
    match text {
        [first, ..] if *first == byte => Some(1),
        [b'+', ..] if byte == b' ' => Some(1),
        [b'%', ..] => hex(text.get(1..3)).map(|_| 3),
        [b'\\', b'u', ..] => hex(text.get(2..6)).map(|_| 6),
        [b'\\', second, ..] if *second == byte => Some(2),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quotations_of_bodies() {
        let nginx = "<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title>\
                     </head>\r\n<body>\r\n<center><h1>400 Bad Request</h1></center>\r\n\
                     <center>The plain HTTP request was sent to HTTPS port</center>\r\n</body></html>";
        for (body, expected) in [
            ("not today", Some("not today")),
            ("one\n\n  two  words\nthree", Some("one / two words")),
            (nginx, Some("400 The plain HTTP request was sent to HTTPS port / 400 Bad Request")),
            (
                "<!DOCTYPE html><!-- a > b --><STYLE>x{}</STYLE><style>p > a{}</style><h1>Access \
                 <b>denied</b></h1><p>Ray&nbsp;ID &amp;lt; 7<script>if (a < b) {}</script>",
                Some("Access denied / Ray ID &lt; 7"),
            ),
            ("<p>a\u{9b}31m\u{202e}b", Some("a\u{9b}31m\u{202e}b")),
            ("<html><body></body></html>", None),
            (r#"0{"sid":"secret","upgrades":[]}"#, Some(r#"0{"sid":"***","upgrades":[]}"#)),
            ("<", None),
            ("", None),
            ("\0\0\0\0", None),
        ] {
            assert_eq!(of_body(body.as_bytes()).as_deref(), expected, "{body}");
        }
        assert_eq!(of_body(&[0x89, b'P', 0xff, 0xfe, 0xfd, 0xfc]), None);
        assert_eq!(of_body("ü".repeat(1000).as_bytes()).unwrap().chars().count(), QUOTED);
        let controls = of_body("\u{15}".repeat(1000).as_bytes()).unwrap();
        assert!(crate::printable::printable(controls).chars().count() <= QUOTED);
    }

    #[test]
    fn a_secret_is_hidden_in_every_encoding() {
        let sid = "se+cr/et==";
        for (text, expected) in [
            ("no session se+cr/et== here", "no session *** here"),
            ("se%2Bcr%2Fet%3D%3D and se%2bcr/et=%3d", "*** and ***"),
            (r"se+cr\/et== se\u002bcr\u002Fet==", "*** ***"),
            ("cut: se+cr/et", "cut: ***"),
            ("cut: se+cr", "cut: se+cr"),
            ("se+cr/et==se+cr/et==", "******"),
            ("", ""),
        ] {
            assert_eq!(without(text, sid), expected);
        }
        assert_eq!(without("abc", "abc"), "***");
        assert_eq!(without("a b+c", "a b c"), "***");
        assert_eq!(without("abc", ""), "abc");
        assert_eq!(without("xéy", "é"), "x***y");
        assert_eq!(without("\u{dcf}", "\u{dcf}"), "***");
        assert_eq!(without("x%C3%A9y", "é"), "x***y");
    }

    proptest! {
        #[test]
        fn any_text_is_quoted(body in any::<Vec<u8>>(), html in "[<>/!a-z&;é -]{0,30}", sid in "\\PC{1,20}") {
            of_body(&body);
            of_body(format!("<{html}").as_bytes());
            let hidden = without(&format!("{html}{sid}{html}"), &sid).into_owned();
            prop_assert!(!hidden.contains(&sid) || sid.contains('*'), "{}", hidden);
        }
    }
}
