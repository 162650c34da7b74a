//! Names, and what becomes of entries when they are renamed or moved.

use countersign_directory::{LookupError, NameFault, Refusal};

use crate::support::{PASSWORD, directory, lab, login, refusal};

#[tokio::test]
async fn c028_s63_every_spelling_is_one_entry() {
    let Some(lab) = lab() else { return };
    let _shared = lab.shared().await;
    let mut config = lab.ad();
    config.mail_login = true;
    let directory = directory(&config);
    let alice = directory.lookup("alice").await.unwrap();
    assert_eq!(alice.names.login(), Some("alice"));
    assert_eq!(alice.names.principal.as_deref(), Some("alice@example.test"));
    assert_eq!((alice.display.as_deref(), alice.mail.as_deref()), (Some("Alice"), Some("alice@mail.test")));
    for typed in [
        "ALICE",
        "Alice",
        " alice ",
        "EXAMPLE\\alice",
        "example\\ALICE",
        "example.test\\alice",
        "EXAMPLE.TEST\\alice",
        "alice@example.test",
        "ALICE@Example.Test",
        "alice@example.test.",
        "alice@EXAMPLE",
        "alice@mail.test",
        "Alice@MAIL.test",
    ] {
        let found = login(&directory, typed, PASSWORD).await.unwrap_or_else(|error| panic!("{typed}: {error}"));
        assert_eq!(found.entry, alice, "{typed}");
    }
}

#[tokio::test]
async fn mail_addresses_are_names_only_where_that_was_wanted() {
    let Some(lab) = lab() else { return };
    let _shared = lab.shared().await;
    let without = directory(&lab.ad());
    assert_eq!(without.lookup("alice@mail.test").await, Err(LookupError::Unknown));
    let mut config = lab.ad();
    config.mail_login = true;
    let with = directory(&config);
    // Two have it.
    assert_eq!(with.lookup("shared@mail.test").await, Err(LookupError::Ambiguous));
    assert_eq!(refusal(login(&with, "shared@mail.test", PASSWORD).await), Refusal::NameAmbiguous);
    // Mallory has given herself Bob's name as mail address: that makes her nobody's double.
    assert_eq!(without.lookup("bob@example.test").await.unwrap().names.login(), Some("bob"));
    assert_eq!(refusal(login(&with, "bob@example.test", PASSWORD).await), Refusal::NameAmbiguous);
}

#[tokio::test]
async fn c090_a_principal_name_is_not_cut_at_its_sign() {
    let Some(lab) = lab() else { return };
    let _shared = lab.shared().await;
    let directory = directory(&lab.ad());
    for (typed, short) in [
        ("jo.doe@other.test", "user43"),
        ("EXAMPLE\\user43", "user43"),
        ("EXAMPLE\\jo.doe", "jo.doe"),
        ("jo.doe", "jo.doe"),
        ("jo.doe@example.test", "jo.doe"),
    ] {
        assert_eq!(directory.lookup(typed).await.unwrap().names.login(), Some(short), "{typed}");
    }
    assert_eq!(directory.lookup("alice@other.test").await, Err(LookupError::Unknown));
    assert_eq!(directory.lookup("OTHER\\alice").await, Err(LookupError::Unusable(NameFault::ForeignDomain)));
}

#[tokio::test]
async fn c033_s58_a_name_is_a_value_and_nothing_else() {
    let Some(lab) = lab() else { return };
    let _shared = lab.shared().await;
    for mut config in [lab.ad(), lab.ldap()] {
        config.mail_login = true;
        let directory = directory(&config);
        for typed in [
            "*",
            "a*",
            "alic*",
            "alice)(objectClass=*",
            "*)(uid=*))(|(uid=*",
            "x)(|(uid=*",
            "alice)(",
            "(alice)",
            "alice\u{ff0a}",
            "*@mail.test",
            "*@*",
        ] {
            assert_eq!(directory.lookup(typed).await, Err(LookupError::Unknown), "{typed}");
            assert_eq!(refusal(login(&directory, typed, PASSWORD).await), Refusal::NameUnknown, "{typed}");
        }
        for typed in ["alice\0", "\0", "a\\"] {
            assert!(matches!(directory.lookup(typed).await, Err(LookupError::Unusable(_))), "{typed:?}");
        }
    }
}

