//! Replays what fuzzing found, and what we thought of ourselves, against the oracles.

use std::{fs, io, panic::catch_unwind, path::Path};

use countersign_device_protocol::oracles;

/// Hands every file of a folder to the oracle, and gives back how many there were and which ones break a law.
fn replay(name: &str, oracle: fn(&[u8])) -> io::Result<(usize, Vec<String>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/fuzz_regression").join(name);
    let (mut replayed, mut broken) = (0, Vec::new());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let octets = fs::read(&path)?;
        if catch_unwind(|| oracle(&octets)).is_err() {
            broken.push(path.display().to_string());
        }
        replayed += 1;
    }
    Ok((replayed, broken))
}

#[test]
fn s113_device_text() {
    let (replayed, broken) = replay("device_text", oracles::device_text).expect("the folder is there");
    assert!(replayed > 0, "the folder is empty");
    assert_eq!(broken, [""; 0]);
}

#[test]
fn s113_device_proof() {
    let (replayed, broken) = replay("device_proof", oracles::device_proof).expect("the folder is there");
    assert!(replayed > 0, "the folder is empty");
    assert_eq!(broken, [""; 0]);
}

#[test]
fn s113_device_message() {
    let (replayed, broken) = replay("device_message", oracles::device_message).expect("the folder is there");
    assert!(replayed > 0, "the folder is empty");
    assert_eq!(broken, [""; 0]);
}
