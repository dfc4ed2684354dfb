//! Did-you-mean, and quoting what was found without passing control characters on.

/// The most characters of a foreign text that a message repeats.
const MAX_QUOTED_CHARS: usize = 60;
/// Words longer than this are nobody's misspelling, and comparing them would cost time.
const MAX_COMPARED_BYTES: usize = 64;

/// `text` in single quotes, shortened, with control characters escaped.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::from("'");
    for (index, c) in text.chars().enumerate() {
        if index == MAX_QUOTED_CHARS {
            out.push('…');
            break;
        }
        if c.is_control() { out.extend(c.escape_debug()) } else { out.push(c) }
    }
    out.push('\'');
    out
}

/// A number with `_` between groups of three digits, as a rule file may write it.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push('_');
        }
        out.push(digit);
    }
    out
}

/// The words of `list`, separated by commas.
pub(crate) fn listed<'a>(list: impl IntoIterator<Item = &'a str>) -> String {
    list.into_iter().collect::<Vec<_>>().join(", ")
}

/// The candidate that `word` most probably means: the same but for case and separators, or at most a third of its
/// letters away.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > MAX_COMPARED_BYTES {
        return None;
    }
    let plain = simplify(word);
    let allowed = (plain.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&plain, &simplify(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= allowed && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Small letters, with `_` for every separator.
pub(crate) fn simplify(word: &str) -> String {
    word.trim().chars().map(|c| if c == '-' || c == ' ' { '_' } else { c.to_ascii_lowercase() }).collect()
}
