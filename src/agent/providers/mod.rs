//! The languages of model servers: each turns a request into bytes and bytes into deltas, without a socket; one driver moves them.
//!
//! A new language is a file with a `Language` and a word in [`Api`].
mod anthropic;
mod ollama;
mod openai_completions;
mod openai_responses;
mod parrot;
#[cfg(test)]
mod tests;

use super::error::{ErrorKind, TurnError};
use super::http::{self, Arriving, Post, Wire};
use super::lines::Lines;
use super::model::{Delta, Done, TurnRequest};
use super::refusal;
use super::sse::Sse;
use crate::base::cancel::Cancel;
use crate::base::ids;
use crate::base::secret::Secret;
use serde_json::Value;

/// What a provider speaks; the words of `models.providers.*.api`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    OpenaiCompletions,
    OpenaiResponses,
    AnthropicMessages,
    Ollama,
    /// The model inside this program.
    Parrot,
}

impl Api {
    pub const ALL: [Api; 5] =
        [Api::OpenaiCompletions, Api::OpenaiResponses, Api::AnthropicMessages, Api::Ollama, Api::Parrot];
    pub fn word(self) -> &'static str {
        match self {
            Api::OpenaiCompletions => "openai-completions",
            Api::OpenaiResponses => "openai-responses",
            Api::AnthropicMessages => "anthropic-messages",
            Api::Ollama => "ollama",
            Api::Parrot => "builtin",
        }
    }
    pub fn of_word(word: &str) -> Option<Api> {
        Api::ALL.into_iter().find(|it| it.word() == word)
    }
    /// None for the one that needs no server.
    fn language(self) -> Option<&'static dyn Language> {
        match self {
            Api::OpenaiCompletions => Some(&openai_completions::Completions),
            Api::OpenaiResponses => Some(&openai_responses::Responses),
            Api::AnthropicMessages => Some(&anthropic::Messages),
            Api::Ollama => Some(&ollama::Ollama),
            Api::Parrot => None,
        }
    }
}

/// A model at its server, with all that a call needs.
#[derive(Debug, Clone)]
pub struct Target {
    pub api: Api,
    /// The provider's name, for people.
    pub provider: String,
    pub base_url: String,
    pub key: Option<Secret>,
    /// The key goes into `Authorization: Bearer`, also where the language has a header of its own.
    pub bearer: bool,
    /// Sent with every request; they win over ours.
    pub headers: Vec<(String, String)>,
    /// The model can think.
    pub reasoning: bool,
    /// Tokens.
    pub context_window: Option<u64>,
    /// Tokens of one answer.
    pub max_tokens: Option<u64>,
    /// `models.providers.*.models[].compat` as written.
    pub compat: Value,
}

