//! What comes of one update: words with their files, a note, a code for somebody new, or nothing.
use super::Poll;
use crate::base::files;
use crate::base::limits::{TELEGRAM_CALL_MS, TELEGRAM_FILE_MS, TELEGRAM_RETRY_MS};
use crate::channels::telegram::CHANNEL;
use crate::channels::telegram::admit::{Hear, Verdict, admit, topic};
use crate::channels::telegram::api::Failure;
use crate::channels::telegram::settings::{AckScope, Reactions, ReplyTo};
use crate::channels::telegram::update::{self, ChatKind, Message, Update, What};
use crate::channels::{self, Acks, Inbound, Media, MediaKind, Said, Vitals};
use crate::config::PeerKind;
use crate::store::senders;
use serde_json::{Value, json};
use std::path::PathBuf;

impl Poll {
    /// Who was let in by a code. A file that cannot be read lets nobody in.
    pub(super) fn paired(&self) -> Vec<i64> {
        senders::allowed(&self.shared.state, CHANNEL)
            .unwrap_or_else(|err| {
                log::error!(target: "channels", "{err}");
                vec![]
            })
            .iter()
            .filter_map(|it| it.parse().ok())
            .collect()
    }

    /// What comes of one update; None when nothing does.
    pub(super) fn heed(&mut self, value: &Value, number: i64, paired: &[i64]) -> Option<Inbound> {
        let (name, bot) = (self.shared.name(), self.shared.bot());
        let update = match update::read(value, &bot.username) {
            Ok(it) => it,
            Err(why) => {
                log::warn!(target: "channels", "{name}: update {number} is passed over: {why}");
                return None;
            }
        };
        match admit(&update, &self.shared.settings, &bot, paired) {
            Verdict::Drop(why) => {
                log::debug!(target: "channels", "{name}: update {number} is dropped: {why}");
                None
            }
            Verdict::Pair => {
                self.pair(&update);
                None
            }
            Verdict::Hear(hear) => {
                Vitals::set(&self.shared.around.vitals.inbound_ms, self.unix_ms());
                self.inbound(update, number, hear)
            }
        }
    }

    /// Somebody new is told a code, once.
    fn pair(&mut self, update: &Update) {
        let Some(person) = &update.from else { return };
        let meta = json!({ "username": person.username, "firstName": person.name });
        let asked = senders::ask(
            &self.shared.state,
            CHANNEL,
            &person.id.to_string(),
            meta,
            self.shared.around.clock.now().unix_ms,
            &mut self.entropy,
        );
        let code = match asked {
            Ok(Some(code)) => code,
            Ok(None) => return,
            Err(err) => return log::error!(target: "channels", "{err}"),
        };
        log::info!(target: "channels", "{}: {} (id {}) asks to be let in: {} pairing approve telegram {code}", self.shared.name(), person.shown(), person.id, self.shared.program);
        let text = format!(
            "I do not know you yet.\n\nYour Telegram id: {}\nPairing code: {code}\n\nThe owner of this bot lets you in with\n{} pairing approve telegram {code}\nThe code holds for an hour.",
            person.id, self.shared.program
        );
        let sent = self.api.call(
            "sendMessage",
            &json!({ "chat_id": update.chat.id, "text": text }),
            TELEGRAM_CALL_MS,
        );
        if let Err(failure) = sent {
            log::warn!(target: "channels", "{}: the pairing code could not be told: {failure}", self.shared.name());
        }
    }

