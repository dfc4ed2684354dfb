//! `/v1/authz`, as a proxy asks: domain, cost and entries in its query. What comes back is what `/v1/check` answers.

use tidegate_engine::Decision;
use tidegate_store::BucketStore;

use crate::common::Client;
use crate::door::{Asked, Door};
use crate::http::{answered, expected_answer};
use crate::said::Said;
use crate::site::Site;

pub(crate) struct ForwardAuth(Client);

impl ForwardAuth {
    pub(crate) async fn connect<S: BucketStore>(site: &Site<S>) -> Self {
        Self(Client::connect(site.http).await)
    }
}

impl Door for ForwardAuth {
    fn name(&self) -> String {
        "forward-auth".to_owned()
    }

    async fn ask(&mut self, asked: &Asked<'_>) -> Said {
        let entries = asked.entries().into_iter();
        let entries: String = entries.map(|(name, value)| format!("&entry.{name}={value}")).collect();
        let target = format!("/v1/authz?domain={}&cost={}{entries}", asked.case.domain, asked.step.cost);
        answered(&self.0.request("GET", &target, "", b"").await)
    }

    fn expected(&self, _asked: &Asked<'_>, decision: &Decision) -> Said {
        expected_answer(decision)
    }
}
