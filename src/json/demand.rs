//! The memory and the stack that a JSON text would take as a [`Value`], counted before the text is decoded.

use serde_json::Value;

/// The limit for nesting, which is also serde_json's.
const MAX_NESTING: usize = 127;

/// A value may take this much memory, and [`PER_BYTE`] for each byte of its text.
const BASE: usize = 16 * 1024 * 1024;
const PER_BYTE: usize = 32;

/// The size of an array's element.
const SLOT: usize = size_of::<Value>();

/// The smallest block of an allocator: most strings fit in one.
const BLOCK: usize = 32;

/// A node of the B-tree in which serde_json keeps an object. It has room for 11 members. One member more
/// splits it, and leaves a node with 6 members behind.
const NODE: usize = 640;
const ROOM: usize = 11;
const LEFT: usize = 6;

/// The elements for which an array of one element has room.
const SMALLEST_ARRAY: usize = 4;

/// True for a text that must not be decoded, because its value would be nested too deeply for the stack of a
/// decoder, or would take too much memory.
pub(super) fn is_too_high(text: &str) -> bool {
    let limit = BASE.saturating_add(text.len().saturating_mul(PER_BYTE));
    memory(text, limit).is_none_or(|memory| memory > limit)
}

/// An estimate of the memory, counted from the structure of the text outside of its strings. `None` if the
/// nesting is too deep. The count ends at `limit`.
fn memory(text: &str, limit: usize) -> Option<usize> {
    // The members in the last node of each open object.
    let mut members = [0_usize; MAX_NESTING + 1];
    let (mut depth, mut memory) = (0, SLOT);
    let (mut in_string, mut escaped) = (false, false);
    // The last byte that was not white space.
    let mut last = b' ';
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => {
                in_string = !in_string;
                memory += if in_string { BLOCK } else { 0 };
            }
            _ if in_string => {}
            b'[' | b'{' if depth == MAX_NESTING => return None,
            b'[' | b'{' => {
                depth += 1;
                members[depth] = 0;
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                memory += if byte == b']' && last != b'[' { SMALLEST_ARRAY * SLOT } else { 0 };
            }
            b',' => memory += SLOT,
            b':' => {
                let count = &mut members[depth];
                memory += if *count == 0 || *count == ROOM { NODE } else { 0 };
                *count = if *count == ROOM { ROOM - LEFT + 1 } else { *count + 1 };
            }
            _ => {}
        }
        last = if byte.is_ascii_whitespace() { last } else { byte };
        if memory > limit {
            break;
        }
    }
    Some(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(levels: usize) -> String {
        format!("{}{}", "[".repeat(levels), "]".repeat(levels))
    }

    #[test]
    fn nesting_has_the_limit_of_serde_json() {
        assert!(serde_json::from_str::<Value>(&nested(MAX_NESTING)).is_ok());
        assert!(serde_json::from_str::<Value>(&nested(MAX_NESTING + 1)).is_err());
        let deep = "[".repeat(MAX_NESTING);
        let table = [
            (nested(MAX_NESTING), false),
            (nested(MAX_NESTING + 1), true),
            (deep.clone(), false),
            (format!("{deep}{{"), true),
            (format!(r#"{deep}"[","{{\"[","\\""#), false),
            (format!(r#"{deep}"\\",["#), true),
            // A closing bracket in a string does not close an array.
            (format!(r#"{deep}"]",["#), true),
            (format!("]]]{deep}"), false),
            (format!("{},{}", nested(MAX_NESTING), nested(MAX_NESTING)), false),
        ];
        for (text, too_high) in table {
            assert_eq!(is_too_high(&text), too_high, "{text}");
        }
    }

    #[test]
    fn memory_is_counted_outside_of_strings() {
        let table = [
            ("", SLOT),
            ("[]", SLOT),
            ("[ ]", SLOT),
            ("{}", SLOT),
            ("[1]", 5 * SLOT),
            ("[1, 2]", 6 * SLOT),
            (r#"[",:[]{}\\","]"]"#, 6 * SLOT + 2 * BLOCK),
            (r#"{"a":1}"#, SLOT + NODE + BLOCK),
            (r#"{"a":{"b":1},"c":{}}"#, 2 * SLOT + 2 * NODE + 3 * BLOCK),
        ];
        for (text, expected) in table {
            assert_eq!(memory(text, usize::MAX), Some(expected), "{text}");
        }
        for (members, nodes) in
            [(1, 1), (11, 1), (12, 2), (17, 2), (18, 3), (23, 3), (24, 4), (29, 4), (30, 5)]
        {
            let text = format!("{{{}}}", vec![r#""a":1"#; members].join(","));
            let expected = members * (SLOT + BLOCK) + nodes * NODE;
            assert_eq!(memory(&text, usize::MAX), Some(expected), "{text}");
        }
    }

    #[test]
    fn the_limit_grows_with_the_text() {
        let list = |element: &str, length: usize| format!("[{}]", vec![element; length].join(","));
        let table = [
            // 16 to 8 times the text.
            ("0", 5_000_000, false),
            ("[]", 5_000_000, false),
            (r#""a""#, 2_000_000, false),
            (r#"{"id":12345,"name":"some name","price":1.25}"#, 300_000, false),
            (r#"{"a":1,"b":2,"c":3,"d":4,"e":5}"#, 300_000, false),
            (r#"{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7}"#, 300_000, false),
            // 50 to 100 times the text: 16 MiB more than the proportion allows are soon reached.
            (r#"{"x":1,"y":2}"#, 20_000, false),
            (r#"{"x":1,"y":2}"#, 200_000, true),
            (r#"{"a":{}}"#, 20_000, false),
            (r#"{"a":{}}"#, 100_000, true),
            (r#"{"":0}"#, 100_000, true),
            ("[0]", 100_000, false),
            // Values are half as large on a 32-bit machine.
            ("[0]", 2_000_000, cfg!(target_pointer_width = "64")),
        ];
        for (element, length, too_high) in table {
            assert_eq!(is_too_high(&list(element, length)), too_high, "{length} times {element}");
        }
    }
}
