//! Providers and models that everybody knows, so that a key is all that the configuration needs. Addresses are those of their own documentation.
use super::providers::Api;

/// name, API, base URL, environment variables of its key (none: it needs no key).
pub(super) type Known = (&'static str, Api, &'static str, &'static [&'static str]);

pub(super) const KNOWN: &[Known] = &[
    (
        "anthropic",
        Api::AnthropicMessages,
        "https://api.anthropic.com",
        &["ANTHROPIC_OAUTH_TOKEN", "ANTHROPIC_API_KEY"],
    ),
    ("openai", Api::OpenaiResponses, "https://api.openai.com/v1", &["OPENAI_API_KEY"]),
    ("openrouter", Api::OpenaiCompletions, "https://openrouter.ai/api/v1", &["OPENROUTER_API_KEY"]),
    ("groq", Api::OpenaiCompletions, "https://api.groq.com/openai/v1", &["GROQ_API_KEY"]),
    ("mistral", Api::OpenaiCompletions, "https://api.mistral.ai/v1", &["MISTRAL_API_KEY"]),
    ("deepseek", Api::OpenaiCompletions, "https://api.deepseek.com/v1", &["DEEPSEEK_API_KEY"]),
    ("xai", Api::OpenaiCompletions, "https://api.x.ai/v1", &["XAI_API_KEY"]),
    ("together", Api::OpenaiCompletions, "https://api.together.xyz/v1", &["TOGETHER_API_KEY"]),
    (
        "google",
        Api::OpenaiCompletions,
        "https://generativelanguage.googleapis.com/v1beta/openai",
        &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
    ),
    ("cerebras", Api::OpenaiCompletions, "https://api.cerebras.ai/v1", &["CEREBRAS_API_KEY"]),
    ("ollama", Api::Ollama, "http://127.0.0.1:11434", &[]),
    ("lmstudio", Api::OpenaiCompletions, "http://127.0.0.1:1234/v1", &[]),
    ("builtin", Api::Parrot, "", &[]),
];

/// Beginnings of the names of models that think, for those that no configuration describes.
const THINKERS: [&str; 14] = [
    "claude-3-7",
    "claude-opus-4",
    "claude-sonnet-4",
    "claude-haiku-4",
    "gpt-5",
    "gpt-oss",
    "o1",
    "o3",
    "o4",
    "deepseek-reasoner",
    "gemini-2.5",
    "gemini-3",
    "grok-3-mini",
    "magistral",
];

/// Of a model that no configuration describes; what stands in front of its name (`vendor/model`) does not matter.
pub(super) fn thinks(model: &str) -> bool {
    let bare = model.rsplit('/').next().unwrap_or(model);
    THINKERS.iter().any(|it| bare.starts_with(it))
}
