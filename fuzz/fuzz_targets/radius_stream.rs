#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| countersign_radius::oracles::radius_stream(data));
