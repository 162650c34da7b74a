#![no_main]

#[expect(dead_code, reason = "the program uses the rest")]
#[path = "../../crates/countersign/src/config.rs"]
mod config;

libfuzzer_sys::fuzz_target!(|data: &[u8]| config::oracle::configuration(data));
