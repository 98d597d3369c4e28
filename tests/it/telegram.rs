//! Telegram through a real socket: a Bot API of ours on one side, the built-in model on the other.
mod conversation;
mod message_tool;
mod outages;
mod strangers;

use crate::harness::{Home, Server, config};
use crate::telegram_server::{TOKEN, Telegram};
use serde_json::{Value, json};

/// The owner of the bot in these tests.
pub const ANN: i64 = 7;

/// A configuration in which Ann may talk, and the parrot answers.
pub fn with_telegram(telegram: &Telegram, more: Value) -> Value {
    let mut all = config();
    all["agents"] = json!({ "defaults": { "model": { "primary": "builtin/parrot" } } });
    all["channels"] =
        json!({ "telegram": { "botToken": TOKEN, "apiRoot": telegram.root(), "allowFrom": [ANN] } });
    for (name, value) in more.as_object().unwrap() {
        all["channels"]["telegram"][name] = value.clone();
    }
    all
}

fn start(telegram: &Telegram, more: Value) -> Server {
    spawn(Home::new(&with_telegram(telegram, more)))
}

fn spawn(home: Home) -> Server {
    home.start(&[])
}
