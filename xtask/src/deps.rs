//! The tiers of ARCHITECTURE.md as a check: which of our crates may depend on which, and what the core must never see.
//!
//! Dev-dependencies are free: a test may bring any of ours together.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command::output;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tier {
    /// No I/O, no clock, no random source.
    Core,
    /// Runtime, sockets, storage.
    Service,
    /// The program.
    Edge,
    /// For tests and development only.
    Internal,
}

struct Rule {
    name: &'static str,
    tier: Tier,
    /// Which of ours it may depend on.
    may: May,
}

enum May {
    Only(&'static [&'static str]),
    Anything,
}

const fn rule(name: &'static str, tier: Tier, may: May) -> Rule {
    Rule { name, tier, may }
}

const DEVICE_PROTOCOL: &str = "countersign-device-protocol";
const DOMAIN: &str = "countersign-domain";
const ENGINE: &str = "countersign-engine";
const RADIUS: &str = "countersign-radius";
const RADIUS_TLS: &str = "countersign-radius-tls";
const STORAGE: &str = "countersign-storage";
const DESK: &str = "countersign-desk";
const CORE: &[&str] = &[DEVICE_PROTOCOL, DOMAIN, ENGINE, RADIUS];

/// One line for each crate of the workspace.
const RULES: &[Rule] = &[
    rule(DEVICE_PROTOCOL, Tier::Core, May::Only(CORE)),
    rule(DOMAIN, Tier::Core, May::Only(CORE)),
    rule(ENGINE, Tier::Core, May::Only(CORE)),
    rule(RADIUS, Tier::Core, May::Only(CORE)),
    rule(STORAGE, Tier::Service, May::Only(&[DOMAIN])),
    rule("countersign-storage-sqlite", Tier::Service, May::Only(&[STORAGE, DOMAIN])),
    rule(DESK, Tier::Service, May::Only(&[ENGINE, STORAGE, DOMAIN, DEVICE_PROTOCOL])),
    rule("countersign-directory", Tier::Service, May::Only(&[DOMAIN])),
    rule(RADIUS_TLS, Tier::Service, May::Only(&[DOMAIN])),
    rule("countersign-radius-client", Tier::Service, May::Only(&[RADIUS, RADIUS_TLS, DOMAIN])),
    rule("countersign-radius-server", Tier::Service, May::Only(&[DESK, RADIUS, RADIUS_TLS, DOMAIN])),
    rule("countersign-api", Tier::Service, May::Only(&[DESK, STORAGE, DOMAIN, DEVICE_PROTOCOL, RADIUS])),
    rule("countersign-push", Tier::Service, May::Only(&[DESK, STORAGE, DOMAIN, DEVICE_PROTOCOL])),
    rule("countersign-push", Tier::Service, May::Only(&[DESK, STORAGE, DOMAIN, DEVICE_PROTOCOL])),
    rule("countersign", Tier::Edge, May::Anything),
    rule("countersign-testkit", Tier::Internal, May::Anything),
    rule("xtask", Tier::Internal, May::Only(&[])),
];

/// What no crate of the core may reach, however indirectly. `rand_core` is only traits, and welcome.
const NOT_IN_CORE: &[&str] = &["tokio", "sqlx", "axum", "reqwest", "quinn-udp", "rand"];

/// One dependency of one of ours on another.
#[derive(Debug)]
struct Edge {
    from: String,
    to: String,
}

/// The names of our crates.
pub(crate) fn crates() -> Result<BTreeSet<String>> {
    Ok(workspace(&metadata()?)?.0)
}

fn metadata() -> Result<Value> {
    let text = output("cargo", &["metadata", "--no-deps", "--format-version", "1"])?;
    serde_json::from_str(&text).context("cargo metadata")
}

pub(crate) fn check() -> Result<()> {
    let (crates, edges) = workspace(&metadata()?)?;
    let mut faults = broken_rules(RULES, &crates, &edges);
    for rule in RULES.iter().filter(|rule| rule.tier == Tier::Core && crates.contains(rule.name)) {
        let tree = output(
            "cargo",
            &["tree", "--locked", "-p", rule.name, "-e", "normal,build", "--prefix", "depth", "-f", " {p}"],
        )?;
        faults.extend(forbidden_paths(&tree)?);
    }
    if faults.is_empty() {
        println!("check-deps: {} crates, {} edges, all allowed", crates.len(), edges.len());
        return Ok(());
    }
    bail!("dependencies that ARCHITECTURE.md forbids:\n  {}", faults.join("\n  "));
}

