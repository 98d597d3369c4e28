//! Calls that somebody waits for: done once, or refused.
use super::{Sender, Task};
use crate::base::limits::TELEGRAM_CALL_MS;
use crate::channels::telegram::api::Failure;
use crate::channels::telegram::say::{Place, chat_id, edit, pieces, replies, say};
use crate::channels::telegram::settings::ReplyTo;
use crate::channels::{Action, Event, Trouble};
use serde_json::{Value, json};

impl Sender {
    pub(super) fn answer(&self, call: u64, result: Result<Value, Trouble>) {
        (self.shared.around.tell)(Event::Answered { call, result });
    }
    pub(super) fn call(&mut self, chat: &str, call: u64, action: Action) {
        match self.act(&action) {
            Ok(result) => self.answer(call, Ok(result)),
            Err(Failure::Refused { retry_after: Some(s), .. }) if s * 1000 <= TELEGRAM_CALL_MS / 2 => {
                self.hold(chat, s);
                self.queue.push_front(Task::Call { call, action });
            }
            Err(failure) => {
                if matches!(failure, Failure::Unknown(_)) {
                    self.lost(chat);
                }
                self.answer(call, Err(trouble(&failure)));
            }
        }
    }

    fn act(&mut self, action: &Action) -> Result<Value, Failure> {
        let settings = &self.shared.clone().settings;
        match action {
            Action::Send(send) => {
                let all = pieces(std::slice::from_ref(&send.text), &send.media, send.as_voice, settings);
                let (to, mut number) = (send.target.to.clone(), None);
                for (part, piece) in all.iter().enumerate() {
                    let place = Place {
                        target: send.target.clone(),
                        reply_to: replies(part, send.reply_to.as_deref(), settings)
                            .filter(|_| part == 0 || settings.reply_to == ReplyTo::All),
                        silent: send.silent,
                        buttons: send.buttons.clone().filter(|_| part + 1 == all.len()),
                    };
                    let sent = say(&self.api, settings, &place, piece, &self.shared.roots)?;
                    number = Some(sent);
                    self.fine(&to, sent);
                }
                Ok(json!({ "messageId": number.map(|it| it.to_string()), "chatId": to }))
            }
            Action::Poll { target, question, options, max_selections, hours, silent } => {
                let options: Vec<Value> = options.iter().map(|it| json!({ "text": it })).collect();
                let mut params = json!({
                    "chat_id": chat_id(&target.to), "question": question, "options": options,
                    "allows_multiple_answers": *max_selections > 1, "disable_notification": silent, "is_anonymous": false,
                });
                if let Some(thread) = target.thread.as_ref().and_then(|it| it.parse::<i64>().ok()) {
                    params["message_thread_id"] = thread.into();
                }
                if let Some(hours) = hours {
                    // The Bot API closes a poll by itself within 600 s only: a later end is a date.
                    params["close_date"] =
                        (self.shared.around.clock.now().unix_ms / 1000 + hours * 3600).into();
                }
                let sent = self.api.call("sendPoll", &params, TELEGRAM_CALL_MS)?;
                let number = sent["message_id"].as_i64().unwrap_or(0);
                self.fine(&target.to, number);
                Ok(
                    json!({ "messageId": number.to_string(), "chatId": target.to, "pollId": sent["poll"]["id"] }),
                )
            }
            Action::React { target, message_id, emoji } => {
                let reaction: Vec<Value> =
                    emoji.iter().map(|it| json!({ "type": "emoji", "emoji": it })).collect();
                let params = json!({ "chat_id": chat_id(&target.to), "message_id": message_number(message_id)?, "reaction": reaction });
                self.api.call("setMessageReaction", &params, TELEGRAM_CALL_MS)?;
                Ok(json!({ "ok": true }))
            }
            Action::Edit { target, message_id, text } => {
                edit(&self.api, settings, &target.to, message_number(message_id)?, text)?;
                Ok(json!({ "ok": true, "messageId": message_id, "chatId": target.to }))
            }
            Action::Delete { target, message_id } => {
                let params =
                    json!({ "chat_id": chat_id(&target.to), "message_id": message_number(message_id)? });
                self.api.call("deleteMessage", &params, TELEGRAM_CALL_MS)?;
                Ok(json!({ "ok": true, "deleted": true }))
            }
        }
    }
}

fn message_number(text: &str) -> Result<i64, Failure> {
    let wrong = || Failure::Refused {
        code: 400,
        text: format!("{text:?} is no message id"),
        retry_after: None,
        moved_to: None,
    };
    text.trim().parse().map_err(|_| wrong())
}

fn trouble(failure: &Failure) -> Trouble {
    match failure {
        Failure::Refused { code: 401 | 404, .. } => {
            Trouble::NotLinked("Telegram does not know this bot token".into())
        }
        Failure::Refused { code: 429, .. } => Trouble::Unavailable(failure.to_string()),
        Failure::Refused { .. } | Failure::TooLong { .. } => Trouble::Refused(failure.to_string()),
        Failure::Unsent(text) => Trouble::Unavailable(format!("Telegram cannot be reached: {text}")),
        Failure::Unknown(text) => {
            Trouble::Unavailable(format!("Telegram has not answered, it may have been sent: {text}"))
        }
        Failure::Cancelled => Trouble::Unavailable("the channel is stopping".into()),
    }
}
