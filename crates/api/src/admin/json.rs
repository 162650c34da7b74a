//! JSON in and out: bodies are read strictly, and whatever could steer a terminal or a reader's eye is written as
//! `\uXXXX`, so that the text of a document is harmless wherever it is shown while its meaning stays (S101).

use std::io;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request, rejection::BytesRejection},
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE, request::Parts},
    response::{IntoResponse, Response},
};
use countersign_domain::{HostileText, Secret};
use serde::{Deserialize as _, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::ser::{CharEscape, Formatter, Serializer};

use super::problem::{AdminCode, AdminProblem};

/// Whether a character prints as itself and changes nothing around it.
pub fn is_harmless(c: char) -> bool {
    c.is_ascii_graphic()
        || c == ' '
        || (!c.is_ascii() && {
            let mut buffer = [0; 4];
            let text: &str = c.encode_utf8(&mut buffer);
            HostileText::from(text).to_string() == text
        })
}

/// Writes JSON without line ends, and without a character that is not harmless.
#[derive(Default)]
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if fragment.bytes().all(|octet| octet.is_ascii_graphic() || octet == b' ') {
            return writer.write_all(fragment.as_bytes());
        }
        for c in fragment.chars() {
            if is_harmless(c) {
                writer.write_all(c.encode_utf8(&mut [0; 4]).as_bytes())?;
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + io::Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        serde_json::ser::CompactFormatter.write_char_escape(writer, escape)
    }
}

/// `value` as JSON on one line, harmless. Empty if it has no JSON form, which none of our types lacks.
pub fn to_vec(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::new();
    match value.serialize(&mut Serializer::with_formatter(&mut out, Harmless)) {
        Ok(()) => out,
        Err(_) => Vec::new(),
    }
}

/// An answer.
pub(crate) fn answer(status: StatusCode, value: &impl Serialize) -> Response {
    let mut response = (status, to_vec(value)).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer with what was asked for.
pub(crate) fn ok(value: &impl Serialize) -> Response {
    answer(StatusCode::OK, value)
}

/// A body: JSON with the members of `T` and no others.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = AdminProblem;

    async fn from_request(request: Request, state: &S) -> Result<Self, AdminProblem> {
        let octets = Bytes::from_request(request, state).await.map_err(|rejection| match rejection {
            BytesRejection::FailedToBufferBody(fault) if fault.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                AdminProblem::new(AdminCode::BodyTooLarge, "a body may have 65536 octets")
            }
            other => AdminProblem::new(AdminCode::Malformed, other.body_text()),
        })?;
        let octets: &[u8] = if octets.is_empty() { b"{}" } else { &octets };
        serde_json::from_slice(octets)
            .map(Self)
            .map_err(|fault| AdminProblem::new(AdminCode::Malformed, format!("the body: {fault}")))
    }
}

/// The query: the parameters of `T` and no others.
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = AdminProblem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, AdminProblem> {
        axum::extract::Query::<T>::try_from_uri(&parts.uri)
            .map(|query| Self(query.0))
            .map_err(|rejection| AdminProblem::new(AdminCode::Malformed, rejection.body_text()))
    }
}

/// A name in the path.
pub(crate) struct Name(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = AdminProblem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, AdminProblem> {
        axum::extract::Path::<String>::from_request_parts(parts, state)
            .await
            .map(|path| Self(path.0))
            .map_err(|rejection| AdminProblem::new(AdminCode::Malformed, rejection.body_text()))
    }
}

/// Reads a secret out of a body: a text, kept where it is wiped.
pub(crate) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(|text| Secret::new(text.into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s101_json_shows_nothing_that_steers_and_means_the_same() {
        for text in
            ["bob\n2026-11-25 ACCEPT alice", "\x1b[2J", "\u{202E}gnp.exe", "kölbel \\ \"x\"", "\u{E0041}", "\u{7f}"]
        {
            let shown = String::from_utf8(to_vec(&text)).unwrap();
            assert!(shown.chars().all(is_harmless), "{shown}");
            assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        }
        assert_eq!(to_vec(&"kölbel"), "\"kölbel\"".as_bytes());
    }
}
