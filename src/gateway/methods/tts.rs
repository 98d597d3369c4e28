//! Text read aloud: who reads and when is kept as preferences; `tts.convert` has a text read at once.
use crate::agent::speech::{self, Ask};
use crate::base::{files, ids};
use crate::config::{Auto, Service};
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::gateway::{Core, World};
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::scope::Access;
use crate::store::settings;
use serde::Serialize;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;

pub const METHODS: &[Method] = &[
    Method::of::<TtsStatus>(),
    Method::of::<TtsProviders>(),
    Method::of::<TtsEnable>(),
    Method::of::<TtsDisable>(),
    Method::of::<TtsConvert>(),
    Method::of::<TtsSetProvider>(),
];

/// Until a client may ask again when a text is being read.
const BUSY_RETRY_MS: u64 = 2_000;

/// `messages.tts.prefsPath`, `OPENCLAW_TTS_PREFS`, or `<state>/settings/tts.json`.
fn prefs_path(world: &World) -> PathBuf {
    let named = world.config.config.speech.prefs_path.as_deref().or(world.env.openclaw("TTS_PREFS"));
    match named {
        Some(it) => files::expand_home(it, &world.paths.home),
        None => world.paths.state.join("settings/tts.json"),
    }
}

/// What holds now: the preferences, then the configuration, then which keys there are. Reads a file.
fn settled(world: &World) -> Result<(Auto, Service), String> {
    let speech = &world.config.config.speech;
    let prefs = settings::speech_prefs(&prefs_path(world))?;
    let prefs = &prefs["tts"];
    let switched = || prefs["enabled"].as_bool().map(|it| if it { Auto::Always } else { Auto::Off });
    let auto = prefs["auto"].as_str().and_then(Auto::of_word).or_else(switched).or(speech.auto);
    let with_key = [Service::OpenAi, Service::ElevenLabs].into_iter();
    let mut with_key = with_key.filter(|it| is_configured(world, *it));
    let service = prefs["provider"].as_str().and_then(Service::of_word).or(speech.service);
    Ok((auto.unwrap_or(Auto::Off), service.or_else(|| with_key.next()).unwrap_or(Service::Edge)))
}

