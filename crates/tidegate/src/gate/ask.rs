//! One request from what is known of its subject to its decision, the same for every door.

use tidegate_catalog::model::Ban;
use tidegate_core::room::RoomName;
use tidegate_engine::{Answer, Clock, Decision, EngineError, Request};
use tidegate_store::BucketStore;

use super::{Gate, Look};
use crate::telemetry::metrics::Timed;

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
    /// Waiting rooms that the request's visitor has been let into: rules that send to them do not apply.
    pub inside: &'a [RoomName],
}

impl<'a> Ask<'a> {
    /// The request to the engine, of what is known of its subject.
    fn request(&self, look: &'a Look<'_>) -> Request<'a> {
        Request { inside: self.inside, ..look.request(self.entries, self.cost, self.idempotency_key) }
    }
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
        let request = ask.request(look);
        if ask.peek {
            let decision = self.engine.peek(&request).await?;
            look.tell(&decision);
            return Ok(Answered::Decided(decision));
        }
        let decision = {
            let mut timed = self.metrics.begin(self.door);
            let decided = self.engine.decide(&request).await;
            timed.count(decided, || self.engine.rules())?
        };
        look.tell(&decision);
        self.wait_for_all(&[(request, &decision)]).await;
        self.note(look, &request, &decision);
        Ok(Answered::Decided(decision))
    }

    /// Decides several requests, each on its own and in this order, as [`Gate::ask`] would; then waits once, until it is the
    /// turn of all of them. They are timed together.
    pub async fn ask_each<'l>(
        &self,
        asks: &[(&'l Look<'_>, Ask<'_>)],
    ) -> Vec<Result<Answered<'l>, EngineError>> {
        let mut answers = Vec::with_capacity(asks.len());
        let mut timed = self.metrics.begin(self.door);
        for (look, ask) in asks {
            answers.push(self.ask_now(look, ask, &mut timed).await);
        }
        drop(timed);
        let charged = asks.iter().zip(&answers).filter(|((_, ask), _)| !ask.peek);
        let charged: Vec<(Request<'_>, &Decision)> = charged
            .filter_map(|((look, ask), answer)| match answer {
                Ok(Answered::Decided(decision)) => Some((ask.request(look), decision)),
                Ok(Answered::Banned(_)) | Err(_) => None,
            })
            .collect();
        self.wait_for_all(&charged).await;
        answers
    }

    /// As [`Gate::ask`], without the waiting.
    async fn ask_now<'l>(
        &self,
        look: &'l Look<'_>,
        ask: &Ask<'_>,
        timed: &mut Timed<'_>,
    ) -> Result<Answered<'l>, EngineError> {
        if let Some(ban) = look.ban() {
            self.note_ban();
            look.tell_banned();
            return Ok(Answered::Banned(ban));
        }
        let request = ask.request(look);
        if ask.peek {
            let peeked = self.engine.peek(&request).await;
            timed.looked();
            let decision = peeked?;
            look.tell(&decision);
            return Ok(Answered::Decided(decision));
        }
        let decided = self.engine.decide(&request).await;
        let decision = timed.count(decided, || self.engine.rules())?;
        look.tell(&decision);
        self.note(look, &request, &decision);
        Ok(Answered::Decided(decision))
    }

    /// Waits until it is the turn of all these requests, each with its decision.
    async fn wait_for_all(&self, decided: &[(Request<'_>, &Decision)]) {
        let waits = decided.iter().filter_map(|(_, decision)| match decision.answer() {
            Answer::Wait(wait) => Some(wait),
            Answer::Allow | Answer::Deny => None,
        });
        if waits.clone().next().is_some() {
            let waiting = self.metrics.begin_waiting(waits);
            self.engine.wait_for_all(decided).await;
            waiting.done();
        }
    }
}
