//! The scripts, by text and by name.

use redis::Cmd;
use sha1::{Digest, Sha1};

use crate::key::Packing;

/// A script. Its text is fixed: what users send comes in arguments only.
#[derive(Debug)]
pub(crate) struct Script {
    text: String,
    /// SHA-1 of the text, in hexadecimal: how the server calls it once it knows it.
    name: String,
}

impl Script {
    pub(crate) fn new(text: String) -> Self {
        let name = Sha1::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { text, name }
    }

    /// A call of the script by its name, or with its text, by which the server learns it.
    pub(crate) fn command<'k>(
        &self,
        by_name: bool,
        keys: impl Iterator<Item = &'k [u8]>,
        arguments: &[&[u8]],
    ) -> Cmd {
        let keys: Vec<&[u8]> = keys.collect();
        let mut command = Cmd::new();
        if by_name {
            command.arg("EVALSHA").arg(&self.name);
        } else {
            command.arg("EVAL").arg(&self.text);
        }
        command.arg(keys.len());
        for key in keys {
            command.arg(key);
        }
        for argument in arguments {
            command.arg(*argument);
        }
        command
    }
}

/// All scripts.
#[derive(Debug)]
pub(crate) struct Scripts {
    pub(crate) decide: Script,
    pub(crate) tokens: Script,
    pub(crate) change: Script,
    pub(crate) release: Script,
    pub(crate) amend: Script,
    pub(crate) reset: Script,
    pub(crate) presence: Script,
}

impl Scripts {
    pub(crate) fn new(packing: Option<Packing>) -> Self {
        let buckets = include_str!("scripts/buckets.lua");
        let packed = |packing: Packing| {
            let (bytes, bits) = packing.bytes_and_bits();
            let sizes = format!("local GROUP_BYTES, GROUP_BITS = {bytes}, {bits}\n");
            [&sizes, buckets, include_str!("scripts/packed.lua")].concat()
        };
        let either = packing.map_or_else(|| [buckets, include_str!("scripts/plain.lua")].concat(), packed);
        let script = |text: &str| Script::new([&either, text].concat());
        Self {
            decide: script(include_str!("scripts/decide.lua")),
            tokens: Script::new(include_str!("scripts/tokens.lua").to_owned()),
            change: script(include_str!("scripts/change.lua")),
            release: script(include_str!("scripts/release.lua")),
            amend: script(include_str!("scripts/amend.lua")),
            reset: Script::new(include_str!("scripts/reset.lua").to_owned()),
            presence: Script::new(include_str!("scripts/presence.lua").to_owned()),
        }
    }
}