    fn inbound(&mut self, update: Update, number: i64, hear: Hear) -> Option<Inbound> {
        let topic = topic(&update);
        let is_private = update.chat.kind == ChatKind::Private;
        let thread = match &update.what {
            What::Message(it) | What::Edited(it) => it.thread,
            What::Callback { thread, .. } => *thread,
            What::Reaction { .. } => None,
        };
        let sender = update.from.clone().unwrap_or_default();
        let shown = if update.from.is_some() { sender.shown() } else { "somebody".to_owned() };
        let what = match update.what {
            What::Message(Message { moved_to: Some(id), .. }) => {
                log::warn!(target: "channels", "{}: the group {} is now {id}: change its entry in channels.telegram.groups", self.shared.name(), update.chat.id);
                return None;
            }
            What::Message(ref message) => {
                if message.text.is_empty() && message.media.is_empty() {
                    return None;
                }
                channels::What::Said(Box::new(self.said(message, &update, &hear, number)))
            }
            What::Edited(ref message) => {
                if message.text.is_empty() {
                    return None;
                }
                channels::What::Note(format!(
                    "Telegram message {} was edited by {shown}; it now says: {:?}",
                    message.id, message.text
                ))
            }
            What::Callback { ref id, ref data, message, .. } => {
                // Or its button spins for a minute.
                let _ = self.api.call(
                    "answerCallbackQuery",
                    &json!({ "callback_query_id": id }),
                    TELEGRAM_CALL_MS,
                );
                let pressed = Message {
                    id: message,
                    date: self.unix_ms() / 1000,
                    text: if data.starts_with('/') { data.clone() } else { format!("callback_data: {data}") },
                    thread: None,
                    media: vec![],
                    answers: None,
                    forwarded_from: None,
                    names_bot: true,
                    moved_to: None,
                };
                channels::What::Said(Box::new(self.said(&pressed, &update, &hear, number)))
            }
            What::Reaction { message, ref added } => {
                let counts = self.shared.settings.reactions == Reactions::All
                    || self.shared.is_own(&update.chat.id.to_string(), message);
                if added.is_empty() || !counts {
                    return None;
                }
                channels::What::Note(format!(
                    "Telegram reaction added: {} by {shown} on msg {message}",
                    added.join(" ")
                ))
            }
        };
        Some(Inbound {
            number,
            chat: if is_private { PeerKind::Direct } else { PeerKind::Group },
            peer: update.chat.id.to_string(),
            topic: topic.map(|it| it.to_string()),
            thread: thread.filter(|_| is_private).map(|it| it.to_string()),
            what,
        })
    }

    fn said(&mut self, message: &Message, update: &Update, hear: &Hear, number: i64) -> Said {
        let settings = &self.shared.settings;
        let sender = update.from.clone().unwrap_or_default();
        let is_private = update.chat.kind == ChatKind::Private;
        let bot = self.shared.bot();
        let (acks, takes_ack_back) = (acks(settings.ack_scope, is_private, hear), settings.takes_ack_back);
        let (reply_to, history_max, limit) =
            (settings.reply_to != ReplyTo::Off, settings.history_max, settings.media_bytes_max);
        let heard = hear.addressed || !hear.must_be_addressed || settings.mentions.mean_any(&message.text);
        let mut media = message.media.clone();
        if heard {
            for (n, it) in media.iter_mut().enumerate() {
                it.local = self.fetch(it, limit, &format!("telegram-{number}-{n}"));
            }
        }
        let behind = message.answers.as_ref().filter(|it| !it.text.is_empty()).map(|it| {
            let from = it.from.as_ref().map_or("somebody".to_owned(), |from| {
                if from.id == bot.id { "you".into() } else { from.shown() }
            });
            let (word, id) = (if it.is_quote { "Quoting" } else { "Replying to" }, it.id);
            format!("\n\n[{word} {from} id:{id}]\n{}\n[/{word}]", it.text)
        });
        Said {
            message_id: message.id.to_string(),
            sender_id: sender.id.to_string(),
            sender_name: if update.from.is_some() { sender.shown() } else { "somebody".into() },
            title: update.chat.title.clone(),
            text: without_own_name(&message.text, &bot.username),
            before: message
                .forwarded_from
                .as_ref()
                .map(|it| format!("[Forwarded from {it}]\n"))
                .unwrap_or_default(),
            behind: behind.unwrap_or_default(),
            media,
            at_ms: message.date.saturating_mul(1000),
            allowed: hear.allowed,
            addressed: hear.addressed,
            must_be_addressed: hear.must_be_addressed,
            system_prompt: hear.system_prompt.clone(),
            history_max,
            reply_to: reply_to && !is_private || settings.reply_to == ReplyTo::All,
            acks,
            takes_ack_back,
            tools: hear.tools.clone(),
        }
    }

