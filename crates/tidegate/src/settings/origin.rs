//! Where a setting was told.

use std::collections::HashMap;
use std::fmt;

/// Where a setting was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// On the command line, by this flag.
    Flag(String),
    /// By this variable of the environment, or by the file that it names.
    Variable(String),
    /// In the settings file: its name and line.
    File(String),
    /// Nowhere.
    Default,
}

/// Where each setting was told, by the argument's id.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins(HashMap<String, Origin>);

impl Origin {
    /// How strong it is; less is stronger.
    pub(crate) const fn rank(&self) -> u8 {
        match self {
            Origin::Flag(_) => 0,
            Origin::Variable(_) => 1,
            Origin::File(_) => 2,
            Origin::Default => 3,
        }
    }

    /// `flag`, `env`, `file` or `default`.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Origin::Flag(_) => "flag",
            Origin::Variable(_) => "env",
            Origin::File(_) => "file",
            Origin::Default => "default",
        }
    }

    /// The flag, the variable, or the file and line.
    pub(crate) fn place(&self) -> Option<&str> {
        match self {
            Origin::Flag(place) | Origin::Variable(place) | Origin::File(place) => Some(place),
            Origin::Default => None,
        }
    }
}

impl Origins {
    pub(super) fn set(&mut self, id: &str, origin: Origin) {
        self.0.insert(id.to_owned(), origin);
    }

    /// Where the setting was told.
    pub(crate) fn of(&self, id: &str) -> &Origin {
        self.0.get(id).unwrap_or(&Origin::Default)
    }

    /// How to call the setting in an error: by the place that told it, else by its flag.
    pub(crate) fn name(&self, id: &str) -> String {
        let key = id.replace('_', "-");
        match self.of(id) {
            Origin::File(place) => format!("{place}: {key}"),
            Origin::Variable(name) => name.clone(),
            Origin::Flag(_) | Origin::Default => format!("--{key}"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self.place() {
            Some(place) => write!(f, " {place}"),
            None => Ok(()),
        }
    }
}
