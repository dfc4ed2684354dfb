//! Texts of the page in several languages. A language is a file; English says which texts there are and what may stand in
//! them, so a language cannot have more, and what one lacks is English.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use icu_locale_core::LanguageIdentifier;
use icu_plurals::{PluralCategory, PluralRules, PluralRulesOptions};
use minijinja::Value;
use minijinja::value::Serde;
use serde::{Deserialize, Serialize};
use serde_saphyr::{DuplicateKeyPolicy, Options, Spanned};

use super::{PageError, read_bounded};

/// The largest language file, in bytes: 64 KiB.
const MAX_FILE_BYTES: u64 = 64 << 10;
/// The longest text, in characters.
const MAX_TEXT_CHARS: usize = 600;
/// The most language files beside those in the program.
const MAX_FILES: usize = 100;
/// The most of `Accept-Language` that is read, in bytes, and the most languages in it.
const MAX_ACCEPT_BYTES: usize = 1_000;
const MAX_ACCEPTED: usize = 32;

/// Languages in the program. The first is the one that has everything.
const BUILT_IN: [(&str, &str); 5] = [
    ("en.yaml", include_str!("languages/en.yaml")),
    ("ar.yaml", include_str!("languages/ar.yaml")),
    ("de.yaml", include_str!("languages/de.yaml")),
    ("es.yaml", include_str!("languages/es.yaml")),
    ("fr.yaml", include_str!("languages/fr.yaml")),
];

/// Which languages there are.
#[derive(Clone, Debug, Default)]
pub struct LanguageOptions {
    /// Files beside those in the program. One for a language that is in the program replaces the texts that it has.
    pub files: Vec<PathBuf>,
    /// The language of those who ask for none that is there; English where nothing is said.
    pub default: Option<String>,
}

/// All languages; the first is the default.
#[derive(Debug)]
pub struct Languages(Vec<Arc<Language>>);

/// One language and all its texts.
#[derive(Debug)]
pub struct Language {
    id: LanguageIdentifier,
    /// As it stands in `lang`.
    tag: String,
    direction: Direction,
    thousands: String,
    texts: BTreeMap<String, Text>,
    forms: Forms,
}

/// All texts as templates and as the script take them: each is made once, not for every page.
#[derive(Debug, Default)]
struct Forms {
    value: Value,
    json: String,
}

/// In which direction a language is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From left to right.
    Ltr,
    /// From right to left.
    Rtl,
}

/// A text, or its forms by plural category.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Text {
    Plain(String),
    Forms(BTreeMap<String, String>),
}

/// A file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    language: Spanned<String>,
    direction: Direction,
    thousands: String,
    texts: BTreeMap<String, Spanned<Text>>,
}

// === impl Languages ===

impl Languages {
    /// The languages in the program, and those of files.
    ///
    /// # Errors
    /// A file cannot be read, or something in it is not as it should be: the error says where and what to do. Or the default
    /// is none of the languages.
    pub fn load(options: &LanguageOptions) -> Result<Self, PageError> {
        if options.files.len() > MAX_FILES {
            let what = format!("{} language files; the most is {MAX_FILES}", options.files.len());
            return Err(PageError::new("languages", what));
        }
        let mut languages: Vec<Language> = Vec::new();
        for (name, source) in BUILT_IN {
            let language = Language::parse(name, source, languages.first())?;
            languages.push(language);
        }
        let english = languages.first().map(|english| english.texts.clone()).unwrap_or_default();
        for path in &options.files {
            let source = read_bounded(path, MAX_FILE_BYTES)?;
            let language = Language::parse(&path.display().to_string(), &source, languages.first())?;
            match languages.iter_mut().find(|known| known.id == language.id) {
                Some(known) => known.take_over(language),
                None => languages.push(language),
            }
        }
        for language in &mut languages {
            language.complete(&english);
        }
        if let Some(default) = &options.default {
            let wanted = languages.iter().position(|language| language.tag.eq_ignore_ascii_case(default));
            let known =
                || languages.iter().map(|language| language.tag.as_str()).collect::<Vec<_>>().join(", ");
            let Some(wanted) = wanted else {
                let what = format!("there is no language '{default}': use one of {}, or add a file", known());
                return Err(PageError::new("the default language", what));
            };
            languages.swap(0, wanted);
        }
        Ok(Self(languages.into_iter().map(Arc::new).collect()))
    }

