//! Goal: docs/reference/rooms-in-rule-files.md says what the reader of rule files takes.
//! Method: its example is read, and so is every value, end of a range and default of its tables, in a room that says nothing else.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::collections::BTreeSet;

use tidegate_config::{RoomDefinition, json_schema, parse_room, parse_rules};
use tidegate_core::rule::RuleSet;

const PAGE: &str = include_str!("../../../docs/reference/rooms-in-rule-files.md");

/// The first cells of a row.
struct Row<'p> {
    field: &'p str,
    values: &'p str,
    default: &'p str,
}

/// The table below a heading.
fn table(heading: &str) -> Vec<Row<'static>> {
    let mut lines = PAGE.lines().skip_while(|line| *line != heading).skip(1);
    let rows = lines.by_ref().skip_while(|line| !line.starts_with("| ---")).skip(1);
    let rows: Vec<Row<'_>> = rows
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
            let mut next = || cells.next().unwrap_or_else(|| panic!("{line} has too few cells"));
            Row { field: next().trim_matches('`'), values: next(), default: next() }
        })
        .collect();
    assert!(!rows.is_empty(), "{heading}");
    rows
}

fn in_backticks(cell: &'static str) -> impl Iterator<Item = &'static str> {
    cell.split('`').skip(1).step_by(2)
}

/// Puts a field of a room or of one of its maps into a room that says as little as can be.
fn room_with(map: &str, field: &str, value: &str) -> Result<RoomDefinition, String> {
    // An order needs an opening, and what is set twice is a mistake of its own.
    let usual = [
        ("name", "sale"),
        ("capacity", "500"),
        ("release_rate", "20/s"),
        ("opens_at", "2026-11-27T09:00:00Z"),
    ];
    let usual =
        usual.iter().filter(|(name, _)| *name != field).map(|(name, value)| format!("{name}: {value}"));
    let more = match map {
        "" => format!("{field}: {value}"),
        map => format!("{map}: {{ {field}: {value} }}"),
    };
    let fields: Vec<String> = usual.chain([more]).collect();
    parse_room(&format!("{{ {} }}", fields.join(", ")), "page").map_err(|errors| errors.to_string())
}

/// The tables of rooms: heading, map in which the fields stand, and name in the schema.
const TABLES: [(&str, &str, &str); 3] =
    [("## A room", "", "Room"), ("### session", "session", "Session"), ("### claim", "claim", "Claim")];

#[test]
fn the_example_is_read_without_a_warning() {
    let example = PAGE.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let parsed = parse_rules(example, "example.yaml").unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(parsed.warnings, []);
    assert_eq!(parsed.rooms.len(), 2);
    RuleSet::compile(parsed.rules).unwrap();
}

#[test]
fn every_field_has_its_row() {
    let schema: serde_json::Value = serde_json::from_str(&json_schema()).unwrap();
    for (heading, _, name) in TABLES {
        let fields = schema["$defs"][name]["properties"].as_object().unwrap();
        let known: BTreeSet<&str> = fields.keys().map(String::as_str).collect();
        let told: BTreeSet<&str> = table(heading).iter().map(|row| row.field).collect();
        assert_eq!(told, known, "{heading}");
    }
}

#[test]
fn values_ranges_and_defaults_are_as_told() {
    let mut tried = 0;
    for (heading, map, _) in TABLES {
        for Row { field, values, default } in table(heading) {
            // The letters of a name are no names, and a cell with a link leads to a table of its own.
            if field != "name" {
                for value in in_backticks(values) {
                    room_with(map, field, value).unwrap_or_else(|error| panic!("{field}: {error}"));
                    tried += 1;
                }
            }
            if let Some((low, high)) = values.split_once(" to ").filter(|_| values.starts_with('`')) {
                let high = high.split('`').nth(1).unwrap();
                for beyond in [below(low.trim_matches('`')), Some(above(high))].into_iter().flatten() {
                    assert!(room_with(map, field, &beyond).is_err(), "{field}: {beyond} is taken");
                    tried += 1;
                }
            }
            if let Some(value) = in_backticks(default).next() {
                let said = room_with(map, field, value).unwrap();
                let usual = room_with("", "name", "sale").unwrap();
                assert_eq!(said, usual, "{field}: {value}");
                tried += 1;
            }
        }
    }
    assert!(tried > 50, "{tried} values");
}

/// A little less than a number or a time in whole seconds; `None` below 0.
fn below(text: &str) -> Option<String> {
    match text.strip_suffix('s') {
        Some(seconds) => Some(format!("{}s999ms", seconds.parse::<u64>().unwrap() - 1)),
        None => text.parse::<u64>().unwrap().checked_sub(1).map(|less| less.to_string()),
    }
}

/// A little more than a number or a time.
fn above(text: &str) -> String {
    match text.replace('_', "").parse::<u64>() {
        Ok(number) => (number + 1).to_string(),
        Err(_) => format!("{text}1us"),
    }
}
