//! nginx's configuration as a tree: words, then `;` or a block.

use std::fmt::{self, Display, Formatter};
use std::iter::Peekable;
use std::str::Chars;

/// `name arguments;` or `name arguments { block }`. Words keep their quotes; comments are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) words: Vec<String>,
    pub(super) block: Option<Vec<Directive>>,
}

impl Directive {
    /// A directive without a block, its words separated by spaces.
    pub(super) fn simple(text: impl AsRef<str>) -> Self {
        Self { words: text.as_ref().split(' ').map(str::to_owned).collect(), block: None }
    }

    /// A directive with a block and no arguments.
    pub(super) fn block(name: &str, block: Vec<Directive>) -> Self {
        Self { words: vec![name.to_owned()], block: Some(block) }
    }

    pub(super) fn name(&self) -> &str {
        &self.words[0]
    }
}

impl Display for Directive {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words.join(" "))?;
        let Some(block) = &self.block else { return f.write_str(";\n") };
        f.write_str(" {\n")?;
        block.iter().try_for_each(|directive| directive.fmt(f))?;
        f.write_str("}\n")
    }
}

/// Reads a whole configuration.
///
/// # Panics
///
/// Panics where a block or a quote is not closed. Blocks in another language, as Lua's, are not read.
pub(super) fn parse(text: &str) -> Vec<Directive> {
    let mut parser = Parser { characters: text.chars().peekable() };
    let (directives, end) = parser.directives();
    assert!(end == End::Text, "a `}}` too many");
    directives
}

#[derive(PartialEq, Eq)]
enum End {
    Text,
    Block,
}

struct Parser<'a> {
    characters: Peekable<Chars<'a>>,
}

impl Parser<'_> {
    fn directives(&mut self) -> (Vec<Directive>, End) {
        let mut directives = Vec::new();
        let mut words = Vec::new();
        while let Some(&character) = self.characters.peek() {
            match character {
                ';' | '{' | '}' => {
                    self.characters.next();
                    if character == '}' {
                        assert!(words.is_empty(), "`;` is missing after {words:?}");
                        return (directives, End::Block);
                    }
                    assert!(!words.is_empty(), "nothing before `{character}`");
                    let block = (character == '{').then(|| self.block());
                    directives.push(Directive { words: std::mem::take(&mut words), block });
                }
                '#' => while self.characters.next_if(|&next| next != '\n').is_some() {},
                _ if character.is_whitespace() => drop(self.characters.next()),
                _ => words.push(self.word()),
            }
        }
        assert!(words.is_empty(), "`;` is missing after {words:?}");
        (directives, End::Text)
    }

    fn block(&mut self) -> Vec<Directive> {
        let (block, end) = self.directives();
        assert!(end == End::Block, "a `}}` is missing");
        block
    }

    /// A word with its quotes; `${name}` does not open a block.
    fn word(&mut self) -> String {
        let mut word = String::new();
        let quote = self.characters.next_if(|&first| matches!(first, '"' | '\''));
        word.extend(quote);
        while let Some(&next) = self.characters.peek() {
            let variable = next == '{' && word.ends_with('$');
            if quote.is_none() && !variable && (next.is_whitespace() || matches!(next, ';' | '{' | '}')) {
                return word;
            }
            self.characters.next();
            word.push(next);
            if next == '\\' {
                word.extend(self.characters.next());
            } else if variable {
                while let Some(inner) = self.characters.next_if(|&inner| inner != '}') {
                    word.push(inner);
                }
                word.extend(self.characters.next());
            } else if quote == Some(next) {
                return word;
            }
        }
        assert!(quote.is_none(), "a quote is not closed: {word}");
        word
    }
}
