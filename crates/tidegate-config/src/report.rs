//! Collects findings while a file is read, so that one run reports them all.

use crate::MAX_FINDINGS;
use crate::finding::{Finding, RuleFileErrors, Severity};
use crate::path::Path;

/// A place in the file: line and column from 1, or zeros for the file as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spot {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// The findings of one file, each kind at most [`MAX_FINDINGS`].
pub(crate) struct Report<'f> {
    file: &'f str,
    errors: Kept,
    warnings: Kept,
}

#[derive(Default)]
struct Kept {
    findings: Vec<Finding>,
    /// How many were not kept.
    omitted: usize,
}

impl<'f> Report<'f> {
    pub(crate) fn new(file: &'f str) -> Self {
        Self { file, errors: Kept::default(), warnings: Kept::default() }
    }

    /// Notes an error.
    pub(crate) fn error(
        &mut self,
        at: Spot,
        path: &Path<'_>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.errors.push(|| self.file.to_owned(), Severity::Error, at, path, message.into(), remedy.into());
    }

    /// Notes a warning.
    pub(crate) fn warn(
        &mut self,
        at: Spot,
        path: &Path<'_>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.warnings.push(
            || self.file.to_owned(),
            Severity::Warning,
            at,
            path,
            message.into(),
            remedy.into(),
        );
    }

    /// Whether further errors are only counted, so that there is no need to word them.
    pub(crate) fn is_full(&self) -> bool {
        self.errors.findings.len() == MAX_FINDINGS
    }

    /// Whether further warnings are not kept.
    pub(crate) fn warnings_are_full(&self) -> bool {
        self.warnings.findings.len() == MAX_FINDINGS
    }

    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.findings.is_empty()
    }

    /// The errors if there are any, else the warnings; in the order of the file.
    pub(crate) fn finish(self) -> Result<Vec<Finding>, RuleFileErrors> {
        if self.errors.findings.is_empty() {
            return Ok(self.warnings.sorted());
        }
        let omitted = self.errors.omitted;
        Err(RuleFileErrors { errors: self.errors.sorted(), omitted })
    }
}

impl Kept {
    fn push(
        &mut self,
        file: impl FnOnce() -> String,
        severity: Severity,
        at: Spot,
        path: &Path<'_>,
        message: String,
        remedy: String,
    ) {
        if self.findings.len() == MAX_FINDINGS {
            self.omitted += 1;
            return;
        }
        self.findings.push(Finding {
            severity,
            file: file(),
            line: at.line,
            column: at.column,
            field: path.to_string(),
            message,
            remedy,
        });
    }

    fn sorted(mut self) -> Vec<Finding> {
        self.findings.sort_by_key(|finding| (finding.line, finding.column));
        self.findings
    }
}
