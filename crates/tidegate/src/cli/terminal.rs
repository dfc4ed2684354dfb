//! Writing for people: standard output, errors, colours.

use std::io::{self, ErrorKind, IsTerminal, Write};

use crate::settings;

/// Prints a text and a line end to standard output.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// Prints an error and its causes to standard error.
pub(crate) fn print_error(error: &anyhow::Error) {
    // Where standard error is closed there is nobody left to tell.
    let _ = writeln!(io::stderr(), "error: {error:#}");
}

/// Prints a note to standard error, beside what a command answers.
pub(crate) fn print_note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", text.trim_end());
}

/// Asks a person; no, where nobody is there to answer.
pub(crate) fn confirmed(question: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    write!(io::stderr(), "{question} [y/N] ")?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Whether the reader of our output went away, as `| head` does: no error.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// Whether to use colours on standard output: on a terminal, unless `NO_COLOR` is set.
pub(crate) fn colours_on_stdout() -> bool {
    io::stdout().is_terminal() && !no_color()
}

/// Whether to use colours on standard error.
pub(crate) fn colours_on_stderr() -> bool {
    io::stderr().is_terminal() && !no_color()
}

fn no_color() -> bool {
    settings::is_set("NO_COLOR")
}
