//! Two tenants whose things have the same names: neither sees nor changes anything of the other's.

use serde_json::{Value, json};
use tidegate::admin::{Route, routes};

use super::site::{Answer, Site, filled, is_of_operators, prefix_of, writes};

/// Stands in everything that only the other tenant has.
const MARKER: &str = "zzmarker";
const ALL: &[&str] = &["check", "admin-read", "admin-write"];

/// Two tenants, `a` and `b`, with domains, rules, subjects and keys of the same names.
struct Twins {
    site: Site,
    key_a: String,
    key_b: String,
}

impl Twins {
    fn new() -> Self {
        let site = Site::with(&["--usage-flush", "1s"]);
        let (mut keys, marks) = (Vec::new(), [("a", "own"), ("b", MARKER)]);
        for (tenant, mark) in marks {
            site.tenant(tenant);
            site.domain(tenant, &domain(mark));
            keys.push(site.key(Some(tenant), "same", ALL));
            site.key(Some(tenant), &format!("{mark} key"), ALL);
            let put = |target: &str, body: Value| {
                site.about(tenant, "PUT", &format!("/domains/payments/subjects/{target}"))
                    .json(&body)
                    .send()
                    .expect(200);
            };
            put("sue", json!({ "tier": format!("tier-{mark}") }));
            put(&format!("{mark}-subject"), json!({ "tier": format!("tier-{mark}") }));
            put("bob/ban", json!({ "reason": format!("because of {mark}") }));
            put("sue/overrides/calls", json!({ "limit": 50, "reason": mark }));
            put(&format!("{mark}-subject/overrides/calls"), json!({ "limit": 51 }));
        }
        let key_b = keys.pop().unwrap();
        let twins = Self { site, key_a: keys.pop().unwrap(), key_b };
        for _ in 0..3 {
            for (key, mark) in [(&twins.key_a, "own"), (&twins.key_b, MARKER)] {
                assert_eq!(twins.check(key, "sue")["allowed"], true);
                assert_eq!(twins.check(key, &format!("{mark}-subject"))["allowed"], true);
            }
        }
        twins
    }

    fn check(&self, key: &str, subject: &str) -> Value {
        let body = json!({ "domain": "payments", "descriptors": { "user_id": subject } });
        self.site.door("POST", "/v1/check").key(key).json(&body).send().json()
    }

    /// Everything that there is of the other tenant, as the operator sees it.
    fn seen(&self) -> Vec<String> {
        let targets = [
            "/export",
            "/tenants/b",
            "/domains",
            "/domains/payments",
            "/domains/payments/subjects",
            "/domains/payments/bans",
            "/domains/payments/overrides",
            "/domains/payments/subjects/sue",
            "/domains/payments/subjects/bob",
            "/domains/payments/subjects/zzmarker-subject",
            "/domains/payments/history",
            "/keys",
            "/audit",
        ];
        targets.iter().map(|target| self.of_b(target)).collect()
    }

    fn of_b(&self, target: &str) -> String {
        let answer = self.site.about("b", "GET", target).send().expect(200).body;
        let mut parsed: Value = serde_json::from_str(&answer).unwrap_or(Value::Null);
        // When the key was used, and what is written while time passes, is not what tenants change.
        strip(&mut parsed, &["last_used_at", "from", "to"]);
        if parsed.is_null() { answer } else { parsed.to_string() }
    }
}

fn domain(mark: &str) -> Value {
    let tier = format!("tier-{mark}");
    json!({
        "name": "payments", "subject": "user_id",
        "rules": [
            { "name": "calls", "key": ["user_id"], "algorithm": "sliding_window", "limit": 20, "window": "1h",
              "tiers": { tier: { "limit": 40 } } },
            { "name": format!("{mark}-rule"), "key": ["user_id", mark], "limit": 7, "window": "1h" },
            { "name": "open", "key": ["user_id", "lane"], "algorithm": "concurrency", "limit": 2, "permit_ttl": "1h" },
        ],
    })
}

fn strip(value: &mut Value, names: &[&str]) {
    match value {
        Value::Object(members) => {
            members.retain(|name, _| !names.contains(&name.as_str()));
            members.values_mut().for_each(|member| strip(member, names));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| strip(item, names)),
        _ => {}
    }
}

