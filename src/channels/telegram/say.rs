//! From an answer to the calls that say it.
use super::api::{Api, Failure, Upload};
use super::chunk::{chunks, cut, units};
use super::html::render;
use super::settings::{ReplyTo, Settings};
use crate::base::files;
use crate::base::limits::{TELEGRAM_CALL_MS, TELEGRAM_CAPTION_MAX, TELEGRAM_FILE_MS, TELEGRAM_TEXT_MAX};
use crate::channels::Target;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What one call says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Markdown.
    Text(String),
    /// A path, an address, or `sticker:<file id>`; and Markdown.
    File { source: String, caption: String, as_voice: bool },
}

/// An answer in pieces.
pub fn pieces(texts: &[String], media: &[String], as_voice: bool, settings: &Settings) -> Vec<Piece> {
    let prefix = &settings.response_prefix;
    let mut all: Vec<String> = vec![];
    for text in texts {
        let text = if prefix.is_empty() || text.trim().is_empty() {
            text.clone()
        } else {
            format!("{prefix} {text}")
        };
        all.extend(chunks(&text, settings.text_units, settings.paragraphs));
    }
    // A short text goes with the first file.
    let caption = match &all[..] {
        [one] if !media.is_empty() && units(one) <= TELEGRAM_CAPTION_MAX => all.pop().unwrap_or_default(),
        _ => String::new(),
    };
    let files = media.iter().enumerate().map(|(n, source)| Piece::File {
        source: source.clone(),
        caption: if n == 0 { caption.clone() } else { String::new() },
        as_voice,
    });
    all.into_iter().map(Piece::Text).chain(files).collect()
}

/// Where pieces go.
#[derive(Debug, Clone)]
pub struct Place {
    pub target: Target,
    pub reply_to: Option<i64>,
    pub silent: bool,
    pub buttons: Option<Value>,
}

impl Place {
    fn params(&self, settings: &Settings) -> Value {
        let mut it = json!({ "chat_id": chat_id(&self.target.to) });
        if let Some(thread) = send_thread(&self.target) {
            it["message_thread_id"] = thread.into();
        }
        if let Some(id) = self.reply_to {
            it["reply_parameters"] = json!({ "message_id": id, "allow_sending_without_reply": true });
        }
        if self.silent {
            it["disable_notification"] = true.into();
        }
        if let Some(rows) = &self.buttons {
            it["reply_markup"] = json!({ "inline_keyboard": rows });
        }
        if !settings.link_preview {
            it["link_preview_options"] = json!({ "is_disabled": true });
        }
        it
    }
}

/// A number, or `@name`.
pub fn chat_id(to: &str) -> Value {
    to.parse::<i64>().map_or_else(|_| to.into(), Value::from)
}

/// The first topic of a forum takes no messages by its number. Reference.
fn send_thread(target: &Target) -> Option<i64> {
    let thread: i64 = target.thread.as_ref()?.parse().ok()?;
    (thread != 1 || !target.to.starts_with('-')).then_some(thread)
}

/// The message that a part of an answer names as the one it answers.
pub fn replies(part: usize, to: Option<&str>, settings: &Settings) -> Option<i64> {
    let id = to?.parse().ok()?;
    (settings.reply_to == ReplyTo::All || part == 0).then_some(id)
}

/// The number of a message that was sent.
fn number(message: &Value) -> Result<i64, Failure> {
    message["message_id"].as_i64().ok_or_else(|| Failure::Unknown("the answer names no message".into()))
}

/// Text that is not taken as HTML is sent as it was written; a topic that is gone gives way to its group.
fn tolerant(
    params: &mut Value,
    field: &str,
    plain: &str,
    mut call: impl FnMut(&Value) -> Result<Value, Failure>,
) -> Result<Value, Failure> {
    for _ in 0..3 {
        match call(params) {
            Err(failure) if failure.says("can't parse") || failure.says("entities") => {
                params[field] = plain.into();
                if let Some(it) = params.as_object_mut() {
                    it.shift_remove("parse_mode");
                }
            }
            Err(failure) if failure.says("thread not found") && params.get("message_thread_id").is_some() => {
                if let Some(it) = params.as_object_mut() {
                    it.shift_remove("message_thread_id");
                }
            }
            done => return done,
        }
    }
    call(params)
}

