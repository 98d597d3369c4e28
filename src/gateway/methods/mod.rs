//! All methods, one file a family. Adding a method touches its family's file alone; adding a family adds one word here.
use super::registry::{Method, Registry};
use std::sync::OnceLock;

macro_rules! families {
    ($($family:ident),* $(,)?) => {
        $(pub mod $family;)*
        /// In the order of `hello-ok.features.methods`.
        pub const FAMILIES: &[&[Method]] = &[$($family::METHODS),*];
    };
}

families! {
    health, logs, channels, usage, tts, config, approvals, wizard, talk, models, agents, skills, voicewake, sessions, system, node_pairing, devices,
    nodes, surfaces, cron, send, agent, chat,
}

pub fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| Registry::new(FAMILIES))
}
