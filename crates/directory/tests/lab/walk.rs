//! The walk of somebody who sets it up.

use countersign_directory::{
    DirectoryConfig,
    trial::{Outcome, Step, StepName},
};
use countersign_domain::Secret;

use crate::support::{PASSWORD, directory, lab};

/// The last step, which must have failed, as name, what is wrong, and what to do.
fn failed(steps: &[Step]) -> (StepName, String, String) {
    match steps.last() {
        Some(Step { name, outcome: Outcome::Failed { what, advice }, .. }) => (*name, what.clone(), advice.clone()),
        other => panic!("{other:?} of {steps:?}"),
    }
}

#[tokio::test]
async fn a_walk_that_goes_well_has_all_steps() {
    let Some(lab) = lab() else { return };
    let _shared = lab.shared().await;
    for config in [lab.ad(), lab.ldap()] {
        let steps = directory(&config).test(Some("alice")).await;
        let names: Vec<StepName> = steps.iter().map(|step| step.name).collect();
        assert_eq!(
            names,
            [StepName::Connect, StepName::Tls, StepName::Bind, StepName::Search, StepName::User, StepName::Groups]
        );
        assert!(steps.iter().all(Step::is_ok), "{steps:?}");
    }
}

#[tokio::test]
async fn a_walk_says_what_is_wrong_and_what_to_do() {
    let Some(lab) = lab() else { return };
    let _shared = lab.shared().await;
    let ad = lab.ad();
    let at = |server: String| DirectoryConfig { servers: vec![server], ..lab.ad() };
    let ldaps = lab.samba("LDAPS_PORT");
    let cases: Vec<(DirectoryConfig, Option<&str>, StepName, &str)> = vec![
        (at("ldaps://127.0.0.1:1".to_owned()), None, StepName::Connect, "does a directory listen"),
        (at(format!("ldaps://localhost:{ldaps}")), None, StepName::Tls, "write a name that is in the certificate"),
        (
            DirectoryConfig { ca_file: Some(lab.file("samba/tls/other-ca.pem")), ..ad.clone() },
            None,
            StepName::Tls,
            "set ca_file",
        ),
        (
            DirectoryConfig { servers: vec![format!("ldap://127.0.0.1:{}", lab.slapd("PLAIN_PORT"))], ..lab.ldap() },
            None,
            StepName::Tls,
            "install a certificate",
        ),
        (
            DirectoryConfig { bind_name: "nobody@example.test".to_owned(), ..ad.clone() },
            None,
            StepName::Bind,
            "check bind_name and bind_password",
        ),
        (
            DirectoryConfig { bind_name: "mustchange@example.test".to_owned(), ..ad.clone() },
            None,
            StepName::Bind,
            "the password must be changed first",
        ),
        (
            DirectoryConfig { base_dn: "OU=None,DC=example,DC=test".to_owned(), ..ad.clone() },
            None,
            StepName::Search,
            "check base_dn",
        ),
        (
            DirectoryConfig { base_dn: "DC=else,DC=where".to_owned(), ..lab.ldap() },
            None,
            StepName::Search,
            "name the servers that hold it",
        ),
        (
            DirectoryConfig { user_filter: Some("(objectClass=computerX)".to_owned()), ..ad.clone() },
            None,
            StepName::Search,
            "check base_dn, user_filter and login_attribute",
        ),
        (
            DirectoryConfig { id_attribute: Some("noSuchThing".to_owned()), ..ad.clone() },
            None,
            StepName::Search,
            "the right to read noSuchThing",
        ),
        (ad.clone(), Some("nobody"), StepName::User, "check the name"),
        (ad.clone(), Some("OTHER\\alice"), StepName::User, "type the name as the user would"),
        (
            DirectoryConfig { mail_login: true, ..ad.clone() },
            Some("shared@mail.test"),
            StepName::User,
            "names must be unique",
        ),
    ];
    for (config, user, name, advice) in cases {
        let (found, what, said) = failed(&directory(&config).test(user).await);
        println!("{found:?}: {what}\n    {said}");
        assert_eq!(found, name, "{what}");
        assert!(said.contains(advice), "{said}");
        assert!(!what.contains(PASSWORD) && !said.contains(PASSWORD));
    }
    let steps = directory(&ad).test(Some("disabled")).await;
    assert!(steps.iter().any(|step| step.name == StepName::User && !step.is_ok()), "{steps:?}");
}

#[tokio::test]
async fn s61_a_wrong_password_is_tried_at_one_server_only() {
    let Some(lab) = lab() else { return };
    let _shared = lab.shared().await;
    let config = DirectoryConfig {
        servers: vec![
            format!("ldaps://127.0.0.1:{}", lab.samba("LDAPS_PORT")),
            format!("ldap://127.0.0.1:{}", lab.samba("LDAP_PORT")),
        ],
        bind_name: "nobody@example.test".to_owned(),
        bind_password: Secret::new(b"wrong".to_vec()),
        ..lab.ad()
    };
    let steps = directory(&config).test(None).await;
    assert_eq!(steps.iter().filter(|step| step.name == StepName::Bind).count(), 1);
}
