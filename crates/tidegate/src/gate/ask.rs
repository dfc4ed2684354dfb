//! One request from what is known of its subject to its decision, the same for every door.

use tidegate_catalog::model::Ban;
use tidegate_engine::{Clock, Decision, EngineError};
use tidegate_store::BucketStore;

use super::{Gate, Look};

/// What a door asks.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Names and values, each name once.
    pub entries: &'a [(&'a str, &'a str)],
    /// Units to take.
    pub cost: u64,
    /// Whether nothing is to be charged.
    pub peek: bool,
    /// A call repeated under the same key is charged once.
    pub idempotency_key: Option<&'a str>,
}

/// What came of a request.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every answer is the large one, and a box would be an allocation each"
)]
pub enum Answered<'a> {
    /// The rules decided, or a failure policy.
    Decided(Decision),
    /// The subject is banned: no rule was asked.
    Banned(&'a Ban),
}

impl<S: BucketStore, C: Clock> Gate<S, C> {
    /// Decides a request whose subject was [looked up](Gate::look), and remembers it. Where a rule lets it wait, waits. The
    /// ceiling of the caller's tenant is not looked at: [`Gate::over_ceiling`] does that, once for all requests of a call.
    ///
    /// # Errors
    /// As [`tidegate_engine::Engine::check`].
    pub async fn ask<'l>(&self, look: &'l Look<'_>, ask: &Ask<'_>) -> Result<Answered<'l>, EngineError> {
        if let Some(ban) = look.ban() {
            self.note_ban();
            look.tell_banned();
            return Ok(Answered::Banned(ban));
        }
        let request = look.request(ask.entries, ask.cost, ask.idempotency_key);
        if ask.peek {
            let decision = self.engine.peek(&request).await?;
            look.tell(&decision);
            return Ok(Answered::Decided(decision));
        }
        let decision = self.engine.check(&request).await?;
        look.tell(&decision);
        self.note(look, &request, &decision);
        Ok(Answered::Decided(decision))
    }
}
