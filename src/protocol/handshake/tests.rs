use proptest::prelude::*;
use serde_json::json;

use super::*;

/// A handshake with one field replaced, or removed.
fn with(field: &str, value: Option<Value>) -> String {
    let mut json = json!({"sid": "x", "pingInterval": 25000, "pingTimeout": 20000,
        "upgrades": ["websocket"], "maxPayload": 1000000});
    let fields = json.as_object_mut().unwrap();
    match value {
        Some(value) => fields.insert(field.into(), value),
        None => fields.remove(field),
    };
    json.to_string()
}

fn parse_with(field: &str, value: Value) -> Result<Handshake, String> {
    Handshake::parse(&with(field, Some(value))).map_err(|e| e.to_string())
}

#[test]
fn the_example_of_the_protocol() {
    let handshake = Handshake::parse(
        r#"{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":25000,
            "pingTimeout":20000,"maxPayload":1000000,"more":{}}"#,
    )
    .unwrap();
    assert_eq!(handshake.sid(), "lv_VI97HAXpY6yYWAAAC");
    assert_eq!(handshake.ping_interval(), Duration::from_secs(25));
    assert_eq!(handshake.ping_timeout(), Duration::from_secs(20));
    assert_eq!(handshake.upgrades(), ["websocket"]);
    assert_eq!(handshake.max_payload(), Some(1_000_000));
}

#[test]
fn times() {
    let table = [
        (json!(1), 1_000_000),
        (json!(25000), 25_000_000_000),
        (json!(25000.0), 25_000_000_000),
        (json!("25000"), 25_000_000_000),
        (json!(" 25000.0 "), 25_000_000_000),
        (json!(1e3), 1_000_000_000),
        (json!("1e3"), 1_000_000_000),
        (json!(300.5), 300_500_000),
        (json!("300.5"), 300_500_000),
        (json!(0.001), 1_000),
        (json!(".5"), 500_000),
        (json!(u32::MAX), u64::from(u32::MAX) * 1_000_000),
    ];
    for (value, nanos) in table {
        let handshake = parse_with("pingInterval", value.clone()).unwrap();
        assert_eq!(handshake.ping_interval(), Duration::from_nanos(nanos), "{value}");
        let handshake = parse_with("pingTimeout", value).unwrap();
        assert_eq!(handshake.ping_timeout(), Duration::from_nanos(nanos));
    }
}

#[test]
fn an_interval_of_zero_counts_as_one_second() {
    for zero in [json!(0), json!(0.0), json!(-0.0), json!("0"), json!("0.0"), json!(1e-300)] {
        let handshake = parse_with("pingInterval", zero.clone()).unwrap();
        assert_eq!(handshake.ping_interval(), Duration::from_secs(1), "{zero}");
        assert_eq!(parse_with("pingTimeout", zero).unwrap().ping_timeout(), Duration::ZERO);
    }
}

#[test]
fn a_number_that_nothing_can_hold_is_told_with_its_field() {
    for field in ["pingInterval", "pingTimeout", "maxPayload"] {
        for number in ["1e999", "-1e999", &"9".repeat(400)] {
            let json = with(field, Some(json!(4711))).replace("4711", number);
            let error = Handshake::parse(&json).unwrap_err().to_string();
            assert_eq!(error, format!("the handshake's {field} is too large a number"));
        }
    }
}