/// Says one piece; the number of the message.
///
/// # Errors
/// As the call.
pub fn say(
    api: &Api,
    settings: &Settings,
    place: &Place,
    piece: &Piece,
    roots: &[PathBuf],
) -> Result<i64, Failure> {
    let mut params = place.params(settings);
    match piece {
        Piece::Text(text) => {
            params["text"] = render(text, settings.tables).into();
            params["parse_mode"] = "HTML".into();
            let sent = tolerant(&mut params, "text", cut(text, TELEGRAM_TEXT_MAX), |it| {
                api.call("sendMessage", it, TELEGRAM_CALL_MS)
            });
            number(&sent?)
        }
        Piece::File { source, caption, as_voice } => {
            if !caption.is_empty() {
                params["caption"] = render(caption, settings.tables).into();
                params["parse_mode"] = "HTML".into();
            }
            let file = file(source, *as_voice, settings.media_bytes_max, roots)?;
            let sent = tolerant(&mut params, "caption", caption, |params| match &file.bytes {
                None => {
                    let mut params = params.clone();
                    params[file.field] = file.reference.as_str().into();
                    api.call(file.method, &params, TELEGRAM_FILE_MS)
                }
                Some(bytes) => {
                    let upload = Upload { field: file.field, name: &file.reference, bytes };
                    api.upload(file.method, params, &upload, TELEGRAM_FILE_MS)
                }
            });
            number(&sent?)
        }
    }
}

struct File {
    method: &'static str,
    field: &'static str,
    /// An address, an id, or a name.
    reference: String,
    bytes: Option<Vec<u8>>,
}

fn file(source: &str, as_voice: bool, bytes_max: u64, roots: &[PathBuf]) -> Result<File, Failure> {
    let refuse = |text: String| Failure::Refused { code: 400, text, retry_after: None, moved_to: None };
    if let Some(id) = source.strip_prefix("sticker:") {
        return Ok(File { method: "sendSticker", field: "sticker", reference: id.to_owned(), bytes: None });
    }
    let name =
        source.split(['?', '#']).next().unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned();
    let ending = name.rsplit_once('.').map(|it| it.1.to_lowercase()).unwrap_or_default();
    let (method, field) = match ending.as_str() {
        "jpg" | "jpeg" | "png" | "webp" => ("sendPhoto", "photo"),
        "gif" => ("sendAnimation", "animation"),
        "mp4" | "mov" | "m4v" => ("sendVideo", "video"),
        "ogg" | "opus" | "oga" | "mp3" | "m4a" if as_voice => ("sendVoice", "voice"),
        "mp3" | "m4a" | "ogg" | "oga" | "opus" | "wav" | "flac" => ("sendAudio", "audio"),
        _ => ("sendDocument", "document"),
    };
    if source.starts_with("http://") || source.starts_with("https://") {
        return Ok(File { method, field, reference: source.to_owned(), bytes: None });
    }
    let path = Path::new(source.strip_prefix("file://").unwrap_or(source));
    let place = path.canonicalize().map_err(|err| refuse(format!("{}: {err}", path.display())))?;
    let inside = roots.iter().filter_map(|it| it.canonicalize().ok()).any(|it| place.starts_with(it));
    if !inside {
        return Err(refuse(format!(
            "{}: only files of a workspace may be sent: copy it there",
            path.display()
        )));
    }
    let bytes = files::read(&place, bytes_max)
        .map_err(|err| refuse(format!("{}: {err} (mediaMaxMb)", path.display())))?;
    let bytes = bytes.ok_or_else(|| refuse(format!("{}: there is no such file", path.display())))?;
    Ok(File {
        method,
        field,
        reference: if name.is_empty() { "file".into() } else { name },
        bytes: Some(bytes),
    })
}