trait Language: Sync {
    /// Below the base URL.
    fn path(&self) -> &'static str;
    fn framing(&self) -> Framing;
    /// The headers that carry the key and the version; `content-type` is there already.
    fn headers(&self, target: &Target) -> Vec<(&'static str, String)>;
    fn body(&self, target: &Target, request: &TurnRequest) -> Value;
    fn decoder(&self) -> Box<dyn Decode>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Sse,
    /// A JSON text a line.
    Lines,
}

/// One answer being read.
trait Decode {
    fn event(&mut self, event: Value, out: &mut Vec<Delta>) -> Result<(), TurnError>;
    /// How it ended; None while it has not.
    fn done(&self) -> Option<Done>;
    /// What the end of the stream means when the server did not announce it.
    fn end(&mut self, out: &mut Vec<Delta>) -> Option<Done> {
        let _ = out;
        self.done()
    }
}

/// One call from question to the end of the answer; blocks.
///
/// # Errors
/// As [`http::post`], or an answer that is not understood. Deltas may have been given before.
pub fn run(
    target: &Target,
    request: &TurnRequest,
    wire: &Wire,
    cancel: &Cancel,
    sink: &mut dyn FnMut(Delta),
) -> Result<Done, TurnError> {
    let Some(language) = target.api.language() else { return parrot::run(request, cancel, sink) };
    let mut arriving = http::post(&encode(language, target, request), wire, cancel)?;
    refuse_unstreamed(language.framing(), &mut arriving)?;
    let (mut reader, mut out, mut buffer) =
        (Reader::new(language, ids::token(&mut ids::os_entropy())), vec![], [0; 16 * 1024]);
    loop {
        let n = arriving.read(&mut buffer)?;
        let done =
            if n == 0 { Some(reader.end(&mut out)) } else { reader.push(&buffer[..n], &mut out).transpose() };
        give(&mut out, sink);
        if let Some(done) = done {
            return done;
        }
    }
}

/// Words that arrived together are told together: what each step costs behind the sink does not depend on how many they are.
fn give(out: &mut Vec<Delta>, sink: &mut dyn FnMut(Delta)) {
    let mut words = String::new();
    for delta in out.drain(..) {
        if let Delta::Text(more) = delta {
            words.push_str(&more);
            continue;
        }
        if !words.is_empty() {
            sink(Delta::Text(std::mem::take(&mut words)));
        }
        sink(delta);
    }
    if !words.is_empty() {
        sink(Delta::Text(words));
    }
}

fn encode(language: &dyn Language, target: &Target, request: &TurnRequest) -> Post {
    let base = target.base_url.trim_end_matches('/');
    // People write it with the version or without; for these two it stands in the path, or is wrong.
    let versioned = language.path().starts_with("/v1/") || language.path().starts_with("/api/");
    let base = base.strip_suffix("/v1").filter(|_| versioned).unwrap_or(base);
    let ours = [("content-type", "application/json".to_owned())].into_iter().chain(language.headers(target));
    let theirs = |name: &str| target.headers.iter().any(|it| it.0.eq_ignore_ascii_case(name));
    let ours = ours.filter(|it| !theirs(it.0)).map(|(name, value)| (name.to_owned(), value));
    let headers = ours.chain(target.headers.iter().cloned()).collect();
    let body = language.body(target, request).to_string().into_bytes();
    Post { url: format!("{base}{}", language.path()), headers, body }
}

/// `Authorization: Bearer`, when there is a key.
fn bearer(target: &Target) -> Option<(&'static str, String)> {
    target.key.as_ref().map(|key| ("authorization", format!("Bearer {}", key.expose())))
}

/// A page or a whole JSON text where a stream was asked for.
fn refuse_unstreamed(framing: Framing, arriving: &mut Arriving) -> Result<(), TurnError> {
    if refusal::is_html(&arriving.media_type, b"") {
        return Err(web_page());
    }
    if framing == Framing::Sse && arriving.media_type.starts_with("application/json") {
        let body = arriving.whole()?;
        let error = crate::protocol::json::parse(&body).ok().and_then(|it| refusal::of_event(&it));
        return Err(error.unwrap_or_else(|| TurnError::protocol("it does not stream its answer")));
    }
    Ok(())
}

fn web_page() -> TurnError {
    TurnError::protocol("a web page instead of a model's answer")
}

/// Bytes in, deltas out.
struct Reader {
    frames: Frames,
    decoder: Box<dyn Decode>,
    /// Something other than white space has arrived.
    begun: bool,
    /// Begins the ids of tool calls that come without one: they must differ in a whole conversation.
    mark: String,
}

enum Frames {
    Sse(Sse),
    Lines(Lines),
}

impl Reader {
    fn new(language: &dyn Language, mark: String) -> Reader {
        let frames = match language.framing() {
            Framing::Sse => Frames::Sse(Sse::default()),
            Framing::Lines => Frames::Lines(Lines::default()),
        };
        Reader { frames, decoder: language.decoder(), begun: false, mark }
    }
    fn push(&mut self, bytes: &[u8], out: &mut Vec<Delta>) -> Result<Option<Done>, TurnError> {
        let known = out.len();
        let done = self.frames(bytes, out);
        self.name_calls(&mut out[known..]);
        done
    }
    fn end(&mut self, out: &mut Vec<Delta>) -> Result<Done, TurnError> {
        let known = out.len();
        let done = self.last_frame(out);
        self.name_calls(&mut out[known..]);
        done
    }
    fn name_calls(&self, fresh: &mut [Delta]) {
        for it in fresh {
            if let Delta::ToolStart { index, id, .. } = it
                && id.is_empty()
            {
                *id = format!("call_{}_{index}", self.mark);
            }
        }
    }
    fn frames(&mut self, bytes: &[u8], out: &mut Vec<Delta>) -> Result<Option<Done>, TurnError> {
        if !self.begun {
            if refusal::is_html("", bytes) {
                return Err(web_page());
            }
            self.begun = !bytes.trim_ascii().is_empty();
        }
        let decoder = &mut *self.decoder;
        match &mut self.frames {
            Frames::Sse(sse) => sse.push(bytes, |_, data| decode(decoder, data, out))?,
            Frames::Lines(lines) => lines.push(bytes, |line| decode(decoder, line, out))?,
        }
        Ok(self.decoder.done())
    }
    fn last_frame(&mut self, out: &mut Vec<Delta>) -> Result<Done, TurnError> {
        let decoder = &mut *self.decoder;
        let rest = match &mut self.frames {
            Frames::Sse(sse) => std::mem::take(sse).end(|_, data| decode(decoder, data, out)),
            Frames::Lines(lines) => decode(decoder, &std::mem::take(lines).rest(), out),
        };
        // Half an event is what a cut leaves, no mistake of the language.
        if let Err(err) = rest.as_ref()
            && err.kind != ErrorKind::Protocol
        {
            rest?;
        }
        let text = if self.begun { "the answer ended early" } else { "an empty answer" };
        self.decoder.end(out).ok_or_else(|| TurnError::new(ErrorKind::Network, text))
    }
}

fn decode(decoder: &mut dyn Decode, data: &[u8], out: &mut Vec<Delta>) -> Result<(), TurnError> {
    let data = data.trim_ascii();
    // Some servers go on talking behind the end.
    if data.is_empty() || decoder.done().is_some() {
        return Ok(());
    }
    // The only event of these languages that is no JSON.
    let event = if data == b"[DONE]" {
        Value::from("[DONE]")
    } else {
        crate::protocol::json::parse(data)
            .map_err(|err| TurnError::protocol(format!("no JSON in its stream: {err}")))?
    };
    decoder.event(event, out)
}

/// The text at `name`, when there is any.
fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name).and_then(Value::as_str).filter(|it| !it.is_empty())
}

/// The count at a `/path/of/names`; 0 when there is none.
fn count(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}
