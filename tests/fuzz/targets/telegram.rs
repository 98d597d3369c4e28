//! What Telegram brings, and who is heard.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| gatewayd_fuzz::telegram(data));