/// A body with which the route does something.
fn body(route: &Route) -> Value {
    let kind = route.path.rsplit('/').next().unwrap();
    match (route.method.as_str(), kind) {
        ("PUT", "{domain}") => domain("own"),
        ("PUT", "{rule}") if route.path.contains("overrides") => json!({ "limit": 9, "reason": "mine" }),
        ("PUT", "{rule}") => json!({ "name": "calls", "key": ["user_id"], "limit": 1, "window": "1h" }),
        ("PUT", "{subject}") => json!({ "tier": "mine" }),
        ("PUT", "ban") => json!({ "reason": "mine" }),
        ("POST", "subjects") => json!({ "tiers": { "sue": "mine", "zzmarker-subject": null } }),
        ("POST", "rename") => json!({ "to": "renamed" }),
        ("POST", "rollback") => json!({ "version": 1 }),
        ("POST", "dry-run") => json!({ "domain": domain("own") }),
        ("POST", "refund") => json!({ "cost": 1 }),
        ("POST", "keys") => json!({ "name": "mine", "scopes": ["check"] }),
        ("POST", "reset" | "rotate") => json!({}),
        ("POST", "import") => json!({ "version": 1, "domains": [domain("own")] }),
        ("POST" | "PUT", "tenants" | "{tenant}") => json!({}),
        // Of operators, and refused here.
        ("PUT" | "POST", "{room}" | "state" | "flush" | "admit" | "beacon" | "end") => json!({}),
        ("GET" | "DELETE", _) => Value::Null,
        (method, kind) => panic!("say what {method} …/{kind} takes"),
    }
}

fn ask(twins: &Twins, route: &Route, target: &str) -> Answer {
    let body = body(route);
    let body = if body.is_null() { String::new() } else { body.to_string() };
    twins.site.bare(route.method.as_str(), target).key(&twins.key_a).if_match("*").body(body).send()
}

/// The queries that some endpoints need before they tell anything.
fn query(route: &Route) -> &'static str {
    match route.path.rsplit('/').next() {
        Some("top") => "?domain=payments",
        Some("usage") => "?last=24h&by=tenant,domain,rule,tier,time",
        Some("import") => "?others=remove",
        _ => "",
    }
}

#[test]
fn no_endpoint_changes_or_shows_what_is_another_tenants() {
    let twins = Twins::new();
    let (before, foreign) = (twins.seen(), prefix_of(&twins.key_b).to_owned());
    assert!(before.iter().any(|text| text.contains(MARKER)));
    let (mut done, mut made) = (0, 0);
    // What removes a domain or a rule comes last, so that the others have something to work on.
    let mut all = routes();
    all.sort_by_key(|route| {
        (route.method == "DELETE", route.path.ends_with("rename"), std::cmp::Reverse(route.path.len()))
    });
    for route in &all {
        for subject in ["sue", "bob", "zzmarker-subject"] {
            let rule =
                if subject == "bob" && !route.path.contains("overrides") { "zzmarker-rule" } else { "calls" };
            let names = [
                ("tenant", "b"),
                ("domain", "payments"),
                ("rule", rule),
                ("subject", subject),
                ("version", "1"),
                ("prefix", foreign.as_str()),
                ("room", "demo"),
            ];
            let target = format!("{}{}", filled(route, &names), query(route));
            let answer = ask(&twins, route, &target);
            assert!(answer.status < 500, "{route:?}: {answer:?}");
            // What the caller has named itself may come back.
            let shown = answer.body.replace("zzmarker-subject", "").replace("zzmarker-rule", "");
            assert!(!shown.contains(MARKER), "{route:?} {target}: {}", answer.body);
            assert!(!shown.contains(twins.key_b.rsplit('_').next().unwrap()), "{route:?}");
            if is_of_operators(route) || route.path.contains("{tenant}") {
                assert_eq!(answer.status, 403, "{route:?}");
            } else if route.path.contains("{prefix}") {
                assert_eq!(answer.status, 404, "{route:?}");
            }
            done += usize::from(answer.status < 300);
            made += usize::from(answer.status < 300 && writes(route));
        }
        assert_eq!(twins.seen(), before, "after {route:?}");
    }
    assert!(done > 60 && made > 25, "most of it was refused, which shows little: {done}, {made}");
    assert_eq!(twins.check(&twins.key_b, "sue")["remaining"], 50 - 4);
    // Usage is written while time passes: never more than the other tenant's own requests.
    let usage: Value = serde_json::from_str(&twins.of_b("/usage?last=1h&by=rule")).unwrap();
    for item in usage["items"].as_array().unwrap() {
        assert!(item["allowed"].as_u64() <= Some(7) && item["denied"] == 0, "{item}");
    }
}

