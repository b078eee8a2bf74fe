//! To be merged with `src/printable.rs`.

use std::borrow::Cow;

/// Replaces what a terminal or a log would act upon: control characters (C0, C1), line and paragraph
/// separators, and marks that change the direction of text.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let acts = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{61c}')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.contains(acts) { text.replace(acts, "\u{fffd}").into() } else { text.into() }
}
