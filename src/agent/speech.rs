//! Text read aloud by OpenAI's or ElevenLabs' service: one POST each, the audio straight into a file. Blocking.
//!
//! ```text
//! let spoken = speech::convert(&Ask { speech: &config.speech, env: &env, … })?;   // the file, who read it, and its format
//! ```
//!
//! The services that have a key are tried one after the other, the chosen one first. Nothing here waits longer than `timeoutMs` for each.
use super::error::{ErrorKind, TurnError};
use super::http::{self, Patience, Post, Wire};
use crate::base::cancel::Cancel;
use crate::base::files;
use crate::base::limits::{SPEECH_KEPT_MS, SPEECHES_KEPT_MAX};
use crate::base::secret::Secret;
use crate::config::{Env, OpenAi, SERVICES, Service, Speech};
use crate::wire::proxy::Proxies;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};

/// What services are said to offer, for those who choose.
pub const OPENAI_MODELS: &[&str] = &["gpt-4o-mini-tts", "tts-1", "tts-1-hd"];
/// See [`OPENAI_MODELS`].
pub const OPENAI_VOICES: &[&str] =
    &["alloy", "ash", "coral", "echo", "fable", "onyx", "nova", "sage", "shimmer"];
/// See [`OPENAI_MODELS`].
pub const ELEVENLABS_MODELS: &[&str] =
    &["eleven_multilingual_v2", "eleven_turbo_v2_5", "eleven_monolingual_v1"];
/// The reference's voice.
const ELEVENLABS_VOICE: &str = "pMsXgVXv3BLzUgSXRplE";

/// What is to be read.
pub struct Ask<'a> {
    pub speech: &'a Speech,
    pub env: &'a Env,
    pub proxies: &'a Proxies,
    /// Who is asked first.
    pub first: Service,
    pub text: &'a str,
    /// As a voice message: Opus; else MP3.
    pub as_voice: bool,
    /// Where the audio goes: a folder of nothing else.
    pub dir: &'a Path,
    /// The file's name without its ending; those of later files sort behind it.
    pub name: &'a str,
    pub now_ms: i64,
}

/// Audio.
pub struct Spoken {
    pub path: PathBuf,
    pub service: Service,
    /// The service's own name for it.
    pub format: &'static str,
}

/// The key to a service: the file's, else the environment's.
pub fn key(speech: &Speech, env: &Env, service: Service) -> Option<Secret> {
    let (own, names): (_, &[&str]) = match service {
        Service::OpenAi => (&speech.openai.key, &["OPENAI_API_KEY"]),
        Service::ElevenLabs => (&speech.elevenlabs.key, &["ELEVENLABS_API_KEY", "XI_API_KEY"]),
        Service::Edge => return None,
    };
    let set = |name: &&str| env.get(name).map(str::trim).filter(|it| !it.is_empty());
    own.clone().or_else(|| names.iter().find_map(set).map(|it| Secret::new(it.to_owned())))
}

/// All services, the given one first.
pub fn order(first: Service) -> impl Iterator<Item = Service> {
    let others = SERVICES.iter().map(|it| it.1).filter(move |it| *it != first);
    std::iter::once(first).chain(others)
}

/// Has a text read. Files of earlier texts go after five minutes.
///
/// # Errors
/// A sentence: why no service did it, or that the file cannot be written. There is no file then.
pub fn convert(ask: &Ask) -> Result<Spoken, String> {
    let chars = ask.text.encode_utf16().count();
    if chars > ask.speech.chars_max {
        return Err(format!("Text too long ({chars} chars, max {})", ask.speech.chars_max));
    }
    sweep(ask);
    let mut failures = vec![];
    for service in order(ask.first) {
        let Some(key) = key(ask.speech, ask.env, service) else { continue };
        match speak(ask, service, &key) {
            Ok(spoken) => return Ok(spoken),
            Err(reason) => failures.push(reason),
        }
    }
    if failures.is_empty() {
        failures.push(
            "no service has a key; set messages.tts.openai.apiKey or OPENAI_API_KEY, or messages.tts.elevenlabs.apiKey or \
             ELEVENLABS_API_KEY (the edge service is not available here)"
                .to_owned(),
        );
    }
    Err(format!("TTS conversion failed: {}", failures.join("; ")))
}

fn speak(ask: &Ask, service: Service, key: &Secret) -> Result<Spoken, String> {
    let (post, format) = request(ask, service, key)?;
    let patience = Patience { total_ms: ask.speech.timeout_ms, ..Patience::default() };
    let told = |err: TurnError| told(service, &err);
    let wire = Wire::new(patience, ask.proxies.clone());
    let mut audio = http::post(&post, &wire, &Cancel::new()).map_err(told)?;
    if audio.media_type.starts_with("application/json") || audio.media_type.starts_with("text/") {
        return Err(format!(
            "{} answers with {} where audio was asked for",
            service.word(),
            audio.media_type
        ));
    }
    let path = ask.dir.join(format!("{}.{}", ask.name, if ask.as_voice { "opus" } else { "mp3" }));
    let unwritten = |err: std::io::Error| format!("cannot write {}: {err}", path.display());
    files::make_dir(ask.dir).map_err(unwritten)?;
    let mut file = files::create_new(&path).map_err(unwritten)?;
    let written = (|| {
        let (mut part, mut total) = (vec![0; 16 * 1024], 0);
        loop {
            match audio.read(&mut part).map_err(told)? {
                0 if total == 0 => return Err(format!("{} sent no audio", service.word())),
                0 => return Ok(()),
                n => {
                    file.write_all(&part[..n]).map_err(unwritten)?;
                    total += n;
                }
            }
        }
    })();
    if let Err(reason) = written {
        // Half of it is of use to nobody, and the error that matters is already in hand.
        let _ = files::remove(&path);
        return Err(reason);
    }
    Ok(Spoken { path, service, format })
}