#[test]
fn malformed_times() {
    let bad = [
        json!(-1),
        json!(-0.001),
        json!("-1"),
        json!("-inf"),
        json!("0x10"),
        json!("NaN"),
        json!("inf"),
        json!("25 s"),
        json!(""),
        json!(true),
        json!([25000]),
        json!({}),
        json!(u64::from(u32::MAX) + 1),
        json!(1e300),
        json!(u64::MAX),
        json!("1e999"),
    ];
    for value in bad {
        for field in ["pingInterval", "pingTimeout"] {
            let error = parse_with(field, value.clone()).unwrap_err();
            assert!(error.starts_with(&format!("the handshake's {field} is ")), "{error}");
        }
    }
    let error = parse_with("pingInterval", json!(-5)).unwrap_err();
    let expected = "not a number of milliseconds, 0 or more, and at most 49 days";
    assert_eq!(error, format!(r#"the handshake's pingInterval is "-5", {expected}"#));
}

#[test]
fn session_ids() {
    for sid in ["a", "a b&c=d/é", &"x".repeat(1000)] {
        assert_eq!(parse_with("sid", json!(sid)).unwrap().sid(), sid);
    }
    for bad in [json!(""), json!(7), json!(["x"]), json!("a\nb"), json!("a\0"), json!("\u{85}")] {
        let error = parse_with("sid", bad).unwrap_err();
        assert!(error.starts_with("the handshake's sid is "), "{error}");
    }
}

#[test]
fn required_fields() {
    for field in ["sid", "pingInterval", "pingTimeout"] {
        for json in [with(field, None), with(field, Some(Value::Null))] {
            let error = Handshake::parse(&json).unwrap_err();
            assert_eq!(error.to_string(), format!("the handshake has no {field}"));
        }
    }
}

#[test]
fn upgrades_are_optional() {
    assert!(Handshake::parse(&with("upgrades", None)).unwrap().upgrades().is_empty());
    assert!(parse_with("upgrades", Value::Null).unwrap().upgrades().is_empty());
    let mixed = parse_with("upgrades", json!(["webtransport", 7, null, "websocket"])).unwrap();
    assert_eq!(mixed.upgrades(), ["webtransport", "websocket"]);
    let error = parse_with("upgrades", json!("websocket")).unwrap_err();
    assert_eq!(error, r#"the handshake's upgrades is "\"websocket\"", not a list of transports"#);
}

#[test]
fn max_payload_is_optional() {
    assert_eq!(Handshake::parse(&with("maxPayload", None)).unwrap().max_payload(), None);
    let table = [
        (Value::Null, None),
        (json!(0), None),
        (json!(-5), None),
        (json!("1000"), Some(1000)),
        (json!(1e8), Some(100_000_000)),
        (json!(1e300), Some(usize::MAX)),
    ];
    for (value, expected) in table {
        assert_eq!(parse_with("maxPayload", value).unwrap().max_payload(), expected);
    }
    for bad in [json!("many"), json!(1.5), json!(false), json!([])] {
        assert!(parse_with("maxPayload", bad).unwrap_err().starts_with("the handshake's maxPayload is "));
    }
}

#[test]
fn open_packets_as_those_of_version_3() {
    for (interval, timeout, max, expected) in [
        (25_000, 5_000, None, true),
        (25_000, 60_000, None, true),
        (25_000, 20_000, None, false),
        (10_000, 5_000, None, false),
        (25_000, 5_000, Some(1_000_000), false),
    ] {
        let json = json!({"sid": "x", "pingInterval": interval, "pingTimeout": timeout, "maxPayload": max});
        let handshake = Handshake::parse(&json.to_string()).unwrap();
        assert_eq!(handshake.may_be_version_3(), expected, "{json}");
    }
}

#[test]
fn malformed_handshakes() {
    let table = [
        ("", "the handshake is not JSON: EOF while parsing a value at line 1 column 0"),
        ("{", "the handshake is not JSON: EOF while parsing an object at line 1 column 1"),
        (r#"{"sid":"x"} 7"#, "the handshake is not JSON: trailing characters at line 1 column 13"),
        (r#"{"pingInterval":NaN}"#, "the handshake is not JSON: expected value at line 1 column 17"),
        ("[]", "the handshake is not a JSON object"),
        ("null", "the handshake is not a JSON object"),
        ("{}", "the handshake has no sid"),
    ];
    for (json, message) in table {
        assert_eq!(Handshake::parse(json).map_err(|e| e.to_string()), Err(message.into()));
    }
    assert!(Handshake::parse(&"[".repeat(100_000)).is_err());
}

/// Any JSON value, of valid and invalid types for a field.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "-?[0-9.e]{0,12}".prop_map(Value::from),
        proptest::collection::vec(any::<String>(), 0..3).prop_map(Value::from),
    ]
}

proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(json in any::<String>()) {
        let _ = Handshake::parse(&json).map_err(|e| e.to_string());
    }

    #[test]
    fn any_fields_are_parsed_or_refused(fields in proptest::array::uniform5(value())) {
        let [sid, interval, timeout, upgrades, max] = fields;
        let json = json!({"sid": sid, "pingInterval": interval, "pingTimeout": timeout,
            "upgrades": upgrades, "maxPayload": max});
        if let Ok(handshake) = Handshake::parse(&json.to_string()) {
            prop_assert!(!handshake.sid().is_empty() && !handshake.ping_interval().is_zero());
            prop_assert_ne!(handshake.max_payload(), Some(0));
        }
    }
}
