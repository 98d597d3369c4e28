//! Wake words: what a listening device reacts to.
use crate::base::limits::{WAKE_WORD_CHARS_MAX, WAKE_WORDS_MAX};
use crate::gateway::Core;
use crate::gateway::events::{self, WakeWords};
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::scope::Access;
use crate::store::settings;
use serde_json::Value;

pub const METHODS: &[Method] = &[Method::of::<VoicewakeGet>(), Method::of::<VoicewakeSet>()];

/// Reference defaults: its apps are trained on them.
const DEFAULTS: [&str; 3] = ["openclaw", "claude", "computer"];

enum VoicewakeGet {}
impl Rpc for VoicewakeGet {
    const NAME: &'static str = "voicewake.get";
    const ACCESS: Access = Access::Read;
    type Params = Value;
    type Reply = WakeWords;
    fn call(core: &mut Core, _: Call, _: Value) -> RpcResult<Answer<WakeWords>> {
        Ok(Answer::Now(WakeWords { triggers: core.wake_words.clone() }))
    }
}

/// Stored before it is acknowledged, then told to everybody.
enum VoicewakeSet {}
impl Rpc for VoicewakeSet {
    const NAME: &'static str = "voicewake.set";
    const ACCESS: Access = Access::Write;
    type Params = Value;
    type Reply = WakeWords;
    fn call(core: &mut Core, call: Call, params: Value) -> RpcResult<Answer<WakeWords>> {
        let words = params["triggers"]
            .as_array()
            .ok_or_else(|| RpcError::invalid("voicewake.set requires triggers: string[]"))?;
        let triggers = clean(words);
        let (state, stored) = (core.world.paths.state.clone(), triggers.clone());
        Ok(Answer::write(
            move || settings::save_wake_words(&state, &stored, call.now.unix_ms),
            move |core, _| {
                core.wake_words.clone_from(&triggers);
                let reply = WakeWords { triggers };
                core.broadcast(&events::VOICEWAKE_CHANGED, &reply);
                Ok(reply)
            },
        ))
    }
}

/// Trimmed, without blanks and what is no text, at most 32 of 64 characters; the defaults when nothing is left.
pub fn clean(words: &[Value]) -> Vec<String> {
    let texts = words.iter().filter_map(Value::as_str).map(str::trim).filter(|it| !it.is_empty());
    let words: Vec<String> =
        texts.take(WAKE_WORDS_MAX).map(|it| it.chars().take(WAKE_WORD_CHARS_MAX).collect()).collect();
    if words.is_empty() { DEFAULTS.map(str::to_owned).to_vec() } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn cleaning() {
        let words = serde_json::json!([" hey ", "", 5, "x".repeat(99)]);
        let got = clean(words.as_array().unwrap());
        assert_eq!((got[0].as_str(), got[1].len(), got.len()), ("hey", WAKE_WORD_CHARS_MAX, 2));
        assert_eq!(clean(&[]), DEFAULTS);
    }
}
