//! What `doctor` says of RADIUS clients: what their packets lack, and how they wait.

use core::time::Duration;

use countersign_api::admin::status::Finding;
use countersign_desk::{Route, Seat};
use countersign_domain::{RadiusClient, Resource};
use countersign_radius_server::{ClientCounts, Waits};

const ABOUT: &str = "radius";
/// NPS takes a server for dead after so long, as it comes.
const NPS_PATIENCE: Duration = Duration::from_secs(3);
/// Fewer prove nothing: a user may have closed the window, and a cable may have been pulled.
const ENOUGH: u64 = 3;

/// The rules of a client that lead nowhere.
pub(crate) fn misled(seat: &Seat) -> Vec<Finding> {
    let name = &seat.client.name;
    let nowhere = seat.routes.iter().filter_map(|Route { rule, to }| Some((rule, to.as_ref().err()?)));
    nowhere
        .map(|(rule, why)| {
            let (attribute, value) = (rule.attribute.as_str(), &rule.value);
            Finding::wrong(
                ABOUT,
                format!(
                    "{name}: the rule {attribute} = {value} {why}. What it fits is refused: `countersign client set {name} \
                     --match …`"
                ),
            )
        })
        .collect()
}

/// Everything that was seen of one client.
pub(crate) struct Seen<'a> {
    /// Its own resource.
    pub(crate) resource: &'a Resource,
    pub(crate) client: &'a RadiusClient,
    pub(crate) counts: ClientCounts,
    pub(crate) waits: Waits,
}

