//! Replays what fuzzing found, and what we thought of ourselves, against the oracles.

use std::fs;
use std::path::Path;

use countersign_radius::oracles;

fn replay(name: &str, oracle: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/fuzz_regression").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut replayed = 0;
    for entry in entries {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        oracle(&fs::read(path).unwrap());
        replayed += 1;
    }
    assert!(replayed > 0, "{} is empty", folder.display());
}

#[test]
fn s44_c072_radius_packet() {
    replay("radius_packet", oracles::radius_packet);
}

#[test]
fn s45_radius_table() {
    replay("radius_table", oracles::radius_table);
}
