//! Bodies that are JSON.
use crate::conn::answer::Answer;
use crate::conn::head::Head;
use crate::protocol::json::parse;
use serde_json::{Value, json};

/// Nothing is unpacked here.
///
/// # Errors
/// 415.
pub fn check_plain(head: &Head) -> Result<(), Answer> {
    match head.header("content-encoding") {
        None if !head.has_header("content-encoding") => Ok(()),
        Some(it) if it.eq_ignore_ascii_case("identity") => Ok(()),
        _ => Err(Answer::text(415, "Unsupported Media Type: send the body as it is, not compressed")
            .with("Accept-Encoding", "identity")
            .closing()),
    }
}

/// An empty body is an empty object.
///
/// # Errors
/// What is wrong, in the reference's form.
pub fn json(body: &[u8]) -> Result<Value, String> {
    if body.trim_ascii().is_empty() {
        return Ok(json!({}));
    }
    parse(body).map_err(|err| format!("SyntaxError: {err}"))
}