    /// The language that fits `Accept-Language` best (RFC 4647 section 3.4, and then any of the same mother language).
    pub fn choose(&self, accept: Option<&str>) -> Option<&Arc<Language>> {
        let wanted = accept.map(accepted).unwrap_or_default();
        wanted.iter().find_map(|wanted| self.find(wanted)).or_else(|| self.0.first())
    }

    fn find(&self, wanted: &LanguageIdentifier) -> Option<&Arc<Language>> {
        let exact = self.0.iter().find(|language| language.id == *wanted);
        let mother = || {
            let id = LanguageIdentifier { language: wanted.language, ..LanguageIdentifier::UNKNOWN };
            self.0.iter().find(|language| language.id == id)
        };
        exact
            .or_else(mother)
            .or_else(|| self.0.iter().find(|language| language.id.language == wanted.language))
    }
}

/// The languages that a client wants, best first. What cannot be read is not wanted.
fn accepted(field: &str) -> Vec<LanguageIdentifier> {
    let end = field.floor_char_boundary(MAX_ACCEPT_BYTES);
    let mut wanted: Vec<(u16, LanguageIdentifier)> = Vec::new();
    for item in field[..end].split(',').take(MAX_ACCEPTED) {
        let (tag, weight) = item.split_once(';').unwrap_or((item, ""));
        let Ok(id) = LanguageIdentifier::try_from_str(tag.trim()) else { continue };
        let weight = weight.trim().strip_prefix("q=").map_or(Ok(1.0), |weight| weight.trim().parse::<f32>());
        // Three digits are all that a weight has.
        let weight = weight.map_or(0, |weight| (weight.clamp(0.0, 1.0) * 1_000.0) as u16);
        if weight > 0 && !id.language.is_unknown() {
            wanted.push((weight, id));
        }
    }
    wanted.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    wanted.into_iter().map(|(_, id)| id).collect()
}

// === impl Language ===

impl Language {
    /// Reads a language. What `english` has is what may be there; without it, everything may.
    fn parse(name: &str, source: &str, english: Option<&Self>) -> Result<Self, PageError> {
        let written: Written = serde_saphyr::from_str_with_options(source, options()).map_err(|error| {
            let error = error.without_snippet();
            let at = error.location().map(|at| format!(":{}:{}", at.line(), at.column())).unwrap_or_default();
            let what = format!("{error}: write it like crates/tidegate/src/rooms/web/languages/en.yaml");
            PageError::new(format!("{name}{at}"), what)
        })?;
        let place = |line: u64| format!("{name}:{line}");
        let tag = &written.language;
        let id = LanguageIdentifier::try_from_str(&tag.value);
        let id = id.ok().filter(|id| !id.language.is_unknown()).ok_or_else(|| {
            let what = format!("'{}' is not a language tag: write for example 'pt-BR'", tag.value);
            PageError::new(place(tag.defined.line()), what)
        })?;
        if written.thousands.chars().count() > 1 || written.thousands.chars().any(char::is_alphanumeric) {
            let what = "'thousands' stands between groups of digits: write one sign, or \"\"";
            return Err(PageError::new(name, what));
        }
        let mut texts = BTreeMap::new();
        for (key, text) in written.texts {
            let model = english.map(|english| english.texts.get(&key));
            check(&text.value, model)
                .map_err(|what| PageError::new(place(text.defined.line()), format!("{key}: {what}")))?;
            texts.insert(key, text.value);
        }
        let tag = id.to_string();
        Ok(Self {
            id,
            tag,
            direction: written.direction,
            thousands: written.thousands,
            texts,
            forms: Forms::default(),
        })
    }

    fn take_over(&mut self, other: Self) {
        self.direction = other.direction;
        self.thousands = other.thousands;
        self.texts.extend(other.texts);
    }

    fn complete(&mut self, english: &BTreeMap<String, Text>) {
        for (key, text) in english {
            self.texts.entry(key.clone()).or_insert_with(|| text.clone());
        }
        let value = Value::from(Serde(&self.texts));
        self.forms = Forms { value, json: serde_json::json!(self.texts).to_string() };
    }