fn request(ask: &Ask, service: Service, key: &Secret) -> Result<(Post, &'static str), String> {
    let (format, post) = match service {
        Service::OpenAi => {
            let format = if ask.as_voice { "opus" } else { "mp3" };
            (format, openai(ask, &ask.speech.openai, key, format))
        }
        _ => {
            let format = if ask.as_voice { "opus_48000_64" } else { "mp3_44100_128" };
            (format, elevenlabs(ask, key, format)?)
        }
    };
    Ok((post, format))
}

fn openai(ask: &Ask, own: &OpenAi, key: &Secret, format: &str) -> Post {
    let base = ask.env.get("OPENAI_TTS_BASE_URL").map(str::trim).filter(|it| !it.is_empty());
    let body = json!({
        "model": own.model.as_deref().unwrap_or(OPENAI_MODELS[0]),
        "input": ask.text,
        "voice": own.voice.as_deref().unwrap_or(OPENAI_VOICES[0]),
        "response_format": format,
    });
    let bearer = ("authorization", format!("Bearer {}", key.expose()));
    let base = base.unwrap_or("https://api.openai.com/v1").trim_end_matches('/');
    post(format!("{base}/audio/speech"), bearer, &body)
}

fn elevenlabs(ask: &Ask, key: &Secret, format: &str) -> Result<Post, String> {
    let own = &ask.speech.elevenlabs;
    let voice = own.voice_id.as_deref().unwrap_or(ELEVENLABS_VOICE);
    // It becomes part of an address.
    if !(10..=40).contains(&voice.len()) || !voice.bytes().all(|it| it.is_ascii_alphanumeric()) {
        return Err("messages.tts.elevenlabs.voiceId is not an id: 10 to 40 letters and digits".to_owned());
    }
    let mut body = json!({
        "text": ask.text,
        "model_id": own.model_id.as_deref().unwrap_or(ELEVENLABS_MODELS[0]),
        // The reference's defaults.
        "voice_settings": {
            "stability": own.stability.unwrap_or(0.5),
            "similarity_boost": own.similarity_boost.unwrap_or(0.75),
            "style": own.style.unwrap_or(0.0),
            "use_speaker_boost": own.use_speaker_boost.unwrap_or(true),
            "speed": own.speed.unwrap_or(1.0),
        },
    });
    let optional = [
        ("seed", own.seed.map(Value::from)),
        ("apply_text_normalization", own.text_normalization.clone().map(Value::from)),
        ("language_code", own.language.clone().map(Value::from)),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            body[name] = value;
        }
    }
    let base = own.base_url.as_deref().unwrap_or("https://api.elevenlabs.io").trim_end_matches('/');
    let url = format!("{base}/v1/text-to-speech/{voice}?output_format={format}");
    Ok(post(url, ("xi-api-key", key.expose().to_owned()), &body))
}

fn post(url: String, (name, value): (&str, String), body: &Value) -> Post {
    let headers = vec![
        (name.to_owned(), value),
        ("content-type".to_owned(), "application/json".to_owned()),
        ("accept".to_owned(), "audio/*".to_owned()),
    ];
    Post { url, headers, body: body.to_string().into_bytes() }
}

fn told(service: Service, err: &TurnError) -> String {
    let name = service.word();
    let what = match err.kind {
        ErrorKind::Auth => {
            let variable = if service == Service::OpenAi { "OPENAI_API_KEY" } else { "ELEVENLABS_API_KEY" };
            format!("the key is refused, check messages.tts.{name}.apiKey or {variable}")
        }
        ErrorKind::Billing => "the account has no credit".to_owned(),
        ErrorKind::RateLimit { .. } | ErrorKind::Overloaded => {
            "no more for now, try again in a minute".to_owned()
        }
        ErrorKind::Timeout(_) => "request timed out".to_owned(),
        ErrorKind::Network => "cannot be reached".to_owned(),
        _ => "refused".to_owned(),
    };
    let status = err.status.map(|it| format!(", HTTP {it}")).unwrap_or_default();
    let reason = if err.reason.is_empty() { String::new() } else { format!(" ({})", err.reason) };
    format!("{name}: {what}{status}{reason}")
}

/// Nobody tells when a file has been heard: the old ones go when a new one comes.
fn sweep(ask: &Ask) {
    let names = files::names(ask.dir);
    let surplus = (names.len() + 1).saturating_sub(SPEECHES_KEPT_MAX);
    for (n, name) in names.iter().enumerate() {
        let path = ask.dir.join(name);
        if n < surplus || files::modified_ms(&path) + SPEECH_KEPT_MS < ask.now_ms {
            // Best effort: the next one tries again.
            let _ = files::remove(&path);
        }
    }
}
