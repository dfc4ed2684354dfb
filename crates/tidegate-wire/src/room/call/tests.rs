//! Goal: a body means one thing or is refused with the field's name. Method: tables, and properties over any bytes.

use proptest::prelude::*;

use super::*;

fn json(text: &str) -> Result<Call<'_>, BodyError> {
    Call::parse(text.as_bytes(), CallFormat::Json)
}

fn form(text: &str) -> Result<Call<'_>, BodyError> {
    Call::parse(text.as_bytes(), CallFormat::Form)
}

#[test]
fn the_same_call_as_json_and_as_a_form() {
    let call = Call {
        ticket: Some("v1.t".into()),
        pass: Some("v1.p".into()),
        return_to: Some("/a b?c=d&e".into()),
        extend: true,
        hint: true,
    };
    let text = r#"{"ticket":"v1.t","pass":"v1.p","return_to":"\/a b?c=d&e","extend":true,"hint":true}"#;
    assert_eq!(json(text), Ok(call.clone()));
    assert_eq!(form("ticket=v1.t&pass=v1.p&return_to=%2Fa+b%3Fc%3Dd%26e&extend=true&hint=true"), Ok(call));
    for nothing in ["", " \r\n", "{}", r#"{"ticket":null,"pass":null,"return_to":null,"extend":null}"#] {
        assert_eq!(json(nothing), Ok(Call::default()), "{nothing:?}");
    }
    for nothing in ["", "ticket=&extend=", "extend=false"] {
        assert_eq!(form(nothing), Ok(Call::default()), "{nothing:?}");
    }
}

#[test]
fn what_breaks_a_rule_is_named() {
    let long = "a".repeat(MAX_TOKEN_BYTES + 1);
    let too_long = format!(r#"{{"ticket":"{long}"}}"#);
    for (text, field) in [
        (r#"{"tickets":"a"}"#, "tickets"),
        (r#"{"ticket":"a","ticket":"b"}"#, "ticket"),
        (r#"{"ticket":null,"ticket":"b"}"#, "ticket"),
        (r#"{"ticket":1}"#, "ticket"),
        (r#"{"ticket":""}"#, "ticket"),
        (r#"{"pass":["a"]}"#, "pass"),
        (r#"{"return_to":"/a\n"}"#, "return_to"),
        (r#"{"extend":"true"}"#, "extend"),
        (r#"{"hint":1}"#, "hint"),
        (r#"{"extend":true,"extend":false}"#, "extend"),
        (&too_long, "ticket"),
        ("[]", "body"),
        ("\"ticket\"", "body"),
        ("null", "body"),
    ] {
        match json(text) {
            Err(BodyError::Invalid { field: named, .. }) => assert_eq!(named, field, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    for text in ["{", "{\"ticket\":}", "{} {}", "ticket=a", "{\"ticket\":\"\\ud800\"}"] {
        assert!(matches!(json(text), Err(BodyError::Malformed { .. })), "{text}");
    }
    assert!(matches!(Call::parse(b"\xff", CallFormat::Json), Err(BodyError::Malformed { .. })));
    let many = "a&".repeat(MAX_FORM_FIELDS);
    for (text, field) in
        [("x=y", "x"), ("ticket=a&ticket=b", "ticket"), ("extend=yes", "extend"), (&*many, "a")]
    {
        assert!(
            matches!(form(text), Err(BodyError::Invalid { field: named, .. }) if named == field),
            "{text}"
        );
    }
}

#[test]
fn bodies_have_a_maximum() {
    let blanks = vec![b' '; MAX_CALL_BODY_BYTES + 1];
    for format in [CallFormat::Json, CallFormat::Form] {
        assert_eq!(Call::parse(&blanks[1..], format), Ok(Call::default()));
        assert_eq!(Call::parse(&blanks, format), Err(BodyError::TooLarge { max_bytes: MAX_CALL_BODY_BYTES }));
    }
}

#[test]
fn content_types() {
    for (value, format) in [
        (None, Some(CallFormat::Json)),
        (Some("application/json"), Some(CallFormat::Json)),
        (Some("Application/JSON; charset=utf-8"), Some(CallFormat::Json)),
        (Some("text/plain;charset=UTF-8"), Some(CallFormat::Json)),
        (Some("application/x-www-form-urlencoded"), Some(CallFormat::Form)),
        (Some("multipart/form-data; boundary=x"), None),
        (Some("application/jsonp"), None),
        (Some(""), None),
    ] {
        assert_eq!(CallFormat::of_content_type(value), format, "{value:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for format in [CallFormat::Json, CallFormat::Form] {
            if let Err(error) = Call::parse(&bytes, format) {
                prop_assert!(error.to_string().len() < 512 && !error.to_string().contains(char::is_control));
            }
        }
    }
}
