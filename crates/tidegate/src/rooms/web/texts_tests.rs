use super::*;
use tidegate_testkit::TempDir;

fn built_in() -> Languages {
    Languages::load(&LanguageOptions::default()).unwrap()
}

fn with_file(content: &str) -> Result<Languages, String> {
    let directory = TempDir::new("languages");
    let file = directory.write("own.yaml", content);
    let options = LanguageOptions { files: vec![file], default: None };
    Languages::load(&options).map_err(|error| error.to_string())
}

fn own(texts: &str) -> String {
    format!("language: nl\ndirection: ltr\nthousands: \".\"\ntexts:\n{texts}")
}

/// A language in the program lacks nothing and has the forms that its plural rules ask for.
#[test]
fn languages_in_the_program_are_whole() {
    for (name, source) in BUILT_IN {
        let language = Language::parse(name, source, None).unwrap();
        let english = built_in().choose(Some("en")).unwrap().texts.clone();
        let missing: Vec<_> = english.keys().filter(|key| !language.texts.contains_key(*key)).collect();
        assert!(missing.is_empty(), "{name}: {missing:?}");
        for (key, text) in &language.texts {
            let Text::Forms(forms) = text else { continue };
            for count in [1, 2, 3, 11, 100] {
                // Nothing is from one to one, or reloads every second.
                let never = (count == 1 && key.ends_with("range")) || (count < 5 && key == "reloads_itself");
                let form = language.category(count);
                assert!(never || forms.contains_key(form), "{name}: {key} has no form '{form}' for {count}");
            }
        }
    }
}

#[test]
fn numbers_choose_forms() {
    let languages = built_in();
    let said = |tag: &str, count| languages.choose(Some(tag)).unwrap().counted("ahead", count);
    assert_eq!(said("en", 1), "1 person ahead of you");
    assert_eq!(said("en", 1_234_567), "1,234,567 people ahead of you");
    assert_eq!(said("de", 12_345), "12.345 Personen vor Ihnen");
    // French counts a million apart, and has no form of its own for it here.
    assert_eq!(said("fr", 1_000_000), "1\u{202f}000\u{202f}000 personnes devant vous");
    let arabic: Vec<String> = [1, 2, 3, 11, 100].map(|count| said("ar", count)).to_vec();
    assert_eq!(arabic.iter().collect::<std::collections::BTreeSet<_>>().len(), 5, "{arabic:?}");
}

#[test]
fn the_best_language_is_chosen() {
    let languages = built_in();
    let cases = [
        ("de", "de"),
        ("de-AT, en;q=0.5", "de"),
        ("nl, fr;q=0.8, en;q=0.9", "en"),
        ("EN-us", "en"),
        ("ar-EG", "ar"),
        ("fr;q=0, es;q=0.1", "es"),
        ("", "en"),
        ("*", "en"),
        ("tlh", "en"),
        ("de;q=x, <script>, \u{7f}, es", "es"),
    ];
    for (accept, chosen) in cases {
        assert_eq!(languages.choose(Some(accept)).unwrap().tag(), chosen, "{accept}");
    }
    assert_eq!(languages.choose(Some(&"ü,".repeat(10_000))).unwrap().tag(), "en");
    assert_eq!(languages.choose(None).unwrap().tag(), "en");
}

#[test]
fn a_file_adds_a_language_or_replaces_texts() {
    let languages = with_file(&own("  waiting_title: \"U staat in de rij\"\n")).unwrap();
    let dutch = languages.choose(Some("nl-BE")).unwrap();
    assert_eq!(dutch.text("waiting_title"), "U staat in de rij");
    assert_eq!(dutch.text("paused_title"), "The line is paused");
    let german = "language: de\ndirection: ltr\nthousands: \"\"\ntexts:\n  waiting_title: \"Du wartest\"\n";
    let languages = with_file(german).unwrap();
    let german = languages.choose(Some("de")).unwrap();
    assert_eq!(german.text("waiting_title"), "Du wartest");
    assert_eq!(german.text("paused_title"), "Die Schlange steht still");
    assert_eq!(german.number(1_000_000), "1000000");
}

#[test]
fn the_default_is_one_of_them() {
    let options = |default: &str| LanguageOptions { files: Vec::new(), default: Some(default.to_owned()) };
    let languages = Languages::load(&options("FR")).unwrap();
    assert_eq!(languages.choose(Some("tlh")).unwrap().tag(), "fr");
    let error = Languages::load(&options("tlh")).unwrap_err().to_string();
    assert!(error.contains("there is no language 'tlh': use one of en, ar"), "{error}");
}

/// Each is refused, and the error says where and what to do.
#[test]
fn files_that_cannot_be_right_are_refused() {
    let long = format!("  waiting_title: \"{}\"\n", "x".repeat(601));
    let cases = [
        (own("  wating_title: \"x\"\n"), "own.yaml:5: wating_title: there is no such text"),
        (own("  ahead: \"x\"\n"), "this text depends on a number"),
        (own("  waiting_title: { other: \"x\" }\n"), "this text has no forms"),
        (own("  ahead: { one: \"{count}\" }\n"), "the form 'other' is missing"),
        (own("  ahead: { other: \"{count}\", some: \"x\" }\n"), "there is no form 'some'"),
        (own("  onward: \"to {name}\"\n"), "nothing stands for {name} here"),
        (own("  waiting_title: \"\"\n"), "write 1 to 600 characters"),
        (own("  waiting_title: \"a\\nb\"\n"), "write 1 to 600 characters"),
        (own(&long), "write 1 to 600 characters"),
        (own("  waiting_title: \"x\"\n  waiting_title: \"y\"\n"), "own.yaml:6"),
        (own("  waiting_title: [x]\n"), "own.yaml"),
        (own("  waiting_title: \"x\"\n").replace("nl", "not a tag"), "is not a language tag"),
        (own("  waiting_title: \"x\"\n").replace("ltr", "up"), "own.yaml:2"),
        (own("  waiting_title: \"x\"\n").replace("\".\"", "\"1\""), "'thousands' stands between"),
        (own("  waiting_title: \"x\"\n") + "colour: red\n", "own.yaml:6"),
        ("x".repeat(70_000), "the file is larger than"),
        (String::new(), "own.yaml"),
    ];
    for (content, wanted) in cases {
        let error = with_file(&content).unwrap_err();
        assert!(error.contains(wanted), "{content:.200}: {error}");
    }
    let absent = LanguageOptions { files: vec!["/nowhere/nl.yaml".into()], default: None };
    assert!(Languages::load(&absent).unwrap_err().to_string().contains("/nowhere/nl.yaml"));
}
