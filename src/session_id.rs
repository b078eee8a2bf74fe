//! Session ids in the texts of a server: anybody who reads one in a log can take over the session.

/// The text with `***` in place of session ids, as in `"sid":"..."` or `sid=...`. The ids need not be known:
/// they may be those of sessions that have never begun.
pub(crate) fn without_session_ids(text: &str) -> String {
    const KEY: &str = "sid";
    let (mut shown, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(KEY) {
        let (before, behind) = rest.split_at(at + KEY.len());
        let value = behind.trim_start_matches(['"', '\'', '\\', ' ', ':', '=']);
        let between = &behind[..behind.len() - value.len()];
        shown.extend([before, between]);
        rest = value;
        if between.contains([':', '=']) {
            shown.push_str("***");
            let end = value.find(['"', '\'', '\\', ',', '&', ';', '}', ' ', '<']);
            rest = &value[end.unwrap_or(value.len())..];
        }
    }
    shown + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_ids_are_hidden() {
        for (text, shown) in [
            (r#"{"sid":"secret"}"#, r#"{"sid":"***"}"#),
            ("?sid=secret&a=1", "?sid=***&a=1"),
            ("'sid': 'secret", "'sid': '***"),
            ("inside the sid", "inside the sid"),
            ("sid=sid=sid=x;sid=y", "sid=***;sid=***"),
            ("sid:", "sid:***"),
        ] {
            assert_eq!(without_session_ids(text), shown);
        }
    }
}
