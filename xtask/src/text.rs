//! Texts that must be true of the tree, and texts that must not be in it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::command::{output, root};
use crate::deps::crates;

/// Split, so that this file does not find itself.
const FORBIDDEN: &[(&str, &str, &str)] = &[
    ("/wo", "rk/", "a path of one machine"),
    ("/ro", "ot/", "a path of one machine"),
    ("/Us", "ers/", "a path of one machine"),
    ("../sh", "ared", "outside of the repository"),
    ("registry.n", "pmjs.org", "a registry is known to its client, not to us"),
    ("static.cra", "tes.io", "a registry is known to its client, not to us"),
    ("index.cra", "tes.io", "a registry is known to its client, not to us"),
    ("py", "pi.org", "a registry is known to its client, not to us"),
    ("deb.deb", "ian.org", "a registry is known to its client, not to us"),
];

/// Binary or made by tools.
fn skipped(path: &str) -> bool {
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    path == "Cargo.lock" || matches!(extension, "png" | "bin" | "ico" | "woff2")
}

pub(crate) fn check() -> Result<()> {
    let root = root()?;
    let mut faults = Vec::new();

    let architecture = fs::read_to_string(root.join("ARCHITECTURE.md")).context("ARCHITECTURE.md")?;
    for name in crates()? {
        let role = name.strip_prefix("countersign-").unwrap_or(&name);
        if !architecture.contains(&format!("| `{role}` |")) {
            faults.push(format!("ARCHITECTURE.md has no line for `{role}` in its table of crates"));
        }
    }

    let files = output("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?;
    for path in files.split('\0').filter(|path| !path.is_empty() && !skipped(path)) {
        // A file may be removed and the removal not yet committed, or not be text.
        let Ok(text) = fs::read_to_string(root.join(path)) else { continue };
        faults.extend(forbidden(path, &text));
    }

    if faults.is_empty() {
        println!("texts: all well");
        return Ok(());
    }
    bail!("texts to mend:\n  {}", faults.join("\n  "));
}

fn forbidden(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (head, tail, why) in FORBIDDEN {
            let needle = format!("{head}{tail}");
            if line.contains(&needle) {
                faults.push(format!("{path}:{}: `{needle}`: {why}", number + 1));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forbidden_text_is_found_with_its_line() {
        let text = format!("fine\nsee /wo{}main\n", "rk/");
        assert_eq!(forbidden("a.md", &text), [format!("a.md:2: `/wo{}`: a path of one machine", "rk/")]);
        assert!(forbidden("a.md", "cargo, pip and npm by name; ./work").is_empty());
    }
}
