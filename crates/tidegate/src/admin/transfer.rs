//! All rules of a tenant at once, as a rule file.

use tidegate_catalog::edit::{Change, Others};
use tidegate_config::rules_yaml;
use tidegate_wire::problem::Problem;

use super::answer::{Answer, Answered};
use super::call::Call;
use super::{Admin, beside, domains};

pub(super) async fn export(admin: &Admin, call: &Call) -> Answered {
    let _turn = admin.bodies.next().await?;
    let rules = admin.editor.export(&call.tenant).await.map_err(domains::refusal)?;
    beside(move || Answer::yaml(rules_yaml(&rules))).await
}

pub(super) async fn import(admin: &Admin, call: &Call) -> Answered {
    let others = match call.parameter("others")?.as_deref() {
        None | Some("keep") => Others::Keep,
        Some("remove") => Others::Remove,
        Some(_) => return Err(Problem::invalid_field("others", "write keep or remove").into()),
    };
    let document = admin.editor.read_file(call.text()?).await.map_err(domains::refusal)?;
    domains::make(admin, call, Change::Import { document, others }).await
}
