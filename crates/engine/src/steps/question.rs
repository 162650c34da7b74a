//! What a prompt says. Plain ASCII, so that every client can show it, and short enough for one Reply-Message.

use countersign_domain::Methods;

use crate::live::Binding;

pub(super) fn choice() -> String {
    "Type 1 to enter a number on your phone, or 2 to type a code from it:".to_owned()
}

/// Asks for a code: one that a request on the phone shows, one of the account list, or either.
pub(super) fn code(binding: &Binding, methods: Methods) -> String {
    match (binding, methods.totp) {
        (Binding::CodeToPhone(_), true) => {
            "Open countersign on your phone and type six digits: those that this request shows, or those of your account:"
        }
        (Binding::CodeToPhone(_), false) => "Open countersign on your phone and type the six digits that it shows:",
        _ => "Open countersign on your phone and type the six digits of your account:",
    }
    .to_owned()
}

/// After a wrong code, or one that was used before.
pub(super) fn another_code() -> String {
    "That code is not right. Type the six digits that your phone shows now:".to_owned()
}

/// Shows the number that is to be typed into the phone.
pub(super) fn number(binding: &Binding) -> String {
    format!("Enter {} in countersign on your phone, then press Enter here.", grouped(binding))
}

/// The same when the client would not wait any longer.
pub(super) fn number_again(binding: &Binding) -> String {
    format!("Not confirmed yet. Enter {} in countersign on your phone, then press Enter here.", grouped(binding))
}

/// The number was typed when the client would not wait any longer.
pub(super) fn confirmed() -> String {
    "Confirmed on your phone. Press Enter here.".to_owned()
}

fn grouped(binding: &Binding) -> String {
    let octets = binding.number().map(countersign_domain::Secret::expose).unwrap_or_default();
    let digits = String::from_utf8_lossy(octets);
    match digits.split_at_checked(3) {
        Some((front, back)) => format!("{front} {back}"),
        None => digits.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use countersign_domain::Secret;

    use super::*;

    #[test]
    fn every_question_fits_one_attribute_and_any_screen() {
        let methods = |totp| Methods { code_to_phone: true, typed: true, totp };
        let typed = Binding::Typed(Secret::new(b"042137".to_vec()));
        for text in [
            choice(),
            code(&Binding::CodeToPhone(None), methods(true)),
            code(&Binding::CodeToPhone(None), methods(false)),
            code(&Binding::None, methods(true)),
            another_code(),
            number(&typed),
            number_again(&typed),
            confirmed(),
        ] {
            assert!(text.is_ascii() && !text.contains(char::is_control) && text.len() <= 120, "{text}");
        }
        assert!(number(&typed).contains("042 137"));
    }
}
