//! Every parser with as many inputs as are asked for: libFuzzer over the targets of `fuzz/`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, bail};

use crate::command::{root, run};

/// What libFuzzer calls the number of inputs at its end.
const EXECUTED: &str = "stat::number_of_executed_units:";

/// Hands `inputs` inputs to each target whose name contains `only`, and says how each fared.
pub(crate) fn soak(inputs: u64, only: &str) -> Result<()> {
    let root = root()?;
    let targets: Vec<String> = targets(&root)?.into_iter().filter(|target| target.contains(only)).collect();
    if targets.is_empty() {
        bail!("no target in fuzz/fuzz_targets has {only:?} in its name");
    }
    run("cargo", &["fuzz", "build", "--sanitizer=none"])
        .context("the fuzz targets cannot be built (is cargo-fuzz there? `cargo install --locked cargo-fuzz`)")?;
    println!("{:<20} {:>12} {:>8} {:>10} {:>8}", "target", "inputs", "seconds", "a second", "crashes");
    let mut broken = Vec::new();
    for target in &targets {
        #[expect(clippy::disallowed_methods, reason = "a tool that says how long something took")]
        let begun = Instant::now();
        let (executed, held) = run_target(&root, target, inputs)?;
        let seconds = begun.elapsed().as_secs();
        let rate = executed.checked_div(seconds.max(1)).unwrap_or_default();
        println!("{target:<20} {executed:>12} {seconds:>8} {rate:>10} {:>8}", u8::from(!held));
        if !held {
            broken.push(target.as_str());
        }
    }
    if !broken.is_empty() {
        bail!(
            "a law is broken in {}: the inputs are in fuzz/artifacts, and fuzz/README.md says what to do",
            broken.join(", ")
        );
    }
    Ok(())
}

/// How many inputs were tried, and whether all of them held. At the first that does not, libFuzzer stops.
fn run_target(root: &Path, target: &str, inputs: u64) -> Result<(u64, bool)> {
    let corpus = root.join("fuzz/corpus").join(target);
    fs::create_dir_all(&corpus).with_context(|| format!("{} cannot be made", corpus.display()))?;
    let output = Command::new("cargo")
        .current_dir(root)
        .args(["fuzz", "run", "--sanitizer=none", target])
        .arg(corpus)
        .args(seeds(root, target)?)
        .args(["--", "-timeout=5", "-print_final_stats=1"])
        .args([format!("-runs={inputs}"), format!("-max_len={}", longest(target))])
        .output()
        .context("cannot run cargo fuzz")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let executed = executed(&said);
    let held = output.status.success();
    if !held {
        let tail: Vec<&str> = said.lines().rev().take(60).collect();
        println!("{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
    }
    match executed {
        Some(executed) if !held || executed >= inputs => Ok((executed, held)),
        None if !held => Ok((0, held)),
        _ => bail!("{target} ended before it had {inputs} inputs"),
    }
}

/// The names of the targets, in order.
fn targets(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("fuzz/fuzz_targets");
    let mut found = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            found.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
        }
    }
    found.sort();
    Ok(found)
}

/// The inputs that are kept for this target in the crates.
fn seeds(root: &Path, target: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join("crates"))? {
        let folder = entry?.path().join("testdata/fuzz_regression").join(target);
        if folder.is_dir() {
            found.push(folder);
        }
    }
    Ok(found)
}

/// The longest input, in octets. A datagram may have 4096; texts are short; a table is compared with a plain list, and each
/// attribute is looked up by name, which are slow where there are many.
fn longest(target: &str) -> usize {
    match target {
        "radius_table" | "upstream_table" => 150,
        "reply_attribute" => 100,
        "configuration" | "device_message" => 1500,
        "device_proof" => 700,
        "device_text" | "hostile_text" => 300,
        _ => 4200,
    }
}

fn executed(said: &str) -> Option<u64> {
    let line = said.lines().rev().find_map(|line| line.strip_prefix(EXECUTED))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_inputs_is_read() {
        assert_eq!(executed("#7 DONE\nstat::number_of_executed_units: 10000001\nstat::x: 3\n"), Some(10_000_001));
        assert_eq!(executed("==1== ERROR: libFuzzer: deadly signal\n"), None);
    }

    #[test]
    fn every_target_is_built_and_has_inputs_that_are_kept() {
        let root = root().unwrap();
        let manifest = fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
        let readme = fs::read_to_string(root.join("fuzz/README.md")).unwrap();
        let targets = targets(&root).unwrap();
        assert!(targets.len() >= 6, "{targets:?}");
        for target in targets {
            assert!(manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")), "{target}: fuzz/Cargo.toml");
            assert!(readme.contains(&format!("| `{target}` |")), "{target}: fuzz/README.md");
            assert!(!seeds(&root, &target).unwrap().is_empty(), "{target}: no testdata/fuzz_regression");
        }
    }
}
