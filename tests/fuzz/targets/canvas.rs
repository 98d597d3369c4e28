//! What a path of the canvas names, and which part of a file a request wants.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| gatewayd_fuzz::canvas(data));
