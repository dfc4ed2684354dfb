//! Tables for people: columns as wide as what is in them.

/// Rows under a heading, columns two blanks apart. Control characters are not passed on to the terminal.
pub(super) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let clean = |text: &str| -> String {
        text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
    };
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| clean(cell)).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(heading.get(column).map(|name| name.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let mut out = String::new();
    let heading: Vec<String> = heading.iter().map(|name| (*name).to_owned()).collect();
    for row in std::iter::once(&heading).chain(&rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_one_another_and_controls_are_shown_as_such() {
        let rows = vec![vec!["a".into(), "1".into()], vec!["lo\u{1b}ng".into(), "22".into()]];
        assert_eq!(table(&["NAME", "N"], &rows), "NAME   N\na      1\nlo\u{fffd}ng  22\n");
    }
}
