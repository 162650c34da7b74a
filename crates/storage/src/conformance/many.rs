//! Reads and commits of many logins in one go.

use countersign_domain::{Bypass, LimitScope, Limits, LoginName, UserId};

use super::{Backend, Maker, NOW, Secret, Write, at, commit, holds, peopled};
use crate::{CommitError, Wanted};

/// Whoever is wanted, by name or identifier, twice or not there at all, is answered in its place, as each alone.
pub async fn those_who_are_wanted_come_in_order(backend: &dyn Backend) {
    let super::Peopled { maker, store, user, .. } = peopled(backend).await;
    let corp = maker.directory("corp");
    // Somebody of the same name who was not added here.
    let twin = maker.user_of(&corp, "e1", user.name.as_str());
    holds(&*store, vec![Write::AddDirectory(Box::new(corp)), Write::AddUser(twin.clone())]).await;
    let mut wanted = vec![Wanted::Named(user.name.clone()), Wanted::User(twin.id)];
    let mut expected = vec![Some(user.id), Some(twin.id)];
    for number in 0..70 {
        let user = maker.user(&format!("User{number}"));
        let device = maker.device(user.id);
        let bypass = Bypass { until: at(9), reason: "r".to_owned(), issuer: "i".to_owned(), issued_at: NOW };
        let mut writes = vec![
            Write::AddUser(user.clone()),
            Write::AddDevice(Box::new(device.clone())),
            Write::AddDevice(Box::new(maker.device(user.id))),
            Write::SetLimits { scope: LimitScope::User(user.id), expected: 0, limits: Limits::default() },
            Write::BurnTotpStep { device: device.id, step: 3 },
        ];
        if number % 3 == 0 {
            writes.push(Write::SetBypass { user: user.id, bypass: Some(bypass) });
            writes.push(Write::SetChapSecret { user: user.id, secret: Some(Secret::new(b"x".to_vec())) });
        }
        holds(&*store, writes).await;
        wanted.push(Wanted::Named(LoginName::new(&format!("uSER{number}")).unwrap()));
        expected.push(Some(user.id));
    }
    let somebody = expected[5].unwrap();
    wanted.extend([
        Wanted::Named(LoginName::new("nobody").unwrap()),
        Wanted::User(UserId::new(NOW, maker.entropy())),
        Wanted::User(somebody),
        Wanted::User(somebody),
    ]);
    expected.extend([None, None, Some(somebody), Some(somebody)]);
    let found = store.look_up(&wanted).await.unwrap();
    assert_eq!(found.iter().map(|one| one.as_ref().map(|one| one.user.id)).collect::<Vec<_>>(), expected);
    for snapshot in found.into_iter().flatten() {
        let alone = store.snapshot(snapshot.user.id).await.unwrap().unwrap();
        assert_eq!(format!("{snapshot:?}"), format!("{alone:?}"));
    }
    assert!(store.look_up(&[]).await.unwrap().is_empty());
    store.close().await;
    assert!(store.look_up(&wanted).await.is_err());
}

/// Of commits that are handed in together each is judged after those before it.
pub async fn commits_handed_in_together_are_one_after_the_other(backend: &dyn Backend) {
    let (maker, store) = (Maker::default(), backend.open().await);
    let user = maker.user("alice");
    let device = maker.device(user.id);
    let burn = |step| commit(vec![Write::BurnTotpStep { device: device.id, step }]);
    let outcomes = store
        .commit_all(vec![
            burn(1),
            commit(vec![Write::AddUser(user.clone()), Write::AddDevice(Box::new(device.clone()))]),
            burn(1),
            burn(1),
            burn(2),
            commit(vec![Write::AddUser(maker.user("ALICE"))]),
            burn(3),
        ])
        .await;
    let held: Vec<_> = outcomes
        .iter()
        .map(|outcome| match outcome {
            Ok(()) => true,
            Err(CommitError::Conflict(0)) => false,
            Err(fault) => panic!("{fault}"),
        })
        .collect();
    assert_eq!(held, [false, true, true, false, true, false, true]);
    assert!(store.commit_all(Vec::new()).await.is_empty());
    store.close().await;
    let outcomes = store.commit_all(vec![burn(4), burn(5)]).await;
    assert!(matches!(outcomes[..], [Err(CommitError::Store(_)), Err(CommitError::Store(_))]));
}
