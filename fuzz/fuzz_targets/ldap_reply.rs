#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| countersign_directory::oracles::ldap_reply(data));
