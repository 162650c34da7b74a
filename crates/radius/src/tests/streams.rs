//! Packets in a stream.

use proptest::prelude::*;

use crate::{FrameError, Framer};

fn packet(fill: u8, length: usize) -> Vec<u8> {
    let mut packet = vec![fill; length];
    packet[2..4].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
    packet
}

/// Everything that comes out of a stream that comes in such pieces, and the fault at its end.
fn cut(pieces: &[&[u8]]) -> (Vec<Vec<u8>>, Option<FrameError>) {
    let (mut framer, mut out) = (Framer::new(), Vec::new());
    for piece in pieces {
        framer.push(piece);
        loop {
            match framer.next_packet() {
                Ok(Some(packet)) => out.push(packet.to_vec()),
                Ok(None) => break,
                Err(fault) => return (out, Some(fault)),
            }
        }
    }
    (out, None)
}

#[test]
fn s48_lengths_that_no_packet_has_end_the_stream() {
    for length in [0, 1, 19, 4097, 65_535_u16] {
        let [high, low] = length.to_be_bytes();
        let good = packet(1, 20);
        let stream = [&good[..], &[1, 1, high, low]].concat();
        let fault = FrameError { length: length.into() };
        assert_eq!(cut(&[&stream]), (vec![good], Some(fault)));
    }
    for length in [20, 4096] {
        let one = packet(1, length);
        assert_eq!(cut(&[&one]), (vec![one.clone()], None));
    }
}

#[test]
fn after_a_fault_nothing_comes_out_and_nothing_is_kept() {
    let mut framer = Framer::new();
    framer.push(&[1, 1, 0, 0]);
    assert!(framer.next_packet().is_err());
    framer.push(&packet(1, 20));
    assert_eq!(framer.next_packet(), Err(FrameError { length: 0 }));
    assert!(!framer.is_within_packet());
}

#[test]
fn half_a_packet_is_owed() {
    let (mut framer, whole) = (Framer::new(), packet(7, 30));
    assert!(!framer.is_within_packet());
    framer.push(&whole[..3]);
    assert_eq!(framer.next_packet(), Ok(None));
    assert!(framer.is_within_packet());
    framer.push(&whole[3..]);
    assert_eq!(framer.next_packet(), Ok(Some(&whole[..])));
    assert!(!framer.is_within_packet());
}

proptest! {
    /// However the network cuts it, the same packets come out, and what is kept in between is bounded.
    #[test]
    fn the_pieces_in_which_a_stream_comes_do_not_matter(
        lengths in prop::collection::vec(20_usize..=4096, 0..8),
        cuts in prop::collection::vec(1_usize..5000, 0..40),
        end in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let packets: Vec<_> = (0_u8..).zip(&lengths).map(|(fill, length)| packet(fill, *length)).collect();
        let stream = [packets.concat(), end].concat();
        let mut pieces = Vec::new();
        let mut rest = &stream[..];
        for at in cuts {
            let (piece, after) = rest.split_at(at.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        let (out, fault) = cut(&pieces);
        prop_assert_eq!(&out, &packets);
        prop_assert_eq!((out, fault), cut(&[&stream]));
    }
}
