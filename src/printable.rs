//! Text from the server as it may be shown: a control character could rewrite a terminal's screen, or forge a
//! line of a log.
//!
//! The constructors and the `Debug` of [`Error`](crate::Error), and [`Logger`](crate::logger::Logger), use
//! this module for every text that passes through them. No other code has to.

use std::error::Error as StdError;
use std::fmt::{self, Write};

pub(crate) type BoxError = Box<dyn StdError + Send + Sync + 'static>;

/// True for the characters that control a terminal or the direction of a text: C0, DEL, C1, the separators of
/// lines and paragraphs, and the controls of the bidirectional algorithm (UAX #9, section 2).
fn is_control(c: char) -> bool {
    let hidden = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2066}'..='\u{2069}');
    c.is_control() || hidden || matches!(c, '\u{2028}'..='\u{202e}')
}

/// A text whose control characters are written as escapes, such as `\n` and `\u{1b}`.
pub(crate) fn printable(text: String) -> String {
    if text.contains(is_control) { Printable(text).to_string() } else { text }
}

/// The start of a text, for a quotation of at most `longest` characters. A control character counts as the
/// escape that is shown in its place.
pub(crate) fn start_of(text: &str, longest: usize) -> &str {
    let mut length = 0;
    for (at, c) in text.char_indices() {
        length += if is_control(c) { c.escape_debug().count() } else { 1 };
        if length > longest {
            return &text[..at];
        }
    }
    text
}

/// Displays a value with its control characters as escapes.
pub(crate) struct Printable<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Printable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(is_control) {
            let (plain, controls) = rest.split_at(at);
            let mut controls = controls.chars();
            self.0.write_str(plain)?;
            controls.next().map_or(Ok(()), |control| write!(self.0, "{}", control.escape_debug()))?;
            rest = controls.as_str();
        }
        self.0.write_str(rest)
    }
}

/// The longest text of a cause, in bytes. serde_json quotes a string of any length that it did not expect.
const LONGEST: usize = 1000;

/// An error's cause as it may be shown: its texts have no control characters, and are of limited length. A
/// cause whose texts are so already keeps its type.
pub(crate) fn printable_cause(cause: BoxError) -> BoxError {
    let first: &(dyn StdError + 'static) = &*cause;
    let mut chain = std::iter::successors(Some(first), |error| (*error).source());
    if chain.any(|error| !is_fine(&error.to_string())) { Box::new(Cause::of(&*cause)) } else { cause }
}

fn is_fine(text: &str) -> bool {
    text.len() <= LONGEST && !text.contains(is_control)
}

/// The texts of a cause, and of its own causes, in place of those that could not be shown.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Cause {
    text: String,
    source: Option<Box<Cause>>,
}

impl Cause {
    fn of(error: &(dyn StdError + 'static)) -> Self {
        let source = error.source().map(|source| Box::new(Cause::of(source)));
        let mut text = printable(error.to_string());
        if text.len() > LONGEST {
            let end = (0..=LONGEST).rev().find(|end| text.is_char_boundary(*end));
            text.truncate(end.unwrap_or(0));
            text.push_str("...");
        }
        Cause { text, source }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        let table = [
            ("", ""),
            ("plain: é漢🦀 \"quoted\" \\n", "plain: é漢🦀 \"quoted\" \\n"),
            ("a\nb\r\tc\0", r"a\nb\r\tc\0"),
            ("\x1b[31mred\x7f", r"\u{1b}[31mred\u{7f}"),
            ("\u{80}\u{85}\u{9b}31m\u{9f}\u{a0}", "\\u{80}\\u{85}\\u{9b}31m\\u{9f}\u{a0}"),
            ("\u{2027}\u{2028}\u{2029}\u{202f}", "\u{2027}\\u{2028}\\u{2029}\u{202f}"),
            ("\u{202a}\u{202e}\u{2066}\u{2069}", r"\u{202a}\u{202e}\u{2066}\u{2069}"),
            ("\u{200d}\u{200e}\u{200f}\u{61c}", "\u{200d}\\u{200e}\\u{200f}\\u{61c}"),
        ];
        for (text, shown) in table {
            assert_eq!(printable(text.into()), shown);
            assert_eq!(Printable(text).to_string(), shown);
        }
    }

    #[test]
    fn a_quotation_is_no_longer_than_it_may_be_when_it_is_shown() {
        let table = [
            ("", 3, ""),
            ("abc", 3, "abc"),
            ("é漢🦀d", 3, "é漢🦀"),
            ("a\n\nb", 4, "a\n"),
            ("\u{202e}", 7, ""),
        ];
        for (text, longest, start) in table {
            assert_eq!(start_of(text, longest), start, "{text:?}");
            assert!(printable(start.into()).chars().count() <= longest);
        }
    }

    #[test]
    fn what_is_printable_already_is_not_copied() {
        let text = "plain".to_owned();
        let address = text.as_ptr();
        let same = printable(text);
        assert_eq!(same.as_ptr(), address);
    }

    #[test]
    fn a_cause_keeps_its_type_if_it_can() {
        let plain = printable_cause(io::Error::other("plain").into());
        assert!(plain.is::<io::Error>());
        let cause = printable_cause(io::Error::other(io::Error::other("\u{9b}inner")).into());
        assert!(!cause.is::<io::Error>());
        assert_eq!(cause.to_string(), r"\u{9b}inner");
        let long = printable_cause(io::Error::other("é".repeat(LONGEST)).into());
        assert_eq!(long.to_string(), "é".repeat(LONGEST / 2) + "...");
    }
}
