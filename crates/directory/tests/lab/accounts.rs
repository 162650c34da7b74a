//! Passwords and the states of accounts.

use countersign_directory::{AuthError, DirectoryError, Refusal};
use countersign_domain::Secret;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{PASSWORD, Relay, directory, lab, login, refusal};

#[tokio::test]
async fn s62_c034_each_state_of_an_account_is_told_apart() {
    let Some(lab) = lab() else { return };
    let _shared = lab.shared().await;
    let directory = directory(&lab.ad());
    for (name, right) in [
        ("disabled", Refusal::Disabled),
        ("expired", Refusal::AccountExpired),
        ("mustchange", Refusal::MustChange),
        ("pwexpired", Refusal::PasswordExpired),
        ("hours", Refusal::Hours),
    ] {
        assert_eq!(refusal(login(&directory, name, PASSWORD).await), right, "{name}");
        // Whoever does not know the password learns nothing of the state, and nor do we.
        assert_eq!(refusal(login(&directory, name, "wrong").await), Refusal::WrongPassword, "{name}");
    }
    let Err(AuthError::Refused { entry: Some(entry), .. }) = login(&directory, "disabled", PASSWORD).await else {
        panic!("no entry beside the refusal");
    };
    assert!(entry.state.disabled && entry.names.login() == Some("disabled"));
    for _ in 0..3 {
        assert_eq!(refusal(login(&directory, "locked", "wrong").await), Refusal::WrongPassword);
    }
    assert_eq!(refusal(login(&directory, "locked", PASSWORD).await), Refusal::Locked);
    assert!(directory.lookup("locked").await.unwrap().state.locked);
    assert_eq!(refusal(login(&directory, "nobody", PASSWORD).await), Refusal::NameUnknown);
    let right = login(&directory, "carol", PASSWORD).await.unwrap();
    assert_eq!(right.entry.state.refusal(), None);
    assert_eq!(refusal(login(&directory, "carol", "passw0rd-1").await), Refusal::WrongPassword);
}

#[tokio::test]
async fn s62_a_password_policy_outside_of_active_directory_is_heard_too() {
    let Some(lab) = lab() else { return };
    let directory = directory(&lab.ldap());
    assert!(login(&directory, "alice", PASSWORD).await.is_ok());
    for (name, right) in [
        // The server accepts this bind with result 0 and says beside it that the password must be changed; the attribute
        // that says so too is hidden from the service account.
        ("reset", Refusal::MustChange),
        ("aged", Refusal::PasswordExpired),
        ("locked", Refusal::Locked),
        ("nopassword", Refusal::WrongPassword),
    ] {
        assert_eq!(refusal(login(&directory, name, PASSWORD).await), right, "{name}");
    }
    assert_eq!(refusal(login(&directory, "aged", "wrong").await), Refusal::WrongPassword);
    assert_eq!(directory.lookup("reset").await.unwrap().state.refusal(), None);
    assert_eq!(refusal(login(&directory, "alice", "wrong").await), Refusal::WrongPassword);
    assert_eq!(refusal(login(&directory, "nobody", PASSWORD).await), Refusal::NameUnknown);
}

#[tokio::test]
async fn s56_c030_c060_an_empty_password_reaches_no_server() {
    let Some(lab) = lab() else { return };
    let _shared = lab.shared().await;
    // This server says yes to a name without a password: version 3, a DN, nothing.
    let mut plain = TcpStream::connect(("127.0.0.1", lab.slapd("PLAIN_PORT"))).await.unwrap();
    let dn = b"uid=alice,ou=people,dc=example,dc=test";
    let bind = [&[0x30, 50, 2, 1, 1, 0x60, 45, 2, 1, 3, 4, 38], &dn[..], &[0x80, 0]].concat();
    plain.write_all(&bind).await.unwrap();
    let mut answer = [0; 14];
    plain.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, [0x30, 12, 2, 1, 1, 0x61, 7, 0x0a, 1, 0, 4, 0, 4, 0], "result 0");

    for (mut config, port, scheme) in
        [(lab.ldap(), lab.slapd("LDAP_PORT"), "ldap"), (lab.ad(), lab.samba("LDAPS_PORT"), "ldaps")]
    {
        let relay = Relay::to(port).await;
        config.servers = vec![relay.url(scheme)];
        let directory = directory(&config);
        for password in ["", "\0", "\0\0\0\0", "\0Passw0rd-1", "\u{ad}", "\u{200b}\u{feff}"] {
            assert_eq!(refusal(login(&directory, "alice", password).await), Refusal::PasswordEmpty, "{password:?}");
        }
        let latin1 = directory.authenticate("alice", &Secret::new(b"caf\xe9".to_vec())).await;
        assert_eq!(refusal(latin1), Refusal::PasswordNotUtf8);
        assert_eq!((relay.connections(), relay.octets()), (0, 0));
        assert!(login(&directory, "alice", PASSWORD).await.is_ok());
        assert_eq!(relay.connections(), 2, "one that searches and one that binds");
    }
}

#[tokio::test]
async fn s57_without_the_service_account_nobody_comes_in() {
    let Some(lab) = lab() else { return };
    let _shared = lab.shared().await;
    for (mut config, port, scheme) in
        [(lab.ldap(), lab.slapd("LDAP_PORT"), "ldap"), (lab.ad(), lab.samba("LDAPS_PORT"), "ldaps")]
    {
        let relay = Relay::to(port).await;
        config.servers = vec![relay.url(scheme)];
        config.bind_name = config.bind_name.replace("svc", "not");
        let directory = directory(&config);
        let result = login(&directory, "alice", PASSWORD).await;
        assert!(
            matches!(&result, Err(AuthError::Directory(DirectoryError::ServiceAccount { code: 49, .. }))),
            "{result:?}"
        );
        // It is not tried again and again until the directory locks it.
        for _ in 0..5 {
            let result = login(&directory, "alice", PASSWORD).await;
            assert!(
                matches!(&result, Err(AuthError::Directory(DirectoryError::ServiceAccountRefused { .. }))),
                "{result:?}"
            );
        }
        assert_eq!(relay.connections(), 1);
    }
}

#[tokio::test]
async fn a_connection_that_binds_never_searches() {
    let Some(lab) = lab() else { return };
    let directory = directory(&lab.ldap());
    // Users may read nothing but themselves there: a search under the identity that a login left would find nobody.
    for name in ["alice", "bob", "mover", "alice", "many1", "jane"] {
        let result = login(&directory, name, PASSWORD).await;
        assert_eq!(result.is_ok(), name != "many1", "{name}: {result:?}");
        assert!(directory.lookup("bob").await.is_ok());
    }
}
