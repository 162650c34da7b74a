//! Replays what fuzzing found, and what we thought of ourselves, against the oracles.

use std::panic::catch_unwind;
use std::path::Path;
use std::{fs, io};

use countersign_radius::oracles;

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
fn s44_c072_radius_packet() {
    let (replayed, broken) = replay("radius_packet", oracles::radius_packet).expect("the folder is there");
    assert!(replayed > 0, "the folder is empty");
    assert_eq!(broken, [""; 0]);
}

#[test]
fn s48_radius_stream() {
    let (replayed, broken) = replay("radius_stream", oracles::radius_stream).expect("the folder is there");
    assert!(replayed > 0, "the folder is empty");
    assert_eq!(broken, [""; 0]);
}

#[test]
fn s45_radius_table() {
    let (replayed, broken) = replay("radius_table", oracles::radius_table).expect("the folder is there");
    assert!(replayed > 0, "the folder is empty");
    assert_eq!(broken, [""; 0]);
}

#[test]
fn s55_reply_attribute() {
    let (replayed, broken) = replay("reply_attribute", oracles::reply_attribute).expect("the folder is there");
    assert!(replayed > 0, "the folder is empty");
    assert_eq!(broken, [""; 0]);
}

#[test]
fn s42_upstream_reply() {
    let (replayed, broken) = replay("upstream_reply", oracles::upstream_reply).expect("the folder is there");
    assert!(replayed > 0, "the folder is empty");
    assert_eq!(broken, [""; 0]);
}

#[test]
fn s108_upstream_table() {
    let (replayed, broken) = replay("upstream_table", oracles::upstream_table).expect("the folder is there");
    assert!(replayed > 0, "the folder is empty");
    assert_eq!(broken, [""; 0]);
}

#[test]
fn c050_c075_eap_message() {
    let (replayed, broken) = replay("eap_message", oracles::eap_message).expect("the folder is there");
    assert!(replayed > 0, "the folder is empty");
    assert_eq!(broken, [""; 0]);
}