#[test]
fn lists_of_a_tenant_have_its_own_things_only() {
    let twins = Twins::new();
    for route in routes().iter().filter(|route| !is_of_operators(route) && route.method == "GET") {
        for (key, own, other) in [(&twins.key_a, "a", "b"), (&twins.key_b, "b", "a")] {
            let prefix = prefix_of(key);
            let names = [
                ("tenant", own),
                ("domain", "payments"),
                ("rule", "calls"),
                ("subject", "sue"),
                ("version", "1"),
                ("prefix", prefix),
                ("room", "demo"),
            ];
            let target = format!("{}{}", filled(route, &names), query(route));
            let answer = twins.site.bare("GET", &target).key(key).send();
            assert!(!answer.body.contains(&format!("\"tenant\":\"{other}\"")), "{route:?}: {}", answer.body);
            if own == "a" {
                assert!(!answer.body.contains(MARKER), "{route:?}: {}", answer.body);
            }
        }
    }
    let keys = twins.site.bare("GET", "/keys").key(&twins.key_b).send().expect(200).json();
    assert_eq!(keys["items"].as_array().unwrap().len(), 2);
}

#[test]
fn buckets_of_the_same_names_are_two() {
    let twins = Twins::new();
    let (a, b) = (&twins.key_a, &twins.key_b);
    let remaining = |key: &str| {
        let stats = twins.site.door("GET", "/v1/stats/payments/sue").key(key).send().expect(200).json();
        assert_eq!(stats["domain"], "payments");
        stats["remaining"].as_u64().unwrap()
    };
    let left = remaining(b);
    for _ in 0..100 {
        twins.check(a, "sue");
    }
    assert_eq!((twins.check(a, "sue")["allowed"].clone(), remaining(b)), (json!(false), left));
    let refund = json!({ "domain": "payments", "descriptors": { "user_id": "sue" }, "cost": 5 });
    twins.site.door("POST", "/v1/refund").key(a).json(&refund).send().expect(200);
    assert_eq!((remaining(a), remaining(b)), (5, left));
    twins.site.bare("POST", "/domains/payments/subjects/sue/reset").key(a).send().expect(200);
    assert_eq!((remaining(a), remaining(b)), (50, left));
    let banned = json!({ "reason": "mine" });
    twins.site.bare("PUT", "/domains/payments/subjects/sue/ban").key(a).json(&banned).send().expect(200);
    assert_eq!(twins.check(a, "sue")["banned"], true);
    assert_eq!(twins.check(b, "sue")["allowed"], true);
    // Nor with the default tenant's, whose domain of this name has other limits, if there is one.
    let body = json!({ "domain": "payments", "descriptors": { "user_id": "sue" } });
    let own = twins.site.door("POST", "/v1/check").json(&body).send().json();
    assert_eq!(own["allowed"], true);
    assert_ne!(own["rule"], "calls");
    assert_eq!(remaining(b), left - 1);
}

