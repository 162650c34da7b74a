//! Groups: in each other, primary ones, unknown ones.

use countersign_directory::{Directory, DirectoryError, Entry, Groups, Membership};

use crate::support::{directory, lab};

async fn is_in(directory: &Directory, entry: &Entry, group: &str) -> Result<Option<Membership>, DirectoryError> {
    let mut answers = directory.memberships(entry, &[group.to_owned()]).await?;
    assert_eq!(answers.len(), 1);
    Ok(answers.remove(0))
}

fn names(groups: &Groups) -> Vec<&str> {
    groups.iter().map(|group| group.name.as_str()).collect()
}

#[tokio::test]
async fn c079_groups_in_groups_and_the_primary_group_count() {
    let Some(lab) = lab() else { return };
    let _shared = lab.shared().await;
    let directory = directory(&lab.ad());
    let alice = directory.lookup("alice").await.unwrap();
    let groups = directory.groups_of(&alice).await.unwrap();
    assert_eq!(names(&groups), ["Domain Users", "GG-All", "GG-MFA", "GG-RDP", "Users"]);
    let primary = directory.lookup("primary").await.unwrap();
    let of_primary = directory.groups_of(&primary).await.unwrap();
    assert!(names(&of_primary).contains(&"GG-Primary"), "{of_primary:?}");
    for (entry, group, membership) in [
        (&alice, "GG-RDP", Membership::Member),
        (&alice, "gg-all", Membership::Member),
        (&alice, "EXAMPLE\\GG-MFA", Membership::Member),
        (&alice, "CN=GG-All,CN=Users,DC=example,DC=test", Membership::Member),
        (&alice, "cn=gg-all, cn=users, dc=example, dc=test", Membership::Member),
        (&alice, "Domain Users", Membership::Member),
        (&alice, "S-1-5-32-545", Membership::Member),
        (&alice, "GG-Other", Membership::NotMember),
        (&alice, "GG-Primary", Membership::NotMember),
        (&primary, "GG-Primary", Membership::Member),
        (&primary, "GG-RDP", Membership::NotMember),
    ] {
        assert_eq!(is_in(&directory, entry, group).await, Ok(Some(membership)), "{group}");
    }
    let mfa = directory.group("GG-MFA").await.unwrap();
    assert!(groups.contains(&mfa.id) && mfa.id.as_str().starts_with("S-1-5-21-"));
}

#[tokio::test]
async fn c115_a_group_that_is_not_there_is_an_error_and_not_an_outside() {
    let Some(lab) = lab() else { return };
    let _shared = lab.shared().await;
    for (config, groups) in [
        (
            lab.ad(),
            &[
                "GG-None",
                "GG-*",
                "",
                "OTHER\\GG-RDP",
                "CN=GG-None,CN=Users,DC=example,DC=test",
                "S-1-5-21-1-2-3-4",
                "alice",
            ][..],
        ),
        (lab.ldap(), &["none", "*", "cn=none,ou=groups,dc=example,dc=test", "uid=alice,ou=people,dc=example,dc=test"]),
    ] {
        let directory = directory(&config);
        let alice = directory.lookup("alice").await.unwrap();
        for group in groups {
            assert_eq!(is_in(&directory, &alice, group).await, Ok(None), "{group}");
            let result = directory.group(group).await;
            assert!(matches!(result, Err(DirectoryError::NoSuchGroup(_))), "{group}: {result:?}");
        }
    }
}

#[tokio::test]
async fn groups_are_walked_where_the_directory_does_not() {
    let Some(lab) = lab() else { return };
    let directory = directory(&lab.ldap());
    let of = async |name: &str| {
        let entry = directory.lookup(name).await.unwrap();
        directory.groups_of(&entry).await
    };
    // `all` and `ring` are in each other.
    assert_eq!(names(&of("alice").await.unwrap()), ["all", "mfa", "rdp", "ring"]);
    assert_eq!(names(&of("bob").await.unwrap()), ["other"]);
    assert_eq!(names(&of("posix").await.unwrap()), ["posix-other", "posix-primary"]);
    let alice = directory.lookup("alice").await.unwrap();
    for (group, membership) in [
        ("all", Membership::Member),
        ("cn=RDP,ou=groups,dc=example,dc=test", Membership::Member),
        ("other", Membership::NotMember),
    ] {
        assert_eq!(is_in(&directory, &alice, group).await, Ok(Some(membership)), "{group}");
    }
    // Twenty deep: nothing is said, rather than that the last ones are not his.
    let mut config = lab.ldap();
    config.base_dn = "ou=people,dc=example,dc=test".to_owned();
    config.group_base_dn = Some("ou=groups,dc=example,dc=test".to_owned());
    let directory = crate::support::directory(&config);
    let twin = directory.lookup("twin").await.unwrap();
    assert!(matches!(directory.groups_of(&twin).await, Err(DirectoryError::TooMany { .. })));
}

#[tokio::test]
async fn many_groups_are_asked_about_at_once() {
    let Some(lab) = lab() else { return };
    let _shared = lab.shared().await;
    let (yes, no) = (Some(Membership::Member), Some(Membership::NotMember));
    for (config, groups, answers) in [
        (
            lab.ad(),
            &["GG-None", "gg-rdp", "GG-Other", "CN=GG-All,CN=Users,DC=example,DC=test", "S-1-5-32-545", "gg-rdp"][..],
            [None, yes, no, yes, yes, yes],
        ),
        (
            lab.ldap(),
            &["none", "RDP", "other", "cn=all,ou=groups,dc=example,dc=test", "mfa", "cn=x,dc=x"],
            [None, yes, no, yes, yes, None],
        ),
    ] {
        let directory = directory(&config);
        let alice = directory.lookup("alice").await.unwrap();
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        assert_eq!(directory.memberships(&alice, &groups).await, Ok(answers.to_vec()), "{groups:?}");
    }
}
