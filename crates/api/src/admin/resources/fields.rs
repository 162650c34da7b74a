//! The fields of a resource as words, and what of them goes together.

use core::time::Duration;

use countersign_domain::{
    Charset, Expects, HostileText, Methods, Policy, Primary, Resource, Retries, UserVerification,
};

use crate::admin::{AdminCode, AdminProblem, is_harmless};

pub(super) fn primary(word: &str) -> Result<Primary, AdminProblem> {
    Primary::from_word(word).ok_or_else(|| {
        AdminProblem::new(
            AdminCode::Malformed,
            format!("primary is local, directory, radius or none, not {}", HostileText::from(word)),
        )
    })
}

pub(super) const fn verification_word(asks: UserVerification) -> &'static str {
    match asks {
        UserVerification::None => "off",
        UserVerification::Preferred => "preferred",
        UserVerification::Required => "required",
    }
}

pub(super) fn verification(word: &str) -> Result<UserVerification, AdminProblem> {
    let all = [UserVerification::None, UserVerification::Preferred, UserVerification::Required];
    all.into_iter().find(|asks| verification_word(*asks) == word).ok_or_else(|| {
        let shown = HostileText::from(word);
        AdminProblem::new(AdminCode::Malformed, format!("user verification is off, preferred or required, not {shown}"))
    })
}

/// The ways of a prompt with their words.
const WAYS: [(&str, Methods); 3] = [
    ("code-to-phone", Methods { code_to_phone: true, typed: false, totp: false }),
    ("typed", Methods { code_to_phone: false, typed: true, totp: false }),
    ("totp", Methods { code_to_phone: false, typed: false, totp: true }),
];

pub(super) fn prompt_words(methods: Option<Methods>) -> Vec<String> {
    let Some(methods) = methods else { return Vec::new() };
    let on = WAYS.into_iter().filter(|(_, way)| {
        methods.code_to_phone && way.code_to_phone || methods.typed && way.typed || methods.totp && way.totp
    });
    on.map(|(word, _)| word.to_owned()).collect()
}

/// What may be asked at a prompt; nothing where no way is named.
pub(super) fn prompt(words: &[String]) -> Result<Option<Methods>, AdminProblem> {
    let mut all: Option<Methods> = None;
    for word in words {
        let Some((_, way)) = WAYS.into_iter().find(|(known, _)| known == word) else {
            let shown = HostileText::from(word.as_str());
            let text = format!("a prompt asks for code-to-phone, typed or totp, not {shown}");
            return Err(AdminProblem::new(AdminCode::Malformed, text));
        };
        let before = all.unwrap_or(Methods { code_to_phone: false, typed: false, totp: false });
        all = Some(Methods {
            code_to_phone: before.code_to_phone || way.code_to_phone,
            typed: before.typed || way.typed,
            totp: before.totp || way.totp,
        });
    }
    Ok(all)
}

/// Names of groups, each once.
pub(super) fn groups(named: Vec<String>) -> Result<Vec<String>, AdminProblem> {
    const MOST: usize = 32;
    let mut out: Vec<String> = Vec::new();
    for name in named {
        let name = group(&name)?;
        if !out.contains(&name) {
            out.push(name);
        }
    }
    if out.len() > MOST {
        let text = format!("{} groups are more than {MOST}: make one in the directory that has them", out.len());
        return Err(AdminProblem::new(AdminCode::NameInvalid, text));
    }
    Ok(out)
}

/// The name of a group.
pub(in crate::admin) fn group(name: &str) -> Result<String, AdminProblem> {
    let name = name.trim();
    if name.is_empty() || name.len() > 1024 || !name.chars().all(is_harmless) {
        let shown = HostileText::from(name);
        return Err(AdminProblem::new(AdminCode::NameInvalid, format!("{shown} is no name of a group")));
    }
    Ok(name.to_owned())
}

