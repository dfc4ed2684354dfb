//! What there is, who asks, and how this node is.

use serde_json::{Value, json};
use tidegate_catalog::model::{DEFAULT_TENANT, Scope};

use super::Admin;
use super::answer::{Answer, Answered};
use super::call::Call;

pub(super) async fn index(admin: &Admin, _: &Call) -> Answered {
    let item = |route: &super::Route| {
        json!({
            "method": route.method.as_str(),
            "path": route.path,
            "needs": route.needs.words(),
            "summary": route.summary,
        })
    };
    Ok(Answer::page(admin.paths.routes().iter().map(item).collect(), None))
}

pub(super) async fn whoami(_: &Admin, call: &Call) -> Answered {
    let scopes: Vec<&str> = call.caller.scopes.iter().copied().map(Scope::name).collect();
    Ok(Answer::json(&json!({
        "name": call.caller.name,
        "prefix": call.caller.prefix,
        "tenant": call.caller.tenant.as_deref(),
        "operator": call.caller.tenant.is_none(),
        "scopes": scopes,
    })))
}

pub(super) async fn status(admin: &Admin, call: &Call) -> Answered {
    let mut status = crate::gate::state_json(&admin.catalog.state().get());
    // What the database said may name hosts and users: for operators.
    if let (None, tidegate_catalog::state::Database::Down { error, .. }) =
        (&call.caller.tenant, admin.catalog.state().get().database)
    {
        status["database_error"] = Value::from(error);
    }
    status["default_algorithm"] = Value::from(admin.editor.defaults().algorithm.name());
    // The rule file's domains are the default tenant's.
    let file_domains = admin.catalog.state().get().file_domains;
    let visible = if call.tenant == DEFAULT_TENANT { &*file_domains } else { &[] };
    status["file_domains"] = visible.iter().map(String::as_str).collect();
    status["rules_version"] = Value::from(admin.buckets.rules().version());
    if call.caller.tenant.is_none() {
        status["subjects"] = admin.catalog.subjects_json();
        status["usage"] = admin.catalog.usage_json();
        status["recent"] = admin.catalog.recent_json();
    }
    Ok(Answer::json(&status))
}
