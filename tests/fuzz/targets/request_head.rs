//! A request head: httparse is at most as strict as we are, both see the same words, and any cut gives the same.
#![no_main]
use gatewayd::conn::head;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    gatewayd_fuzz::any_cut(data);
    let Ok(Some(end)) = head::end(data, 0) else { return };
    assert!(data[..end].ends_with(b"\r\n\r\n"));
    let Ok(head) = head::parse(&data[..end]) else { return };
    let mut lines = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut lines);
    assert_eq!(request.parse(&data[..end]), Ok(httparse::Status::Complete(end)));
    assert_eq!(request.method, Some(head.method.as_str()));
    assert_eq!(request.version, Some(u8::from(!head.http10)));
    assert_eq!(request.headers.len(), head.headers.len());
    assert!(head.path.starts_with('/') || head.path == "*" || head.method == "CONNECT");
    assert!(!head.path.contains(char::is_control));
});