/// Puts a text in the place of another.
///
/// # Errors
/// As the call; that nothing has changed is none.
pub fn edit(api: &Api, settings: &Settings, to: &str, message: i64, text: &str) -> Result<(), Failure> {
    let mut params = json!({ "chat_id": chat_id(to), "message_id": message, "text": render(text, settings.tables), "parse_mode": "HTML" });
    if !settings.link_preview {
        params["link_preview_options"] = json!({ "is_disabled": true });
    }
    let done = tolerant(&mut params, "text", cut(text, TELEGRAM_TEXT_MAX), |it| {
        api.call("editMessageText", it, TELEGRAM_CALL_MS)
    });
    same_is_fine(done)
}

fn same_is_fine(done: Result<Value, Failure>) -> Result<(), Failure> {
    match done {
        Err(failure) if failure.says("not modified") => Ok(()),
        other => other.map(drop),
    }
}

/// Looks whether a piece is there of which nobody knows: a message of ours at a number behind `looked`, up to `last`, can be edited to what
/// it says, and nothing else there can but those `known` to be ours. `looked` goes along, so that a search can be gone on with. None: it is
/// not there.
///
/// # Errors
/// As long as that cannot be said.
pub fn find(
    api: &Api,
    settings: &Settings,
    to: &str,
    looked: &mut i64,
    last: i64,
    known: impl Fn(i64) -> bool,
    piece: &Piece,
) -> Result<Option<i64>, Failure> {
    while *looked < last {
        let message = *looked + 1;
        let done = match piece {
            _ if known(message) => None,
            Piece::Text(text) => Some(edit(api, settings, to, message, text)),
            Piece::File { caption, .. } => {
                let caption = render(caption, settings.tables);
                let params = json!({ "chat_id": chat_id(to), "message_id": message, "caption": caption, "parse_mode": "HTML" });
                Some(same_is_fine(api.call("editMessageCaption", &params, TELEGRAM_CALL_MS)))
            }
        };
        match done {
            Some(Ok(())) => return Ok(Some(message)),
            None | Some(Err(Failure::Refused { code: 400, moved_to: None, .. })) => *looked = message,
            // The chat is closed to us, and would be for the message too.
            Some(Err(Failure::Refused { code: 403, .. })) => return Ok(None),
            Some(Err(other)) => return Err(other),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::settings::tests::of;
    use super::*;

    #[test]
    fn answers_in_pieces() {
        let settings = &of(json!({ "responsePrefix": "[bot]" }), None)[0];
        let text = |it: &str| Piece::Text(it.into());
        let file = |source: &str, caption: &str| Piece::File {
            source: source.into(),
            caption: caption.into(),
            as_voice: false,
        };
        let media = ["a.png".to_owned(), "b.png".to_owned()];
        assert_eq!(pieces(&["hi".into()], &[], false, settings), [text("[bot] hi")]);
        assert_eq!(
            pieces(&["hi".into()], &media, false, settings),
            [file("a.png", "[bot] hi"), file("b.png", "")]
        );
        assert_eq!(
            pieces(&["a".into(), "b".into()], &media[..1], false, settings),
            [text("[bot] a"), text("[bot] b"), file("a.png", "")]
        );
        assert_eq!(pieces(&["x ".repeat(3000)], &[], false, settings).len(), 2);
        assert!(pieces(&[" ".into()], &[], false, settings).is_empty());
    }
    #[test]
    fn only_files_of_a_workspace_leave() {
        let dir = crate::base::testing::TempDir::new();
        let inside = dir.path().join("workspace").join("a.png");
        files::write_atomic(&inside, b"x").unwrap();
        files::write_atomic(&dir.path().join("secret.txt"), b"x").unwrap();
        let roots = [dir.path().join("workspace")];
        let try_it = |path: &str| super::file(path, false, 10, &roots);
        assert_eq!(
            try_it(inside.to_str().unwrap()).unwrap_or_else(|err| panic!("{err}")).method,
            "sendPhoto"
        );
        for path in [
            "/etc/passwd",
            dir.path().join("secret.txt").to_str().unwrap(),
            roots[0].join("../secret.txt").to_str().unwrap(),
            "a.png",
        ] {
            assert!(try_it(path).is_err(), "{path}");
        }
        assert!(super::file("sticker:abc", false, 10, &[]).is_ok());
    }
}
