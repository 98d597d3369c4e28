//! The typed form of `messages.tts`: text that is read aloud, by whom and in which voice.
use super::reader::{Node, Reader};
use crate::base::limits::{SPEECH_CHARS_MAX, SPEECH_MS};
use crate::base::secret::Secret;

/// `messages.tts`.
#[derive(Debug, Clone, Default)]
pub struct Speech {
    /// Which answers are read aloud: `auto`, or the older `enabled`.
    pub auto: Option<Auto>,
    pub service: Option<Service>,
    /// As written.
    pub prefs_path: Option<String>,
    /// Of one text, in UTF-16 units as the reference counts.
    pub chars_max: usize,
    /// For one request to a service.
    pub timeout_ms: u64,
    pub openai: OpenAi,
    pub elevenlabs: ElevenLabs,
}

/// Which answers are read aloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Auto {
    Off,
    Always,
    /// Those to a voice message.
    Inbound,
    /// Those that ask for it.
    Tagged,
}

/// The words for [`Auto`] in files.
pub const AUTOS: &[(&str, Auto)] =
    &[("off", Auto::Off), ("always", Auto::Always), ("inbound", Auto::Inbound), ("tagged", Auto::Tagged)];

/// Who reads. Microsoft's service for Edge has no published interface: its name is kept for those who share the file, but it is not
/// spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    OpenAi,
    ElevenLabs,
    Edge,
}

/// The words for [`Service`], in the order in which they are tried.
pub const SERVICES: &[(&str, Service)] =
    &[("openai", Service::OpenAi), ("elevenlabs", Service::ElevenLabs), ("edge", Service::Edge)];

#[derive(Debug, Clone, Default)]
pub struct OpenAi {
    pub key: Option<Secret>,
    pub model: Option<String>,
    pub voice: Option<String>,
}

/// What is not set is left to the service, or is the reference's.
#[derive(Debug, Clone, Default)]
pub struct ElevenLabs {
    pub key: Option<Secret>,
    pub base_url: Option<String>,
    pub voice_id: Option<String>,
    pub model_id: Option<String>,
    pub seed: Option<u64>,
    pub text_normalization: Option<String>,
    pub language: Option<String>,
    pub stability: Option<f64>,
    pub similarity_boost: Option<f64>,
    pub style: Option<f64>,
    pub use_speaker_boost: Option<bool>,
    pub speed: Option<f64>,
}

pub(super) fn speech(at: &Node, r: &mut Reader) -> Speech {
    let older = r.boolean(at.at("enabled")).map(|it| if it { Auto::Always } else { Auto::Off });
    Speech {
        auto: r.word(at.at("auto"), AUTOS).or(older),
        service: r.word(at.at("provider"), SERVICES),
        prefs_path: filled(r.string(at.at("prefsPath"))),
        chars_max: r
            .integer(at.at("maxTextLength"), 1, u32::MAX.into())
            .map_or(SPEECH_CHARS_MAX, |it| it as usize),
        timeout_ms: r.integer(at.at("timeoutMs"), 1_000, 120_000).unwrap_or(SPEECH_MS),
        openai: OpenAi {
            key: filled(r.string(at.at("openai.apiKey"))).map(Secret::new),
            model: filled(r.string(at.at("openai.model"))),
            voice: filled(r.string(at.at("openai.voice"))),
        },
        elevenlabs: elevenlabs(&at.at("elevenlabs"), r),
    }
}

fn elevenlabs(at: &Node, r: &mut Reader) -> ElevenLabs {
    ElevenLabs {
        key: filled(r.string(at.at("apiKey"))).map(Secret::new),
        base_url: filled(r.string(at.at("baseUrl"))),
        voice_id: filled(r.string(at.at("voiceId"))),
        model_id: filled(r.string(at.at("modelId"))),
        seed: r.integer(at.at("seed"), 0, u32::MAX.into()),
        text_normalization: filled(r.string(at.at("applyTextNormalization"))),
        language: filled(r.string(at.at("languageCode"))),
        stability: r.number(at.at("voiceSettings.stability")),
        similarity_boost: r.number(at.at("voiceSettings.similarityBoost")),
        style: r.number(at.at("voiceSettings.style")),
        use_speaker_boost: r.boolean(at.at("voiceSettings.useSpeakerBoost")),
        speed: r.number(at.at("voiceSettings.speed")),
    }
}

fn filled(text: Option<String>) -> Option<String> {
    text.map(|it| it.trim().to_owned()).filter(|it| !it.is_empty())
}

impl Auto {
    pub fn of_word(word: &str) -> Option<Auto> {
        AUTOS.iter().find(|it| it.0 == word).map(|it| it.1)
    }
    pub fn word(self) -> &'static str {
        AUTOS.iter().find(|it| it.1 == self).map_or("", |it| it.0)
    }
}

impl Service {
    pub fn of_word(word: &str) -> Option<Service> {
        SERVICES.iter().find(|it| it.0 == word).map(|it| it.1)
    }
    pub fn word(self) -> &'static str {
        SERVICES.iter().find(|it| it.1 == self).map_or("", |it| it.0)
    }
}
