//! Commands for one server, packed for the wire.

use redis::Cmd;

/// Commands that go out in one write and come back in one row of replies. They are not a transaction.
///
/// Clear and fill it again: its memory stays.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    commands: usize,
}

impl Batch {
    /// No commands.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new(), commands: 0 }
    }

    /// A batch of one command.
    #[must_use]
    pub fn of(command: &Cmd) -> Self {
        let mut batch = Self::new();
        batch.push(command);
        batch
    }

    /// Adds a command after the others.
    pub fn push(&mut self, command: &Cmd) {
        command.write_packed_command(&mut self.bytes);
        self.commands = self.commands.saturating_add(1);
    }

    /// Forgets the commands and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.commands = 0;
    }

    /// The number of commands, and of the replies to come.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.commands
    }

    /// Whether there is no command.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.commands == 0
    }

    /// What goes over the wire.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl<'a> FromIterator<&'a Cmd> for Batch {
    fn from_iter<I: IntoIterator<Item = &'a Cmd>>(commands: I) -> Self {
        let mut batch = Self::new();
        for command in commands {
            batch.push(command);
        }
        batch
    }
}