    /// Where the file lies now; None when it is too large or cannot be had, which the text then says.
    fn fetch(&self, media: &Media, bytes_max: u64, name: &str) -> Option<PathBuf> {
        if media.kind == MediaKind::Sticker && media.mime.is_none() {
            return None;
        }
        let said = |why: &dyn std::fmt::Display| log::warn!(target: "channels", "{}: a file is left out: {why}", self.shared.name());
        if media.bytes.is_some_and(|it| it > bytes_max) {
            said(&"it is larger than mediaMaxMb allows");
            return None;
        }
        for attempt in 0..3 {
            let got = self
                .api
                .call("getFile", &json!({ "file_id": media.reference }), TELEGRAM_CALL_MS)
                .and_then(|it| {
                    let path = it["file_path"].as_str().unwrap_or_default().to_owned();
                    self.api.download(&path, bytes_max, TELEGRAM_FILE_MS).map(|it| (path, it))
                });
            match got {
                Ok((path, bytes)) => {
                    let ending = ending(media, &path);
                    let place =
                        self.shared.state.join("media").join("inbound").join(format!("{name}{ending}"));
                    return match files::write_atomic(&place, &bytes) {
                        Ok(()) => Some(place),
                        Err(err) => {
                            said(&err);
                            None
                        }
                    };
                }
                Err(Failure::Unsent(_) | Failure::Unknown(_)) if attempt < 2 => {
                    self.shared.pause(TELEGRAM_RETRY_MS)
                }
                Err(failure) => {
                    said(&failure);
                    return None;
                }
            }
        }
        None
    }
}

fn acks(scope: AckScope, is_private: bool, hear: &Hear) -> Acks {
    match scope {
        AckScope::All => Acks::Always,
        AckScope::Direct if is_private => Acks::Always,
        AckScope::Groups if !is_private => Acks::Always,
        AckScope::Mentions if !is_private && hear.must_be_addressed => Acks::IfAddressed,
        _ => Acks::Never,
    }
}

/// `/status@ourbot` is `/status`.
fn without_own_name(text: &str, username: &str) -> String {
    let word = text.split_whitespace().next().unwrap_or_default();
    match word.split_once('@') {
        Some((command, name)) if command.starts_with('/') && name.to_lowercase() == username => {
            format!("{command}{}", &text[word.len()..])
        }
        _ => text.to_owned(),
    }
}

/// Of the file's name: by its kind, never as a stranger wrote it.
fn ending(media: &Media, path: &str) -> String {
    let of_path = path.rsplit('/').next().and_then(|it| it.rsplit_once('.')).map(|it| it.1.to_lowercase());
    let plain = |it: &String| (1..=8).contains(&it.len()) && it.bytes().all(|it| it.is_ascii_alphanumeric());
    let of_kind = match media.kind {
        MediaKind::Image => "jpg",
        MediaKind::Sticker => "webp",
        MediaKind::Audio => "ogg",
        MediaKind::Video => "mp4",
        MediaKind::Document => "bin",
    };
    format!(".{}", of_path.filter(plain).unwrap_or_else(|| of_kind.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_ours() {
        let media = |kind| Media {
            kind,
            reference: String::new(),
            mime: None,
            name: Some("../../x.sh".into()),
            bytes: None,
            local: None,
        };
        assert_eq!(ending(&media(MediaKind::Document), "documents/file_1.PDF"), ".pdf");
        for path in ["documents/x", "a/../b.e/../c", "x.averylongending", "x.s h"] {
            assert_eq!(ending(&media(MediaKind::Document), path), ".bin", "{path}");
        }
    }
}
