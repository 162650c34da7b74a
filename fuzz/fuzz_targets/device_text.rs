#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| countersign_device_protocol::oracles::device_text(data));