/// Who checks the password and where the users are must fit.
pub(super) fn goes_together(resource: &Resource) -> Result<(), AdminProblem> {
    let refuse = |detail| Err(AdminProblem::new(AdminCode::PrimaryRefused, detail));
    if resource.policy.windows && !resource.has_windows() {
        return refuse(
            "sign-in windows are for clients that have checked the password themselves and can show nothing: primary none, or \
             radius with --expects nothing, and no prompt",
        );
    }
    if resource.policy.ms_chap
        && (resource.primary != Primary::Radius || resource.policy.credential != Expects::Password)
    {
        return refuse(
            "only other RADIUS servers can check an MS-CHAP exchange: --ms-chap on is for --primary radius with --expects \
             password",
        );
    }
    if resource.policy.eap && (resource.primary != Primary::Radius || resource.policy.credential != Expects::Password) {
        return refuse(
            "EAP is for servers that check the first factor themselves: primary radius with --expects password",
        );
    }
    if resource.policy.prompt.is_some() && (resource.policy.ms_chap || resource.policy.eap) {
        return refuse(
            "whoever logs on by MS-CHAP or EAP sees no prompt and is asked for a tap alone, so that he who has a password could \
             choose to avoid the prompt: let those clients have a resource of their own, without --prompt",
        );
    }
    match (resource.primary, resource.directory) {
        (Primary::Directory, None) => refuse("primary directory needs one: --directory NAME"),
        (Primary::Local, Some(_)) => refuse(
            "primary local checks passwords of users who were added here, who are in no directory: with --directory it is \
             --primary directory, or --primary none where the client has checked the password",
        ),
        (Primary::Radius, _) if resource.upstream.is_none() => {
            refuse("primary radius needs the servers that check the password: --upstream NAME")
        }
        (Primary::Local | Primary::Directory | Primary::None, _)
            if resource.upstream.is_some() || resource.policy.credential != Expects::Password =>
        {
            refuse("--upstream and --expects are for --primary radius")
        }
        (_, None) if !resource.groups().is_empty() => refuse("groups are those of a directory: --directory NAME"),
        _ => Ok(()),
    }
}

pub(super) const fn expects_word(expects: Expects) -> &'static str {
    match expects {
        Expects::Password => "password",
        Expects::Nothing => "nothing",
    }
}

pub(super) fn expects(word: &str) -> Result<Expects, AdminProblem> {
    [Expects::Password, Expects::Nothing].into_iter().find(|expects| expects_word(*expects) == word).ok_or_else(|| {
        let shown = HostileText::from(word);
        AdminProblem::new(AdminCode::Malformed, format!("expects is password or nothing, not {shown}"))
    })
}

pub(super) fn retries(word: &str) -> Result<Retries, AdminProblem> {
    Retries::from_word(word).ok_or_else(|| {
        AdminProblem::new(AdminCode::Malformed, format!("retries is join or collide, not {}", HostileText::from(word)))
    })
}

pub(super) fn charset(word: &str) -> Result<Charset, AdminProblem> {
    Charset::from_word(word).ok_or_else(|| {
        AdminProblem::new(
            AdminCode::Malformed,
            format!("charset is utf-8 or windows-1252, not {}", HostileText::from(word)),
        )
    })
}

/// For how many seconds an approval lets in one further login.
pub(super) fn remember(seconds: u64) -> Result<u32, AdminProblem> {
    u32::try_from(seconds).ok().filter(|seconds| *seconds <= Policy::REMEMBER_MAX).ok_or_else(|| {
        AdminProblem::new(
            AdminCode::RememberRefused,
            format!("an approval is remembered for {} seconds at most, and for 0 not at all", Policy::REMEMBER_MAX),
        )
    })
}

pub(super) fn answer_by(seconds: u64) -> Result<Duration, AdminProblem> {
    let span = Duration::from_secs(seconds);
    if (Resource::ANSWER_BY_MIN..=Resource::ANSWER_BY_MAX).contains(&span) {
        return Ok(span);
    }
    Err(AdminProblem::new(
        AdminCode::AnswerByRefused,
        format!(
            "answer-by is {seconds} s: it must be from {} to {} seconds, and a little less than the client waits",
            Resource::ANSWER_BY_MIN.as_secs(),
            Resource::ANSWER_BY_MAX.as_secs()
        ),
    ))
}
