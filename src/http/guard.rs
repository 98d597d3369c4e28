//! The owner's requests: the shared secret as a bearer token, in a header and nowhere else.
use super::Asker;
use crate::base::clock::Now;
use crate::conn::answer::Answer;
use crate::conn::head::Head;
use crate::gateway::Core;
use crate::gateway::exchange::Unauthorized;
use serde_json::json;

/// RFC 6750 section 2.1: the token of `Authorization: Bearer …`.
pub fn bearer(head: &Head) -> Option<&str> {
    let (scheme, token) = head.header("authorization")?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()).filter(|it| !it.is_empty())
}

/// Only who knows the gateway's token or password.
///
/// # Errors
/// The answer: 401, or 429 with `Retry-After` after too many guesses.
pub fn owner(core: &mut Core, asker: &Asker, now: Now) -> Result<(), Answer> {
    core.check_secret(asker.peer, bearer(asker.head), now).map_err(refusal)?;
    core.authenticated(asker.conn);
    Ok(())
}

/// The refusal in the form that clients of these APIs read.
fn refusal(why: Unauthorized) -> Answer {
    match why {
        Unauthorized::Verdict(_) => {
            let error = json!({ "error": { "message": "Unauthorized", "type": "unauthorized" } });
            Answer::json(401, &error).with("WWW-Authenticate", "Bearer")
        }
        Unauthorized::Locked(ms) => {
            let seconds = ms.div_ceil(1000).to_string();
            let message = format!("too many wrong attempts, try again in {seconds} s");
            let error = json!({ "error": { "message": message, "type": "rate_limited" } });
            Answer::json(429, &error).with("Retry-After", &seconds)
        }
    }
}
