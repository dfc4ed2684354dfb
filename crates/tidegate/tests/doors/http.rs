//! `POST /v1/check`. Times in milliseconds, `reset_at` as a time of day.

use serde_json::{Map, Value, json};
use tidegate_core::decision::Verdict;
use tidegate_engine::{Decision, RuleVerdict};
use tidegate_store::BucketStore;

use crate::common::{Answer, Client};
use crate::door::{Asked, Door};
use crate::said::{NOTHING, Said, expected_fields, fields, milliseconds, or_nothing};
use crate::site::Site;

pub(crate) struct Http(Client);

impl Http {
    pub(crate) async fn connect<S: BucketStore>(site: &Site<S>) -> Self {
        Self(Client::connect(site.http).await)
    }
}

impl Door for Http {
    fn name(&self) -> String {
        "http".to_owned()
    }

    async fn ask(&mut self, asked: &Asked<'_>) -> Said {
        let entries = asked.entries().into_iter().map(|(name, value)| (name.to_owned(), value.into()));
        let answer = self
            .0
            .check(json!({
                "domain": asked.case.domain,
                "descriptors": entries.collect::<Map<_, _>>(),
                "cost": asked.step.cost,
                "peek": asked.step.peek,
            }))
            .await;
        answered(&answer)
    }

    fn expected(&self, _asked: &Asked<'_>, decision: &Decision) -> Said {
        expected_answer(decision)
    }
}

/// What a whole answer says.
pub(crate) fn answered(answer: &Answer) -> Said {
    let mut said = vec![("status", answer.status.to_string())];
    said.extend(body(&answer.json()));
    said.extend(fields(|name| answer.field(name)));
    said
}

/// What a whole answer has to say.
pub(crate) fn expected_answer(decision: &Decision) -> Said {
    let mut said = vec![("status", status(decision).to_string())];
    said.extend(expected_body(decision));
    said.extend(expected_fields(decision));
    said
}

/// 422 says that the cost can never pass, where the quota is not zero.
pub(crate) fn status(decision: &Decision) -> u16 {
    match decision.binding() {
        _ if decision.is_allowed() => 200,
        Some(binding) if decision.retry_after().is_none() && binding.quota.limit() > 0 => 422,
        _ => 429,
    }
}

/// What a body says.
pub(crate) fn body(body: &Value) -> Said {
    let text = |value: &Value| match value {
        Value::Null => NOTHING.to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let names = ["allowed", "remaining", "limit", "window", "retry_after_ms", "domain", "rule"];
    let mut said: Said = names.map(|name| (name, text(&body[name]))).to_vec();
    said.push(("reset_at", or_nothing(body["reset_at"].as_f64().map(|at| format!("{at:.3}")))));
    let verdicts = body["verdicts"].as_array().into_iter().flatten();
    said.extend(verdicts.map(|verdict| {
        let names = ["rule", "mode", "allowed", "used", "remaining", "limit", "retry_after_ms"];
        ("verdict", names.map(|name| text(&verdict[name])).join(" "))
    }));
    said
}

/// What a body has to say.
pub(crate) fn expected_body(decision: &Decision) -> Said {
    let binding = decision.binding();
    let quota = binding.map(|binding| binding.quota);
    let at = |verdict: RuleVerdict<'_>| {
        let at = decision.decided_at().saturating_add(verdict.gauge.reset_after).as_micros().div_ceil(1_000);
        format!("{}.{:03}", at / 1_000, at % 1_000)
    };
    let mut said = vec![
        ("allowed", decision.is_allowed().to_string()),
        ("remaining", or_nothing(binding.map(|binding| binding.gauge.remaining))),
        ("limit", or_nothing(quota.map(|quota| quota.limit()))),
        ("window", or_nothing(quota.map(|quota| quota.window().as_micros() / 1_000_000))),
        ("retry_after_ms", or_nothing(decision.retry_after().map(milliseconds))),
        ("domain", or_nothing(decision.domain())),
        ("rule", or_nothing(binding.map(|binding| binding.rule.name()))),
        ("reset_at", or_nothing(binding.map(at))),
    ];
    // One rule that binds says nothing that was not said already.
    if decision.verdicts().count() > usize::from(binding.is_some()) {
        said.extend(decision.verdicts().map(|verdict| ("verdict", expected_verdict(&verdict))));
    }
    said
}

fn expected_verdict(verdict: &RuleVerdict<'_>) -> String {
    let retry_after = match verdict.verdict {
        Verdict::Deny { retry_after } => retry_after,
        Verdict::Allow { .. } => None,
    };
    let mode = if verdict.is_enforced() { "enforce" } else { "shadow" };
    let (gauge, retry_after) = (&verdict.gauge, or_nothing(retry_after.map(milliseconds)));
    format!(
        "{} {mode} {} {} {} {} {retry_after}",
        verdict.rule.name(),
        verdict.verdict.is_allow(),
        gauge.used,
        gauge.remaining,
        verdict.quota.limit()
    )
}