    /// As it stands in `lang`.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// As it stands in `dir`.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    pub(super) fn thousands(&self) -> &str {
        &self.thousands
    }

    /// All texts, for a template.
    pub(super) fn value(&self) -> Value {
        self.forms.value.clone()
    }

    /// All texts, for the script.
    pub(super) fn json(&self) -> &str {
        &self.forms.json
    }

    /// A text without forms; nothing where there is none, which a test rules out for those that the page asks for.
    pub(super) fn text(&self, key: &str) -> &str {
        match self.texts.get(key) {
            Some(Text::Plain(text)) => text,
            _ => "",
        }
    }

    /// The form of a text for a number, which `{count}` stands for.
    pub(super) fn counted(&self, key: &str, count: u64) -> String {
        let Some(Text::Forms(forms)) = self.texts.get(key) else { return String::new() };
        let form = forms.get(self.category(count)).or_else(|| forms.get(OTHER));
        filled(form.map_or("", String::as_str), "count", &self.number(count))
    }

    /// A number with its groups of digits.
    pub(super) fn number(&self, number: u64) -> String {
        let digits = number.to_string();
        let mut shown = String::with_capacity(digits.len() * 2);
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                shown.push_str(&self.thousands);
            }
            shown.push(digit);
        }
        shown
    }

    fn category(&self, count: u64) -> &'static str {
        // The rules are data of the program: to look them up costs less than to share them between threads.
        match PluralRules::try_new(self.id.clone().into(), PluralRulesOptions::default()) {
            Ok(rules) => name(rules.category_for(count)),
            Err(_) => OTHER,
        }
    }
}

const OTHER: &str = "other";
const CATEGORIES: [&str; 6] = ["zero", "one", "two", "few", "many", OTHER];

fn name(category: PluralCategory) -> &'static str {
    match category {
        PluralCategory::Zero => "zero",
        PluralCategory::One => "one",
        PluralCategory::Two => "two",
        PluralCategory::Few => "few",
        PluralCategory::Many => "many",
        PluralCategory::Other => OTHER,
    }
}

/// A text with something in the place of `{name}`.
pub(super) fn filled(text: &str, name: &str, value: &str) -> String {
    text.replace(&format!("{{{name}}}"), value)
}

/// What is wrong with a text: `model` is the same text in English, `Some(None)` where English has none of that name.
fn check(text: &Text, model: Option<Option<&Text>>) -> Result<(), String> {
    if model == Some(None) {
        return Err("there is no such text: correct the name, or remove the line".to_owned());
    }
    let model = model.flatten();
    match (text, model) {
        (Text::Plain(_), Some(Text::Forms(_))) => {
            return Err("this text depends on a number: give its forms, at least 'other'".to_owned());
        }
        (Text::Forms(_), Some(Text::Plain(_))) => {
            return Err("this text has no forms: write it as one text".to_owned());
        }
        (Text::Forms(forms), _) if !forms.contains_key(OTHER) => {
            return Err("the form 'other' is missing: it stands in for those that are not given".to_owned());
        }
        (Text::Forms(forms), _) => {
            if let Some(unknown) = forms.keys().find(|form| !CATEGORIES.contains(&form.as_str())) {
                return Err(format!("there is no form '{unknown}': the forms are {}", CATEGORIES.join(", ")));
            }
        }
        (Text::Plain(_), _) => {}
    }
    let known: Vec<&str> = model.into_iter().flat_map(Text::each).flat_map(placeholders).collect();
    for each in text.each() {
        if each.chars().count() > MAX_TEXT_CHARS || each.trim().is_empty() || each.contains(char::is_control)
        {
            return Err(format!("write 1 to {MAX_TEXT_CHARS} characters, in one line"));
        }
        if let Some(unknown) = placeholders(each).find(|name| model.is_some() && !known.contains(name)) {
            return Err(format!("nothing stands for {{{unknown}}} here: the English text has {known:?}"));
        }
    }
    Ok(())
}

/// The names in braces.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}

// === impl Text ===

impl Text {
    fn each(&self) -> impl Iterator<Item = &str> {
        let (plain, forms) = match self {
            Self::Plain(text) => (Some(text.as_str()), None),
            Self::Forms(forms) => (None, Some(forms.values().map(String::as_str))),
        };
        plain.into_iter().chain(forms.into_iter().flatten())
    }
}

fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: 6, max_nodes: 2_000, max_events: 4_000, max_documents: 1 },
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    }
}

#[cfg(test)]
#[path = "texts_tests.rs"]
mod tests;
