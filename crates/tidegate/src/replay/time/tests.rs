//! Times in every notation, against jiff as the reference where it can be one.

use jiff::civil::date;
use jiff::tz::TimeZone;

use super::*;

const MAY_17: u64 = 1_431_857_103_000_000; // 2015-05-17T10:05:03Z

fn clf(text: &str) -> Result<u64, Unreadable> {
    parse_clf(text.as_bytes())
}

#[test]
fn the_common_notation_with_its_offset() {
    assert_eq!(clf("17/May/2015:10:05:03 +0000"), Ok(MAY_17));
    assert_eq!(clf("17/May/2015:12:05:03 +0200"), Ok(MAY_17));
    assert_eq!(clf("17/May/2015:06:35:03 -0330"), Ok(MAY_17));
    assert_eq!(clf("18/May/2015:00:05:03 +1400"), Ok(MAY_17));
    assert_eq!(clf("17/May/2015:10:05:03.123 +0000"), Ok(MAY_17 + 123_000));
    assert_eq!(clf("17/May/2015:10:05:03.1234567 +0000"), Ok(MAY_17 + 123_456));
}

/// When a clock is set back, the same local time comes twice; the offset tells them apart.
#[test]
fn the_hour_that_comes_twice() {
    let summer = clf("25/Oct/2015:02:30:00 +0200").unwrap();
    let winter = clf("25/Oct/2015:02:30:00 +0100").unwrap();
    assert_eq!(winter - summer, 3_600_000_000);
}

#[test]
fn every_day_of_four_centuries_is_what_jiff_says() {
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut day = date(1970, 1, 1);
    while day.year() < 2255 {
        let text =
            format!("{:02}/{}/{:04}:23:59:58 +0000", day.day(), months[day.month() as usize - 1], day.year());
        let expected = day.at(23, 59, 58, 0).to_zoned(TimeZone::UTC).unwrap().timestamp().as_microsecond();
        assert_eq!(clf(&text), Ok(u64::try_from(expected).unwrap()), "{text}");
        day = day.tomorrow().unwrap();
    }
}

#[test]
fn days_and_hours_that_do_not_exist() {
    assert!(clf("29/Feb/2016:00:00:00 +0000").is_ok());
    assert!(clf("29/Feb/2000:00:00:00 +0000").is_ok());
    for text in [
        "29/Feb/2015:00:00:00 +0000",
        "29/Feb/2100:00:00:00 +0000",
        "31/Apr/2015:00:00:00 +0000",
        "00/May/2015:00:00:00 +0000",
        "17/May/2015:24:00:00 +0000",
        "17/May/2015:10:60:00 +0000",
        "17/May/2015:10:05:61 +0000",
        "17/Mai/2015:10:05:03 +0000",
        "17/May/2015:10:05:03",
        "17/May/2015:10:05:03 +000",
        "17/May/2015:10:05:03 +2400",
        "17/May/2015:10:05:03 +00:00",
        "17/May/2015:10:05:03. +0000",
        "1a/May/2015:10:05:03 +0000",
        "17/May/2015 10:05:03 +0000",
        "",
    ] {
        assert_eq!(clf(text), Err(Unreadable::BadTime), "{text}");
    }
    // A leap second falls together with the second before.
    assert_eq!(clf("30/Jun/2015:23:59:60 +0000"), clf("30/Jun/2015:23:59:59 +0000"));
}

#[test]
fn times_outside_the_range() {
    assert_eq!(clf("01/Jan/1970:00:00:00 +0000"), Ok(0));
    assert_eq!(clf("01/Jan/1970:00:00:00 +0001"), Err(Unreadable::TimeOutOfRange));
    assert_eq!(clf("01/Jan/2256:00:00:00 +0000"), Err(Unreadable::TimeOutOfRange));
    assert_eq!(parse_text("2255-12-31T23:59:59Z"), Err(Unreadable::TimeOutOfRange));
    assert_eq!(parse_text("1969-12-31T23:59:59Z"), Err(Unreadable::TimeOutOfRange));
    assert_eq!(from_integer(u64::MAX), Err(Unreadable::TimeOutOfRange));
    assert_eq!(from_float(f64::INFINITY), Err(Unreadable::TimeOutOfRange));
    assert_eq!(from_float(1e300), Err(Unreadable::TimeOutOfRange));
    assert_eq!(from_float(-1.0), Err(Unreadable::TimeOutOfRange));
    assert_eq!(from_integer(MAX_AT_US), Ok(MAX_AT_US));
    assert_eq!(from_integer(MAX_AT_US + 1), Err(Unreadable::TimeOutOfRange));
}

#[test]
fn text_in_other_notations() {
    for text in [
        "2015-05-17T10:05:03Z",
        "2015-05-17T10:05:03.000000Z",
        "2015-05-17 12:05:03+02:00",
        "2015-05-17T12:05:03+0200",
        "2015-05-17 10:05:03",
        " 2015-05-17T10:05:03 ",
        "17/May/2015:10:05:03 +0000",
        "1431857103",
        "1431857103.000",
        "1431857103000",
        "1431857103000000",
        "1431857103000000000",
    ] {
        assert_eq!(parse_text(text), Ok(MAY_17), "{text}");
    }
    assert_eq!(parse_text("1431857103.123"), Ok(MAY_17 + 123_000));
    assert_eq!(parse_text("2015-05-17 10:05:03,123"), Ok(MAY_17 + 123_000));
    for text in ["", "-", "yesterday", "2015", "20150517", "2015-05-17", "1431857103.", "1431857103x", "1e9"]
    {
        assert_eq!(parse_text(text), Err(Unreadable::BadTime), "{text}");
    }
}

#[test]
fn numbers_by_their_size() {
    assert_eq!(from_integer(1_431_857_103), Ok(MAY_17));
    assert_eq!(from_integer(1_431_857_103_250), Ok(MAY_17 + 250_000));
    assert_eq!(from_integer(1_431_857_103_250_001), Ok(MAY_17 + 250_001));
    assert_eq!(from_integer(1_431_857_103_250_001_999), Ok(MAY_17 + 250_001));
    assert_eq!(from_float(1_431_857_103.25), Ok(MAY_17 + 250_000));
    assert_eq!(from_float(1_431_857_103_250.5), Ok(MAY_17 + 250_500));
    assert_eq!(from_float(1_431_857_103.123_456), Ok(MAY_17 + 123_456));
    assert_eq!(from_integer(0), Ok(0));
}

#[test]
fn what_the_report_writes() {
    assert_eq!(rfc3339(MAY_17), "2015-05-17T10:05:03Z");
    assert_eq!(rfc3339(MAY_17 + 5_000), "2015-05-17T10:05:03.005Z");
    assert_eq!(readable(MAY_17 + 999_999), "2015-05-17 10:05:03");
    assert_eq!(readable_length(250_000), "250ms");
    assert_eq!(readable_length(59_999_999), "59s");
    assert_eq!(readable_length(90_000_000), "1m 30s");
    assert_eq!(readable_length(3_600_000_000), "1h");
    assert_eq!(readable_length(298_859_000_000), "3d 11h");
}