fn is_configured(world: &World, service: Service) -> bool {
    speech::key(&world.config.config.speech, &world.env, service).is_some()
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Status {
    enabled: bool,
    /// `off`, `always`, `inbound` or `tagged`.
    auto: &'static str,
    provider: &'static str,
    fallback_provider: Option<&'static str>,
    fallback_providers: Vec<&'static str>,
    prefs_path: String,
    #[serde(rename = "hasOpenAIKey")]
    has_openai_key: bool,
    has_eleven_labs_key: bool,
    /// Never: that service has no published interface.
    edge_enabled: bool,
}

enum TtsStatus {}
impl Rpc for TtsStatus {
    const NAME: &'static str = "tts.status";
    const ACCESS: Access = Access::Read;
    type Params = Value;
    type Reply = Status;
    fn call(core: &mut Core, _: Call, _: Value) -> RpcResult<Answer<Status>> {
        let world = core.world.clone();
        Ok(Answer::read(move || {
            let (auto, service) = settled(&world).map_err(RpcError::unavailable)?;
            let others = speech::order(service).skip(1).filter(|it| is_configured(&world, *it));
            let fallback_providers: Vec<&str> = others.map(Service::word).collect();
            Ok(Status {
                enabled: auto != Auto::Off,
                auto: auto.word(),
                provider: service.word(),
                fallback_provider: fallback_providers.first().copied(),
                fallback_providers,
                prefs_path: prefs_path(&world).display().to_string(),
                has_openai_key: is_configured(&world, Service::OpenAi),
                has_eleven_labs_key: is_configured(&world, Service::ElevenLabs),
                edge_enabled: is_configured(&world, Service::Edge),
            })
        }))
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Offer {
    id: &'static str,
    name: &'static str,
    /// It can be asked: there is a key.
    configured: bool,
    models: &'static [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    voices: Option<&'static [&'static str]>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Offers {
    providers: Vec<Offer>,
    active: &'static str,
}

enum TtsProviders {}
impl Rpc for TtsProviders {
    const NAME: &'static str = "tts.providers";
    const ACCESS: Access = Access::Read;
    type Params = Value;
    type Reply = Offers;
    fn call(core: &mut Core, _: Call, _: Value) -> RpcResult<Answer<Offers>> {
        let world = core.world.clone();
        Ok(Answer::read(move || {
            let active = settled(&world).map_err(RpcError::unavailable)?.1.word();
            let offer = |service: Service, name, models, voices| Offer {
                id: service.word(),
                name,
                configured: is_configured(&world, service),
                models,
                voices,
            };
            let providers = vec![
                offer(Service::OpenAi, "OpenAI", speech::OPENAI_MODELS, Some(speech::OPENAI_VOICES)),
                offer(Service::ElevenLabs, "ElevenLabs", speech::ELEVENLABS_MODELS, None),
                offer(Service::Edge, "Edge TTS", &[], None),
            ];
            Ok(Offers { providers, active })
        }))
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Enabled {
    enabled: bool,
}

fn set_auto(core: &Core, auto: Auto) -> Answer<Enabled> {
    let path = prefs_path(&core.world);
    Answer::write(
        move || settings::set_speech_pref(&path, "auto", auto.word()),
        move |_, _| Ok(Enabled { enabled: auto != Auto::Off }),
    )
}

enum TtsEnable {}
impl Rpc for TtsEnable {
    const NAME: &'static str = "tts.enable";
    const ACCESS: Access = Access::Write;
    type Params = Value;
    type Reply = Enabled;
    fn call(core: &mut Core, _: Call, _: Value) -> RpcResult<Answer<Enabled>> {
        Ok(set_auto(core, Auto::Always))
    }
}

enum TtsDisable {}
impl Rpc for TtsDisable {
    const NAME: &'static str = "tts.disable";
    const ACCESS: Access = Access::Write;
    type Params = Value;
    type Reply = Enabled;
    fn call(core: &mut Core, _: Call, _: Value) -> RpcResult<Answer<Enabled>> {
        Ok(set_auto(core, Auto::Off))
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Chosen {
    provider: &'static str,
}

enum TtsSetProvider {}
impl Rpc for TtsSetProvider {
    const NAME: &'static str = "tts.setProvider";
    const ACCESS: Access = Access::Write;
    type Params = Value;
    type Reply = Chosen;
    fn call(core: &mut Core, _: Call, params: Value) -> RpcResult<Answer<Chosen>> {
        let service = params["provider"]
            .as_str()
            .and_then(|it| Service::of_word(it.trim()))
            .ok_or_else(|| RpcError::invalid("Invalid provider. Use openai, elevenlabs, or edge."))?;
        let path = prefs_path(&core.world);
        Ok(Answer::write(
            move || settings::set_speech_pref(&path, "provider", service.word()),
            move |_, _| Ok(Chosen { provider: service.word() }),
        ))
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Converted {
    /// A file of this machine, for some minutes.
    audio_path: String,
    provider: &'static str,
    output_format: &'static str,
    /// It can be sent as a voice message.
    voice_compatible: bool,
}

/// One text at a time: the workers are few, and a service may take half a minute.
enum TtsConvert {}
impl Rpc for TtsConvert {
    const NAME: &'static str = "tts.convert";
    const ACCESS: Access = Access::Write;
    type Params = Value;
    type Reply = Converted;
    fn call(core: &mut Core, call: Call, params: Value) -> RpcResult<Answer<Converted>> {
        let text = params["text"].as_str().map(str::trim).filter(|it| !it.is_empty());
        let text = text.ok_or_else(|| RpcError::invalid("tts.convert requires text"))?.to_owned();
        let as_voice =
            params["channel"].as_str().is_some_and(|it| it.trim().eq_ignore_ascii_case("telegram"));
        if Arc::strong_count(&core.reading_aloud) > 1 {
            return Err(RpcError::busy(BUSY_RETRY_MS));
        }
        let (world, now_ms) = (core.world.clone(), call.now.unix_ms);
        let mine = core.reading_aloud.clone();
        let name = format!("voice-{now_ms:013}-{}", ids::uuid(core.entropy()));
        Ok(Answer::apart(move || {
            let _mine = mine;
            let first = settled(&world).map_err(RpcError::unavailable)?.1;
            let spoken = speech::convert(&Ask {
                speech: &world.config.config.speech,
                env: &world.env,
                proxies: &world.models.proxies,
                first,
                text: &text,
                as_voice,
                dir: &world.paths.state.join("tmp/tts"),
                name: &name,
                now_ms,
            })
            .map_err(RpcError::unavailable_text)?;
            Ok(Converted {
                audio_path: spoken.path.display().to_string(),
                provider: spoken.service.word(),
                output_format: spoken.format,
                voice_compatible: as_voice,
            })
        }))
    }
}
