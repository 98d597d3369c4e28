//! A chunked body: any cut decodes the same, nothing over the cap, nothing read behind the end.
#![no_main]
use gatewayd::conn::body::Body;
use gatewayd::conn::head::Content;

const BODY_MAX: u64 = 300;

/// What was used, what came of it, and the status of a refusal.
fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Option<Vec<u8>>, usize, Option<u16>) {
    let mut body = Body::new(Content::Chunked, BODY_MAX).expect("no length is announced");
    let (mut held, mut used) = (vec![], 0);
    for piece in pieces {
        held.extend_from_slice(piece);
        match body.feed(&held[used..]) {
            Ok(n) => used += n,
            Err(refusal) => return (None, 0, Some(refusal.status)),
        }
    }
    let done = body.is_done();
    let bytes = body.into_bytes();
    assert!(bytes.len() as u64 <= BODY_MAX && bytes.len() <= used);
    (done.then_some(bytes), if done { used } else { 0 }, None)
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let whole = decode([data].into_iter());
    assert_eq!(decode(data.chunks(1)), whole);
    if let (Some(_), used, _) = whole {
        assert_eq!(decode([&data[..used]].into_iter()), whole);
        assert!(data[..used].ends_with(b"\r\n\r\n"));
    }
});
