//! The name under which a permit is given back.

use std::fmt;
use std::str::FromStr;

use smallvec::SmallVec;
use tidegate_core::quota::Algorithm;
use tidegate_store::{BucketAddress, BucketStore, Outcome, Plan};

/// The longest text of a token, in bytes: room for 64 buckets.
const MAX_TEXT_BYTES: usize = 4_608;

/// Names a permit and the buckets it is held in. Opaque; not to be guessed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PermitToken {
    pub(crate) id: u64,
    pub(crate) keeper: Keeper,
    pub(crate) buckets: SmallVec<[BucketAddress; 1]>,
}

/// Who keeps the buckets that a permit is held in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// The store.
    Store,
    /// The node that handed it out while the store did not answer.
    Node,
}

/// Stands in the text of a token where [`Keeper::Node`] keeps the buckets. No bucket's text has an odd length.
const KEPT_BY_NODE: &str = "n";

impl PermitToken {
    /// The permit that a charge handed out, if it did.
    pub(crate) fn granted<S: BucketStore>(
        keeper: Keeper,
        store: &S,
        plan: &Plan<'_>,
        outcome: &Outcome,
    ) -> Option<Box<Self>> {
        if !outcome.charged || plan.permit == 0 {
            return None;
        }
        let results = plan.buckets().iter().zip(&outcome.results);
        let holding = results.filter(|(bucket, result)| {
            bucket.rule.model().algorithm == Algorithm::Concurrency && result.verdict.is_allow()
        });
        let buckets: SmallVec<_> = holding.map(|(bucket, _)| store.address(plan, bucket)).collect();
        (!buckets.is_empty()).then(|| Box::new(Self { id: plan.permit, keeper, buckets }))
    }
}

/// The text is not a permit token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a permit id; use the one from the answer that granted the permit")]
pub struct PermitTokenError;

impl fmt::Display for PermitToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.id)?;
        if self.keeper == Keeper::Node {
            write!(f, "-{KEPT_BY_NODE}")?;
        }
        for bucket in &self.buckets {
            write!(f, "-")?;
            for byte in bucket {
                write!(f, "{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for PermitToken {
    type Err = PermitTokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(PermitTokenError);
        }
        let mut parts = text.split('-').peekable();
        let id = parts.next().filter(|id| id.len() == 16).ok_or(PermitTokenError)?;
        let id = bytes(id)?.into_iter().fold(0, |id, byte| id << 8 | u64::from(byte));
        let by_node = parts.next_if_eq(&KEPT_BY_NODE).is_some();
        let keeper = if by_node { Keeper::Node } else { Keeper::Store };
        let buckets = parts.map(bytes).collect::<Result<SmallVec<[BucketAddress; 1]>, _>>()?;
        if buckets.is_empty() { Err(PermitTokenError) } else { Ok(Self { id, keeper, buckets }) }
    }
}

/// Pairs of lower-case hexadecimal digits.
fn bytes(text: &str) -> Result<BucketAddress, PermitTokenError> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(PermitTokenError),
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() || pairs.is_empty() {
        return Err(PermitTokenError);
    }
    pairs.iter().map(|[high, low]| Ok(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_text_and_nothing_else_is_one() {
        let bucket = |byte| BucketAddress::from_slice(&[byte; 16]);
        for keeper in [Keeper::Store, Keeper::Node] {
            let buckets = SmallVec::from_vec(vec![bucket(7), bucket(255)]);
            let token = PermitToken { id: 0x0123_4567_89ab_cdef, keeper, buckets };
            assert_eq!(token.to_string().parse(), Ok(token));
        }
        let long = "0123456789abcdef-00".repeat(300);
        for text in [
            "",
            "0",
            "-",
            "0123456789abcdef",
            "0123456789abcdef-",
            "0123456789abcdef-0",
            "0123456789abcdef-n",
            "0123456789abcdef-00-n",
            "0123456789abcdef-n-n-00",
            "0123456789ABCDEF-00",
            "é123456789abcde-00",
            &long,
        ] {
            assert_eq!(text.parse::<PermitToken>(), Err(PermitTokenError), "{text}");
        }
    }
}
