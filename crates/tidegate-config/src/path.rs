//! The path of a field, such as `domains[0].rules[2].window`, as a chain on the stack: it becomes text only when
//! something is reported.

use std::fmt;

use crate::suggest::quote;

/// A field's path; each step borrows the one before it.
#[derive(Clone, Copy)]
pub(crate) struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    /// A path that is text already.
    Written(&'a str),
    Index(usize),
}

impl<'a> Path<'a> {
    /// The file itself.
    pub(crate) const ROOT: Path<'static> = Path { parent: None, step: Step::Root };

    /// The field `name` below this path.
    pub(crate) fn field(&'a self, name: &'a str) -> Path<'a> {
        Path { parent: Some(self), step: Step::Field(name) }
    }

    /// The path that was written so.
    pub(crate) const fn written(text: &'a str) -> Path<'a> {
        Path { parent: None, step: Step::Written(text) }
    }

    /// Item `index`, from 0, of the list at this path.
    pub(crate) fn index(&'a self, index: usize) -> Path<'a> {
        Path { parent: Some(self), step: Step::Index(index) }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(parent) = self.parent {
            parent.fmt(f)?;
        }
        match self.step {
            Step::Root => Ok(()),
            Step::Written(text) => f.write_str(text),
            Step::Index(index) => write!(f, "[{index}]"),
            Step::Field(name) => {
                if self.parent.is_some_and(|parent| !matches!(parent.step, Step::Root)) {
                    f.write_str(".")?;
                }
                let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
                if plain && !name.is_empty() { f.write_str(name) } else { f.write_str(&quote(name)) }
            }
        }
    }
}