#[test]
fn names_that_the_engine_uses_inside_reach_nothing() {
    let twins = Twins::new();
    let left = twins.check(&twins.key_b, "sue")["remaining"].as_u64().unwrap();
    for domain in ["b\u{1f}payments", "\u{1f}tenants", "b/payments", "b%1fpayments"] {
        for key in [None, Some(&twins.key_a)] {
            let body = json!({ "domain": domain, "descriptors": { "user_id": "sue", "tenant": "b" } });
            let many = json!({ "checks": [body] });
            for (path, body) in [("/v1/check", &body), ("/v1/checks", &many), ("/v1/permits", &body)] {
                let mut ask = twins.site.door("POST", path).json(body);
                if let Some(key) = key {
                    ask = ask.key(key);
                }
                let answer = ask.send();
                assert!(answer.status < 500, "{domain:?}: {answer:?}");
                assert!(!answer.body.contains("\"rule\":\"calls\""), "{domain:?}: {answer:?}");
            }
            let encoded = domain.replace('%', "%25").replace('\u{1f}', "%1f").replace('/', "%2f");
            for target in [format!("/v1/stats/{encoded}/sue"), format!("/v1/stats/{encoded}/b")] {
                let mut ask = twins.site.door("GET", &target);
                if let Some(key) = key {
                    ask = ask.key(key);
                }
                let answer = ask.send();
                assert!([404, 422].contains(&answer.status), "{target}: {answer:?}");
            }
        }
        let encoded = domain.replace('%', "%25").replace('\u{1f}', "%1f").replace('/', "%2f");
        for target in ["", "/rules", "/subjects", "/bans", "/overrides", "/subjects/sue"] {
            let target = format!("/domains/{encoded}{target}");
            for ask in
                [twins.site.operator("GET", &target), twins.site.bare("GET", &target).key(&twins.key_a)]
            {
                let answer = ask.send();
                assert!([404, 422].contains(&answer.status), "{target}: {answer:?}");
            }
        }
        let document = json!({ "name": domain, "rules": [] });
        let put =
            twins.site.operator("PUT", &format!("/domains/{encoded}")).if_match("*").json(&document).send();
        assert!(put.status == 422 || !domain.contains('\u{1f}'), "{domain:?}: {put:?}");
    }
    assert_eq!(twins.check(&twins.key_b, "sue")["remaining"], left - 1);
}

#[test]
fn permits_of_one_tenant_take_none_of_anothers() {
    let twins = Twins::new();
    let lane = json!({ "domain": "payments", "descriptors": { "user_id": "pat", "lane": "x" } });
    let acquire = |key: &str| twins.site.door("POST", "/v1/permits").key(key).json(&lane).send();
    let held: Vec<String> = (0..2)
        .map(|_| acquire(&twins.key_b).expect(200).json()["permit_id"].as_str().unwrap().to_owned())
        .collect();
    acquire(&twins.key_b).expect(429);
    acquire(&twins.key_a).expect(200);
    let release =
        |key: &str, id: &str| twins.site.door("DELETE", &format!("/v1/permits/{id}")).key(key).send().status;
    assert_eq!(release(&twins.key_b, &held[0]), 204);
    assert_eq!(release(&twins.key_b, &held[0]), 404);
    acquire(&twins.key_b).expect(200);
}

#[test]
fn a_ceiling_of_requests_is_one_tenants() {
    let twins = Twins::new();
    let ceilings = json!({ "max_rules": 10, "max_keys": 10, "max_requests_per_second": 1 });
    let put = twins.site.operator("PUT", "/tenants/a").if_match("*").json(&ceilings).send().expect(200);
    assert_eq!(put.json()["in_force"], true);
    let body = json!({ "domain": "payments", "descriptors": { "user_id": "cat" } });
    let ask = |key: &str| twins.site.door("POST", "/v1/check").key(key).json(&body).send();
    let answers: Vec<Answer> = (0..10).map(|_| ask(&twins.key_a)).collect();
    let refused: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(refused.len() >= 5, "{}", refused.len());
    assert!(refused[0].field("retry-after").is_some());
    assert!(!refused[0].body.contains('\u{1f}') && !refused[0].body.contains("u001f"), "{}", refused[0].body);
    (0..10).for_each(|_| assert_eq!(ask(&twins.key_b).status, 200));
    // Nothing that was refused has been charged.
    let stats =
        twins.site.operator("GET", "/domains/payments/subjects/cat?tenant=a").send().expect(200).json();
    let used = stats["buckets"].as_array().unwrap().iter().find(|bucket| bucket["rule"] == "calls").unwrap();
    assert_eq!(used["used"], 10 - refused.len());
}

