//! What a WebSocket peer may send: any cut gives the same messages and the same answers.
#![no_main]

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

libfuzzer_sys::fuzz_target!(|data: &[u8]| gatewayd_fuzz::any_cut(&[UPGRADE, data].concat()));
