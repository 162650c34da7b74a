//! What people and scripts read: the only place of the program that writes to its standard output and error.

use std::io::{self, Write};

use countersign_api::admin::{AdminProblem, is_harmless, to_vec};
use serde::Serialize;
use serde_json::{Value, json};

/// Why a command ends without success.
pub(crate) enum Failure {
    /// The server refused.
    Problem(Box<AdminProblem>),
    /// The program could not do it.
    Local {
        /// For scripts.
        code: &'static str,
        /// For people.
        fault: anyhow::Error,
    },
    /// Everything has been said already.
    Reported,
}

impl Failure {
    /// In words.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Problem(problem) => problem.detail.clone(),
            Self::Local { fault, .. } => format!("{fault:#}"),
            Self::Reported => String::new(),
        }
    }
}

impl From<AdminProblem> for Failure {
    fn from(problem: AdminProblem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(fault: anyhow::Error) -> Self {
        Self::Local { code: "failed", fault }
    }
}

/// How a command answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether scripts read it.
    pub(crate) const fn is_json(self) -> bool {
        self.json
    }

    /// One JSON document.
    pub(crate) fn document(self, value: &impl Serialize) {
        let mut line = to_vec(value);
        line.push(b'\n');
        self.raw(&line);
    }

    /// Octets that are harmless already.
    #[expect(clippy::unused_self, reason = "called like the others")]
    pub(crate) fn raw(self, octets: &[u8]) {
        put(&mut io::stdout().lock(), octets);
    }

    /// A line.
    pub(crate) fn line(self, text: &str) {
        self.raw(format!("{}\n", harmless(text)).as_bytes());
    }

    /// Lines with their ends; used for what the program draws itself.
    pub(crate) fn drawing(self, text: &str) {
        self.raw(text.as_bytes());
    }

    /// A line beside the answer.
    #[expect(clippy::unused_self, reason = "called like the others")]
    pub(crate) fn aside(self, text: &str) {
        put(&mut io::stderr().lock(), format!("{}\n", harmless(text)).as_bytes());
    }

    /// What goes on, on a line of the terminal that the next one takes the place of.
    #[expect(clippy::unused_self, reason = "called like the others")]
    pub(crate) fn status(self, text: &str) {
        put(&mut io::stderr().lock(), format!("\r\x1b[K{}", harmless(text)).as_bytes());
    }

    /// Rows under a head; only `empty` where there are none.
    pub(crate) fn table(self, head: &[&str], rows: &[Vec<String>], empty: &str) {
        if rows.is_empty() {
            return self.line(empty);
        }
        let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
        let all: Vec<Vec<String>> =
            std::iter::once(&head).chain(rows).map(|row| row.iter().map(|cell| harmless(cell)).collect()).collect();
        let widths: Vec<usize> = (0..head.len())
            .map(|column| {
                all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let mut out = String::new();
        for row in &all {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()).saturating_add(2)));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        self.raw(out.as_bytes());
    }

    /// Names and values, one to a line.
    pub(crate) fn facts(self, facts: &[(&str, String)]) {
        let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, value) in facts {
            self.line(&format!("{name:width$}  {value}"));
        }
    }

    /// Why a command failed.
    pub(crate) fn failure(self, failure: &Failure) {
        match failure {
            Failure::Reported => {}
            Failure::Problem(problem) if self.json => self.error_document(problem),
            Failure::Problem(problem) => self.aside(&format!("error: {}", problem.detail)),
            Failure::Local { code, fault } if self.json => {
                self.error_document(&local_problem(code, &format!("{fault:#}")));
            }
            Failure::Local { fault, .. } => self.aside(&format!("error: {fault:#}")),
        }
    }

    #[expect(clippy::unused_self, reason = "called like the others")]
    fn error_document(self, value: &impl Serialize) {
        let mut line = to_vec(value);
        line.push(b'\n');
        put(&mut io::stderr().lock(), &line);
    }
}

/// A problem of the command itself (RFC 9457).
pub(crate) fn local_problem(code: &str, detail: &str) -> Value {
    json!({"type": "about:blank", "title": "The command failed", "code": code, "detail": detail})
}

/// Whoever reads may have gone: that is no fault of the command.
fn put(to: &mut impl Write, octets: &[u8]) {
    let _gone = to.write_all(octets).and_then(|()| to.flush());
}

/// `text` on one line, without anything that steers a terminal or the reader's eye (S101).
pub(crate) fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmless(c) {
            out.push(c);
        } else {
            out.extend(c.escape_unicode());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s101_nothing_that_steers_gets_out() {
        assert_eq!(harmless("bob\n\x1b[2J\u{202E}x"), "bob\\u{a}\\u{1b}[2J\\u{202e}x");
        assert_eq!(harmless("kölbel \\u{a}"), "kölbel \\u{a}");
    }
}