/// The names of our crates and the edges between them, dev-dependencies left out.
fn workspace(metadata: &Value) -> Result<(BTreeSet<String>, Vec<Edge>)> {
    let packages = metadata.get("packages").and_then(Value::as_array).context("cargo metadata without packages")?;
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let crates: BTreeSet<String> = packages.iter().filter_map(|package| text(package, "name")).collect();
    let mut edges = Vec::new();
    for package in packages {
        let from = text(package, "name").context("a package without a name")?;
        for dependency in package.get("dependencies").and_then(Value::as_array).into_iter().flatten() {
            let to = text(dependency, "name").context("a dependency without a name")?;
            if crates.contains(&to) && text(dependency, "kind").as_deref() != Some("dev") {
                edges.push(Edge { from: from.clone(), to });
            }
        }
    }
    Ok((crates, edges))
}

fn broken_rules(rules: &[Rule], crates: &BTreeSet<String>, edges: &[Edge]) -> Vec<String> {
    let find = |name: &str| rules.iter().find(|rule| rule.name == name);
    let mut faults: Vec<String> = crates
        .iter()
        .filter(|name| find(name).is_none())
        .map(|name| format!("{name}: no tier; give it a line in xtask/src/deps.rs and ARCHITECTURE.md"))
        .collect();
    for Edge { from, to } in edges {
        let (Some(from), Some(to)) = (find(from), find(to)) else { continue };
        if to.tier == Tier::Internal && from.tier != Tier::Internal {
            faults.push(format!("{} -> {}: for tests only, a dev-dependency", from.name, to.name));
        } else if let May::Only(allowed) = from.may
            && !allowed.contains(&to.name)
        {
            let allowed = if allowed.is_empty() { "none of ours".to_owned() } else { allowed.join(", ") };
            faults.push(format!("{} -> {}: {:?} crate, may depend on {allowed}", from.name, to.name, from.tier));
        }
    }
    faults
}

/// The ways from a core crate to something forbidden, in the output of `cargo tree --prefix depth -f " {p}"`: lines such
/// as `2 tokio v1.0.0`.
fn forbidden_paths(tree: &str) -> Result<Vec<String>> {
    let mut path: Vec<&str> = Vec::new();
    let mut faults = Vec::new();
    for line in tree.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let depth: usize =
            words.next().and_then(|depth| depth.parse().ok()).with_context(|| format!("tree: {line}"))?;
        let name = words.next().with_context(|| format!("tree: {line}"))?;
        path.truncate(depth);
        path.push(name);
        if NOT_IN_CORE.contains(&name) {
            faults.push(format!("{}: the core has no {name}", path.join(" -> ")));
        }
    }
    faults.dedup();
    Ok(faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(edges: &[(&str, &str)]) -> Vec<String> {
        let crates = edges.iter().flat_map(|(from, to)| [(*from).to_owned(), (*to).to_owned()]).collect();
        let edges: Vec<Edge> =
            edges.iter().map(|(from, to)| Edge { from: (*from).to_owned(), to: (*to).to_owned() }).collect();
        broken_rules(RULES, &crates, &edges)
    }

    #[test]
    fn edges_of_the_architecture_are_allowed() {
        assert_eq!(
            faults(&[(ENGINE, DOMAIN), (DESK, ENGINE), ("countersign", DESK), ("countersign-testkit", DOMAIN)]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn edges_against_the_tiers_are_named() {
        for (from, to) in [
            (DOMAIN, STORAGE),
            (STORAGE, ENGINE),
            ("countersign-api", "countersign-radius-server"),
            ("countersign-radius-server", "countersign-storage"),
            (DESK, "countersign"),
            ("countersign", "countersign-testkit"),
            ("xtask", DOMAIN),
        ] {
            let found = faults(&[(from, to)]);
            assert!(
                matches!(found.as_slice(), [one] if one.contains(&format!("{from} -> {to}"))),
                "{from} -> {to}: {found:?}"
            );
        }
    }

    #[test]
    fn a_crate_without_a_tier_is_a_fault() {
        assert_eq!(faults(&[("countersign-new", DOMAIN)]).len(), 1);
    }

    #[test]
    fn dev_dependencies_are_free() {
        let metadata = serde_json::json!({"packages": [
            {"name": ENGINE, "dependencies": [
                {"name": "countersign-testkit", "kind": "dev"}, {"name": DOMAIN, "kind": null}, {"name": "hmac", "kind": null}]},
            {"name": "countersign-testkit", "dependencies": []},
            {"name": DOMAIN, "dependencies": []},
        ]});
        let (crates, edges) = workspace(&metadata).unwrap();
        assert_eq!(crates.len(), 3);
        assert!(matches!(edges.as_slice(), [Edge { from, to }] if from == ENGINE && to == DOMAIN), "{edges:?}");
    }

    #[test]
    fn the_way_to_something_forbidden_is_shown() {
        let tree =
            "0 countersign-domain v0.1.0 (/x)\n1 uuid v1.0.0\n2 rand_core v0.10.1\n2 rand v0.10.0\n1 hmac v0.13.0\n";
        assert_eq!(forbidden_paths(tree).unwrap(), ["countersign-domain -> uuid -> rand: the core has no rand"]);
    }
}