#[tokio::test]
async fn c031_a_dn_is_used_as_it_came() {
    let Some(lab) = lab() else { return };
    let _shared = lab.shared().await;
    let ad = directory(&lab.ad());
    for (name, begin) in [("jane", "CN=Doe\\, Jane,OU=Staff"), ("odd", "CN=\\#odd ")] {
        let found = login(&ad, name, PASSWORD).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(found.entry.dn.starts_with(begin), "{}", found.entry.dn);
        assert!(ad.groups_of(&found.entry).await.is_ok());
    }
    let ldap = directory(&lab.ldap());
    let jane = login(&ldap, "jane", PASSWORD).await.unwrap();
    assert!(jane.entry.dn.to_lowercase().starts_with("cn=doe\\2c jane,ou=people"), "{}", jane.entry.dn);
    assert_eq!(ldap.groups_of(&jane.entry).await.unwrap().iter().count(), 0);
}

#[tokio::test]
async fn c089_who_is_renamed_and_moved_stays_the_same_and_a_newcomer_is_another() {
    let Some(lab) = lab() else { return };
    let _shared = lab.shared().await;
    let directory = directory(&lab.ad());
    let before = login(&directory, "mover", PASSWORD).await.unwrap().entry;
    lab.controller(
        "ldif",
        "dn: CN=Mover,OU=Staff,DC=example,DC=test\n\
         changetype: modify\n\
         replace: sAMAccountName\n\
         sAMAccountName: married\n\
         -\n\
         replace: userPrincipalName\n\
         userPrincipalName: married@example.test\n\
         \n\
         dn: CN=Mover,OU=Staff,DC=example,DC=test\n\
         changetype: modrdn\n\
         newrdn: CN=Married\n\
         deleteoldrdn: 1\n\
         newsuperior: OU=Moved,DC=example,DC=test\n\
         \n\
         dn: CN=Mover,OU=Staff,DC=example,DC=test\n\
         changetype: add\n\
         objectClass: user\n\
         sAMAccountName: mover\n\
         userPrincipalName: mover@example.test\n",
    )
    .await;
    let after = login(&directory, "married", PASSWORD).await.unwrap().entry;
    assert_eq!(after.id, before.id);
    assert_ne!(after.dn, before.dn);
    assert_eq!(directory.find_by_id(&before.id).await.unwrap().as_ref(), Some(&after));
    // What was read before the move still leads to the groups.
    assert!(directory.groups_of(&before).await.unwrap().iter().any(|group| group.name == "Domain Users"));
    let newcomer = directory.lookup("mover").await.unwrap();
    assert_ne!(newcomer.id, before.id);
}

#[tokio::test]
async fn an_entry_outside_of_the_base_is_not_there() {
    let Some(lab) = lab() else { return };
    let _shared = lab.shared().await;
    let mut config = lab.ad();
    config.base_dn = "ou=staff,dc=EXAMPLE,dc=test".to_owned();
    let directory = directory(&config);
    assert_eq!(directory.lookup("alice").await, Err(LookupError::Unknown));
    let jane = directory.lookup("jane").await.unwrap();
    // Groups are elsewhere in the domain, and found.
    assert!(directory.groups_of(&jane).await.unwrap().iter().any(|group| group.name == "Domain Users"));
}

#[tokio::test]
async fn two_entries_with_one_name_are_nobody() {
    let Some(lab) = lab() else { return };
    let mut config = lab.ldap();
    config.mail_login = true;
    let ldap = directory(&config);
    for typed in ["twin", "TWIN", "twin@example.test", "alice@mail.test"] {
        assert_eq!(refusal(login(&ldap, typed, PASSWORD).await), Refusal::NameAmbiguous, "{typed}");
    }
    for typed in ["many1", "MANY1", " many1", "EXAMPLE\\many1"] {
        assert_eq!(ldap.lookup(typed).await.unwrap().names.login(), Some("many1"), "{typed}");
    }
}