impl Seen<'_> {
    /// What should be known, each with what to do.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        let found = [
            self.other_secret(),
            self.no_message_authenticator(),
            self.loops(),
            self.crowded(),
            self.waiting(),
            self.begins_anew(),
            self.collides(),
        ];
        found.into_iter().flatten().map(|text| Finding::note(ABOUT, format!("{}: {text}", self.client.name))).collect()
    }

    fn other_secret(&self) -> Option<String> {
        let (name, count) = (&self.client.name, self.counts.bad_authenticator);
        (count > 0).then(|| {
            format!(
                "{count} packets with another shared secret than ours. If logins there go unanswered, set the same on both \
                 sides: `countersign client set {name} --secret-stdin`"
            )
        })
    }

    fn no_message_authenticator(&self) -> Option<String> {
        let (name, count) = (&self.client.name, self.counts.missing_message_authenticator);
        let dropped = || {
            format!(
                "{count} packets without Message-Authenticator were dropped. Switch it on in the client or update it \
                 (CVE-2024-3596; on NPS in the properties of the remote RADIUS server, \"Request must contain the message \
                 authenticator attribute\"); if it cannot, and only on a trusted network: `countersign client set {name} \
                 --no-require-message-authenticator`"
            )
        };
        let taken = || format!("{count} packets without Message-Authenticator were taken, as it is set");
        (count > 0).then(|| if self.client.require_message_authenticator { dropped() } else { taken() })
    }

    fn loops(&self) -> Option<String> {
        let count = self.counts.loops;
        (count > 0).then(|| {
            format!(
                "{count} logins that this server had sent on came back to it and were refused. On an NPS that stands on both \
                 sides: copy the connection request policy that sends logins here, give the copy the condition Client Friendly \
                 Name = this server and \"Authenticate requests on this server\", and put it above the original"
            )
        })
    }

    fn crowded(&self) -> Option<String> {
        let (full, replays) = (self.counts.full, self.counts.replays);
        let full = (full > 0).then(|| {
            format!(
                "{full} requests were dropped because too many of its logins, or of all, were waiting. If nobody floods it,                  raise [limits] logins_per_client or logins"
            )
        });
        let replays = (replays > 0).then(|| {
            format!(
                "{replays} packets were sent again long after their time, or from elsewhere, and were dropped: the client                  uses authenticators twice, or somebody on the way replays what was heard"
            )
        });
        match (full, replays) {
            (Some(full), Some(replays)) => Some(format!("{full}. {replays}")),
            (full, replays) => full.or(replays),
        }
    }

    /// A client that asks again too soon or gives up too soon: one of the two is told, the worse first.
    fn waiting(&self) -> Option<String> {
        let answer_by = self.resource.answer_by.as_secs();
        if self.waits.interval() == Some(NPS_PATIENCE) {
            return Some(format!(
                "the client repeats a request every 3 seconds while it waits. NPS does so, and takes this server for dead, \
                 until \"Number of seconds without response before request is considered dropped\" is raised from 3 to {} or \
                 more, and \"Number of seconds between requests when server is identified as unavailable\" as well: Remote \
                 RADIUS Server Groups, the group (TS GATEWAY SERVER GROUP for an RD Gateway), this server, Load Balancing",
                answer_by.saturating_add(15)
            ));
        }
        let (name, given_up, waited) = (&self.resource.name, self.counts.given_up, self.waits.longest.as_secs());
        if given_up < ENOUGH {
            return None;
        }
        let budget =
            Duration::from_secs(waited.saturating_sub(2)).clamp(Resource::ANSWER_BY_MIN, self.resource.answer_by);
        let here = match budget.as_secs() {
            shorter if shorter < answer_by => {
                format!(", or have it answered sooner: `countersign resource set {name} --answer-by {shorter}`")
            }
            _ => String::new(),
        };
        Some(format!(
            "the client gave up on {given_up} logins before anybody answered, after {waited} seconds at most, and answers \
             come within {answer_by}. Set its time-out to more than {answer_by} seconds{here}"
        ))
    }

    fn begins_anew(&self) -> Option<String> {
        let (count, answer_by) = (self.counts.begun_anew, self.resource.answer_by.as_secs());
        (count >= ENOUGH).then(|| {
            format!(
                "the client asked anew for {count} logins that were still waiting, under another identifier. Such a login goes \
                 on three times at most, and without Calling-Station-Id and NAS-Port it is refused as two at once: set its \
                 time-out to more than {answer_by} seconds with one retry, and name this server once"
            )
        })
    }

    /// Where a request says neither where the user sits nor by which port, one that is asked anew looks like two people.
    fn collides(&self) -> Option<String> {
        let (count, answer_by) = (self.counts.collided, self.resource.answer_by.as_secs());
        (count >= ENOUGH).then(|| {
            format!(
                "{count} logins were refused because two of one user came at once. If the users know of one only, the client \
                 asks anew while it waits, as an NPS or a second gateway does: set its time-out to more than {answer_by} \
                 seconds, and look at the audit for where they came from: `countersign audit list --reason collision`"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use countersign_desk::ResourceTable;
    use countersign_domain::{MatchAttribute, MatchRule, Primary};
    use countersign_testkit::{NewResource, Site};

    use super::*;

    async fn said(counts: ClientCounts, intervals: &[u64], longest: u64, answer_by: u64) -> Vec<String> {
        let site = Site::open(1).await;
        let answer_by = Duration::from_secs(answer_by);
        let (resource, client) = site.rows(NewResource { name: "gw", answer_by, ..NewResource::default() });
        let waits = Waits::of(intervals.iter().copied().map(Duration::from_secs), Duration::from_secs(longest));
        let seen = Seen { resource: &resource, client: &client, counts, waits };
        seen.findings().into_iter().map(|finding| finding.text).collect()
    }

    #[tokio::test]
    async fn a_rule_that_would_weaken_is_told() {
        let site = Site::open(2).await;
        let (vpn, mut client) = site.rows(NewResource { primary: Primary::Local, ..NewResource::default() });
        let (open, other) = site.rows(NewResource { name: "open", ..NewResource::default() });
        let rule = |value: &str, resource| MatchRule {
            attribute: MatchAttribute::NasIdentifier,
            value: value.to_owned(),
            resource,
        };
        client.rules = vec![rule("here", vpn.id), rule("there", open.id)];
        let table = ResourceTable::new(vec![(vpn, vec![client]), (open, vec![other])]);
        let said: Vec<_> = table.seats().iter().flat_map(|seat| misled(seat)).map(|finding| finding.text).collect();
        assert_eq!(said.len(), 1);
        assert!(said[0].contains("NAS-Identifier = there") && said[0].contains("client set vpn"), "{said:?}");
    }

    #[tokio::test]
    async fn nothing_is_said_of_a_client_that_waits() {
        assert!(
            said(ClientCounts { proven: 1000, duplicates: 9, ..ClientCounts::default() }, &[5; 9], 0, 60)
                .await
                .is_empty()
        );
        assert!(
            said(ClientCounts { given_up: 2, begun_anew: 2, ..ClientCounts::default() }, &[3; 2], 9, 60)
                .await
                .is_empty()
        );
    }

    #[tokio::test]
    async fn nps_as_it_comes_is_recognised_and_told_where_to_set_what() {
        let said = said(ClientCounts { given_up: 9, ..ClientCounts::default() }, &[3; 20], 9, 45).await;
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].starts_with("gw: ")
                && said[0].contains("raised from 3 to 60")
                && said[0].contains("Load Balancing")
        );
    }

    #[tokio::test]
    async fn c111_a_client_that_gives_up_early_is_told_with_its_patience() {
        let counts = ClientCounts { given_up: 3, ..ClientCounts::default() };
        let told = said(counts, &[5; 6], 15, 60).await;
        assert!(told[0].contains("after 15 seconds") && told[0].contains("--answer-by 13"), "{told:?}");
        // Where it is as short as can be there is nothing to set here.
        let told = said(counts, &[1; 6], 4, 5).await;
        assert!(!told[0].contains("--answer-by"), "{told:?}");
    }

    #[tokio::test]
    async fn c110_a_client_that_begins_anew_is_told() {
        let told = said(ClientCounts { begun_anew: 3, ..ClientCounts::default() }, &[], 0, 60).await;
        assert!(told[0].contains("under another identifier") && told[0].contains("more than 60 seconds"), "{told:?}");
    }

    #[tokio::test]
    async fn a_loop_is_told_with_the_policy_that_ends_it() {
        let told = said(ClientCounts { loops: 1, ..ClientCounts::default() }, &[], 0, 60).await;
        assert!(told[0].contains("came back") && told[0].contains("above the original"), "{told:?}");
    }

    #[tokio::test]
    async fn s105_a_flood_is_told() {
        let told = said(ClientCounts { full: 3, replays: 2, ..ClientCounts::default() }, &[], 0, 60).await;
        assert!(told[0].contains("3 requests") && told[0].contains("logins_per_client"), "{told:?}");
        assert!(told[0].contains(". 2 packets were sent again"), "{told:?}");
        let told = said(ClientCounts { replays: 2, ..ClientCounts::default() }, &[], 0, 60).await;
        assert!(told[0].contains("2 packets were sent again") && !told[0].contains("[limits]"), "{told:?}");
    }

    #[tokio::test]
    async fn logins_that_collide_are_told() {
        let told = said(ClientCounts { collided: 3, ..ClientCounts::default() }, &[], 0, 60).await;
        assert!(told[0].contains("two of one user") && told[0].contains("more than 60 seconds"), "{told:?}");
        assert!(said(ClientCounts { collided: 2, ..ClientCounts::default() }, &[], 0, 60).await.is_empty());
    }

    #[tokio::test]
    async fn what_packets_lack_is_told() {
        let counts = ClientCounts { missing_message_authenticator: 7, bad_authenticator: 1, ..ClientCounts::default() };
        let told = said(counts, &[], 0, 60).await;
        assert!(
            told[0].contains("--secret-stdin") && told[1].contains("7 packets") && told[1].contains("CVE-2024-3596")
        );
    }
}
