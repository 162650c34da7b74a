//! Room on disks, and how far something is that takes long.

use std::{io::IsTerminal as _, os::unix::fs::MetadataExt as _, path::Path};

use anyhow::{Result, bail};

use crate::output::Output;

/// What a copy leaves on the disk that the server writes to.
const LEFT: u64 = 64 << 20;

/// Octets that an ordinary account can still write where `path` is, and those that there are.
pub(crate) fn free(path: &Path) -> Option<(u64, u64)> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some((found.f_bavail.saturating_mul(found.f_frsize), found.f_blocks.saturating_mul(found.f_frsize)))
}

/// Whether a copy of so many octets has room at `to`, and leaves the server room if it is on the disk of its database.
pub(crate) fn for_copy(database: &Path, to: &Path, octets: u64) -> Result<()> {
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some((free, _)) = free(folder) else { return Ok(()) };
    let disk = |path: &Path| std::fs::metadata(path).map(|about| about.dev()).ok();
    let left = if disk(database).is_some_and(|one| Some(one) == disk(folder)) { LEFT } else { 0 };
    if free < octets.saturating_add(left) {
        let server = if left > 0 {
            format!(", and {} must be left, since the server writes to the same disk", size(left))
        } else {
            String::new()
        };
        bail!(
            "{} has room for {}: up to {} are needed{server}. Nothing was written; make room, or name a file on another disk",
            folder.display(),
            size(free),
            size(octets)
        );
    }
    Ok(())
}

/// So many octets, for people.
#[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "shown with one digit behind the point")]
pub(crate) fn size(octets: u64) -> String {
    let units = [("GB", 1_000_000_000_u64), ("MB", 1_000_000), ("kB", 1000)];
    match units.into_iter().find(|(_, unit)| octets >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", octets as f64 / unit as f64),
        None => format!("{octets} octets"),
    }
}

/// Tells people how far something is, on a line of its own that is written over.
pub(crate) struct Told {
    output: Output,
    what: &'static str,
    drawn: bool,
}

impl Told {
    pub(crate) fn new(output: Output, what: &'static str) -> Self {
        Self { output, what, drawn: false }
    }

    /// So many octets of so many.
    pub(crate) fn progress(&mut self, done: u64, all: u64) {
        if self.output.is_json() || !std::io::stderr().is_terminal() {
            return;
        }
        self.drawn = true;
        self.output.status(&format!("{} of {} {}", size(done.min(all)), size(all), self.what));
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if self.drawn {
            self.output.status("");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_in_the_unit_that_fits() {
        let told: Vec<_> = [0, 999, 1000, 1_500_000, 2_040_000_000].map(size).into();
        assert_eq!(told, ["0 octets", "999 octets", "1.0 kB", "1.5 MB", "2.0 GB"]);
    }

    #[test]
    fn a_copy_that_does_not_fit_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("db");
        std::fs::write(&database, "x").unwrap();
        for_copy(&database, &dir.path().join("copy"), 1000).unwrap();
        let refused = for_copy(&database, &dir.path().join("copy"), u64::MAX / 2).unwrap_err().to_string();
        assert!(refused.contains("Nothing was written") && refused.contains("same disk"), "{refused}");
    }
}