#[test]
fn a_ceiling_of_the_default_tenant_counts_requests_without_a_key() {
    let site = Site::start();
    let ceilings = json!({ "max_rules": 10, "max_keys": 10, "max_requests_per_second": 1 });
    let put = site.operator("PUT", "/tenants/default").if_match("*").json(&ceilings).send().expect(200);
    assert_eq!(put.json()["in_force"], true);
    let body = json!({ "domain": "demo", "descriptors": { "user_id": "cat" } });
    for (method, target) in [("POST", "/v1/check"), ("DELETE", "/v1/permits/none")] {
        let statuses: Vec<u16> =
            (0..10).map(|_| site.door(method, target).json(&body).send().status).collect();
        let refused = statuses.iter().filter(|status| **status == 429).count();
        assert!(refused >= 5, "{target}: {statuses:?}");
    }
}

#[test]
fn ceilings_of_rules_and_keys_hold() {
    let site = Site::start();
    let wanted = json!({ "name": "small", "max_rules": 2, "max_keys": 1 });
    site.operator("POST", "/tenants").json(&wanted).send().expect(201);
    let key = site.key(Some("small"), "one", ALL);
    let more = json!({ "name": "two", "scopes": ["check"] });
    site.bare("POST", "/keys").key(&key).json(&more).send().expect(409);
    let put = site.bare("PUT", "/domains/payments").key(&key).field("If-None-Match", "*");
    let put = put.json(&domain("own")).send();
    assert!(put.expect(409).body.contains('2'));
    let import = json!({ "version": 1, "domains": [domain("own")] });
    site.bare("POST", "/import").key(&key).json(&import).send().expect(409);
    // Nor is it free to ask what it would do.
    site.bare("POST", "/import?dry_run=true").key(&key).json(&import).send().expect(409);
    let dry_run = site.bare("PUT", "/domains/payments?dry_run=true").key(&key).field("If-None-Match", "*");
    dry_run.json(&domain("own")).send().expect(409);
    assert!(!site.bare("GET", "/domains").key(&key).send().expect(200).body.contains("payments"));
}

#[test]
fn ceilings_hold_when_many_come_at_once() {
    let site = Site::start();
    let wanted = json!({ "name": "small", "max_rules": 3, "max_keys": 3 });
    site.operator("POST", "/tenants").json(&wanted).send().expect(201);
    site.domain("small", &json!({ "name": "payments", "rules": [] }));
    let start = std::sync::Barrier::new(16);
    let statuses: Vec<(u16, u16)> = std::thread::scope(|scope| {
        let maker = |number: u64| {
            let (site, start) = (&site, &start);
            scope.spawn(move || {
                start.wait();
                let key = json!({ "name": format!("key {number}"), "scopes": ["check"] });
                let key = site.about("small", "POST", "/keys").json(&key).send().status;
                let rule = json!({ "name": format!("r{number}"), "key": ["a"], "limit": 1, "window": "1s" });
                let target = format!("/domains/payments/rules/r{number}");
                let put = site.about("small", "PUT", &target).field("If-None-Match", "*").json(&rule);
                (key, put.send().status)
            })
        };
        let makers: Vec<_> = (0..16).map(maker).collect();
        makers.into_iter().map(|maker| maker.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|(key, _)| *key == 201).count(), 3, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|(_, rule)| *rule == 200).count(), 3, "{statuses:?}");
    assert!(
        statuses.iter().all(|(key, rule)| [201, 409].contains(key) && [200, 409].contains(rule)),
        "{statuses:?}"
    );
}

#[test]
fn a_tenant_that_is_removed_leaves_nothing() {
    let twins = Twins::new();
    twins.site.operator("DELETE", "/tenants/b").if_match("*").send().expect(200);
    let site = &twins.site;
    let check = json!({ "domain": "payments", "descriptors": { "user_id": "sue" } });
    tidegate_testkit::wait_until("the key is no longer good", std::time::Duration::from_secs(5), || {
        site.door("POST", "/v1/check").key(&twins.key_b).json(&check).send().status == 401
    });
    site.bare("GET", "/whoami").key(&twins.key_b).send().expect(401);
    // Buckets, busiest keys and recent requests go by the name: for a day nobody can come after it.
    let again = site.operator("POST", "/tenants").json(&json!({ "name": "b" })).send().expect(409);
    assert!(again.body.contains("less than a day ago"), "{}", again.body);
    site.about("b", "GET", "/export").send().expect(404);
    assert_eq!(twins.check(&twins.key_a, "sue")["allowed"], true);
    // Operators see what was.
    assert!(site.operator("GET", "/audit").send().expect(200).body.contains(MARKER));
}
