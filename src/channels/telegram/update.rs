//! Updates as the Bot API writes them, read field by field: what is missing or of another type is not there, and nothing fails.
use crate::channels::{Media, MediaKind};
use serde_json::Value;

/// The kinds that are asked for.
pub const KINDS: [&str; 4] = ["message", "edited_message", "callback_query", "message_reaction"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChatKind {
    Private,
    Group,
    Channel,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chat {
    pub id: i64,
    pub kind: ChatKind,
    pub title: Option<String>,
    pub is_forum: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Person {
    pub id: i64,
    pub is_bot: bool,
    pub username: Option<String>,
    pub name: Option<String>,
}

impl Person {
    /// As people are told: `Ann (@ann)`.
    pub fn shown(&self) -> String {
        match (&self.name, &self.username) {
            (Some(name), Some(user)) => format!("{name} (@{user})"),
            (Some(name), None) => name.clone(),
            (None, Some(user)) => format!("@{user}"),
            (None, None) => format!("user {}", self.id),
        }
    }
}

/// The message that another one answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    pub id: i64,
    /// None when it was said by nobody that is told.
    pub from: Option<Person>,
    pub text: String,
    pub is_quote: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub id: i64,
    /// Seconds since 1970.
    pub date: i64,
    pub thread: Option<i64>,
    /// Links written out; what cannot be read is named.
    pub text: String,
    pub media: Vec<Media>,
    pub answers: Option<Answered>,
    pub forwarded_from: Option<String>,
    /// The bot was named with its `@`.
    pub names_bot: bool,
    /// The group has another id from now on.
    pub moved_to: Option<i64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Message(Message),
    Edited(Message),
    Callback { id: String, data: String, message: i64, thread: Option<i64> },
    Reaction { message: i64, added: Vec<String> },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    pub chat: Chat,
    /// None for what nobody in particular says: posts of channels, anonymous admins.
    pub from: Option<Person>,
    pub what: What,
}

/// The number of an update, if it is one.
pub fn number(update: &Value) -> Option<i64> {
    update["update_id"].as_i64().filter(|it| *it >= 0)
}

/// Chat and number of the message that an update brings, whoever wrote it.
pub fn message_number(update: &Value) -> Option<(i64, i64)> {
    let it = ["message", "edited_message"].into_iter().map(|it| &update[it]).find(|it| it.is_object())?;
    Some((it["chat"]["id"].as_i64()?, it["message_id"].as_i64()?))
}

/// # Errors
/// Why it is passed over.
pub fn read(update: &Value, bot_username: &str) -> Result<Update, String> {
    let kind = KINDS.into_iter().find(|it| update[*it].is_object()).ok_or_else(|| {
        let names = update.as_object().into_iter().flatten().map(|it| it.0.as_str());
        let unknown: Vec<&str> = names.filter(|it| *it != "update_id").take(3).collect();
        format!("unknown kind {:?}", unknown.join(","))
    })?;
    let body = &update[kind];
    let holder = if kind == "callback_query" { &body["message"] } else { body };
    let chat = chat(&holder["chat"]).ok_or_else(|| format!("{kind} without a chat"))?;
    let from = person(if kind == "message_reaction" { &body["user"] } else { &body["from"] });
    let number = |at: &Value, name: &str| at[name].as_i64().ok_or_else(|| format!("{kind} without {name}"));
    let what = match kind {
        "callback_query" => What::Callback {
            id: text(&body["id"]).ok_or_else(|| format!("{kind} without an id"))?,
            data: text(&body["data"]).unwrap_or_default(),
            message: number(holder, "message_id")?,
            thread: holder["message_thread_id"].as_i64(),
        },
        "message_reaction" => What::Reaction { message: number(body, "message_id")?, added: added(body) },
        "edited_message" => What::Edited(message(body, number(body, "message_id")?, bot_username)),
        _ => What::Message(message(body, number(body, "message_id")?, bot_username)),
    };
    Ok(Update { chat, from, what })
}

fn text(at: &Value) -> Option<String> {
    at.as_str().map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned)
}

fn chat(at: &Value) -> Option<Chat> {
    let kind = match at["type"].as_str()? {
        "private" => ChatKind::Private,
        "group" | "supergroup" => ChatKind::Group,
        "channel" => ChatKind::Channel,
        _ => return None,
    };
    Some(Chat { id: at["id"].as_i64()?, kind, title: text(&at["title"]), is_forum: at["is_forum"] == true })
}

fn person(at: &Value) -> Option<Person> {
    let names = [text(&at["first_name"]), text(&at["last_name"])];
    let name = names.into_iter().flatten().collect::<Vec<_>>().join(" ");
    Some(Person {
        id: at["id"].as_i64()?,
        is_bot: at["is_bot"] == true,
        username: text(&at["username"]),
        name: Some(name).filter(|it| !it.is_empty()),
    })
}

fn message(at: &Value, id: i64, bot_username: &str) -> Message {
    let (said, entities) = match at["text"].as_str() {
        Some(said) => (said, &at["entities"]),
        None => (at["caption"].as_str().unwrap_or_default(), &at["caption_entities"]),
    };
    let mut words = linked(said, entities).trim().to_owned();
    for more in [place(at), poll(&at["poll"]), contact(&at["contact"])].into_iter().flatten() {
        words = if words.is_empty() { more } else { format!("{words}\n{more}") };
    }
    let mention = format!("@{bot_username}");
    Message {
        id,
        date: at["date"].as_i64().unwrap_or(0),
        thread: at["message_thread_id"].as_i64(),
        names_bot: !bot_username.is_empty() && names(said, &mention),
        text: words,
        media: media(at),
        answers: answers(at),
        forwarded_from: forwarded(&at["forward_origin"]),
        moved_to: at["migrate_to_chat_id"].as_i64(),
    }
}

/// Whether a name stands there whole: `@bot` is not named by `@botany`.
fn names(said: &str, mention: &str) -> bool {
    let said = said.to_lowercase();
    let ends = |it: &str| !it.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    said.match_indices(mention).any(|(at, _)| ends(&said[at + mention.len()..]))
}

/// Text whose links are hidden behind words, with the links. Offsets count UTF-16 units.
fn linked(said: &str, entities: &Value) -> String {
    let links: Vec<(usize, usize, &str)> = entities
        .as_array()
        .into_iter()
        .flatten()
        .filter(|it| it["type"] == "text_link")
        .filter_map(|it| {
            let (at, length) = (it["offset"].as_u64()? as usize, it["length"].as_u64()? as usize);
            Some((at, at.checked_add(length)?, it["url"].as_str()?))
        })
        .collect();
    if links.is_empty() {
        return said.to_owned();
    }
    let (mut out, mut unit) = (String::new(), 0);
    for c in said.chars() {
        if links.iter().any(|it| it.0 == unit) {
            out.push('[');
        }
        out.push(c);
        unit += c.len_utf16();
        for link in links.iter().filter(|it| it.1 == unit) {
            out += &format!("]({})", link.2);
        }
    }
    out
}

fn place(at: &Value) -> Option<String> {
    let venue = &at["venue"];
    let location = if venue.is_object() { &venue["location"] } else { &at["location"] };
    let (lat, lon) = (location["latitude"].as_f64()?, location["longitude"].as_f64()?);
    let name = [text(&venue["title"]), text(&venue["address"])].into_iter().flatten().collect::<Vec<_>>();
    let name = if name.is_empty() { String::new() } else { format!(" {}", name.join(", ")) };
    let live = if location["live_period"].is_i64() { " (live)" } else { "" };
    Some(format!("📍{name} {lat:.6}, {lon:.6}{live}"))
}

fn poll(at: &Value) -> Option<String> {
    let options = at["options"].as_array().into_iter().flatten();
    let options =
        options.filter_map(|it| text(&it["text"])).map(|it| format!("\n- {it}")).collect::<String>();
    Some(format!("📊 {}{options}", text(&at["question"])?))
}

fn contact(at: &Value) -> Option<String> {
    let names = [text(&at["first_name"]), text(&at["last_name"]), text(&at["phone_number"])];
    let all = names.into_iter().flatten().collect::<Vec<_>>().join(" ");
    (!all.is_empty()).then(|| format!("👤 {all}"))
}

fn media(at: &Value) -> Vec<Media> {
    let file = |it: &Value, kind, mime: Option<&str>, name: Option<String>| {
        Some(Media {
            kind,
            reference: text(&it["file_id"])?,
            mime: text(&it["mime_type"]).or(mime.map(str::to_owned)),
            name,
            bytes: it["file_size"].as_u64(),
            local: None,
        })
    };
    let named = |it: &Value| text(&it["file_name"]);
    let largest = at["photo"].as_array().and_then(|it| it.iter().max_by_key(|it| it["width"].as_u64()));
    let mut found = vec![];
    found.extend(largest.and_then(|it| file(it, MediaKind::Image, Some("image/jpeg"), None)));
    for (name, kind, mime) in [
        ("video", MediaKind::Video, Some("video/mp4")),
        ("video_note", MediaKind::Video, Some("video/mp4")),
        ("voice", MediaKind::Audio, Some("audio/ogg")),
        ("audio", MediaKind::Audio, None),
        ("document", MediaKind::Document, None),
    ] {
        // An animation comes as a document as well.
        found.extend(at[name].is_object().then(|| file(&at[name], kind, mime, named(&at[name]))).flatten());
    }
    let sticker = &at["sticker"];
    if sticker.is_object() {
        let emoji = text(&sticker["emoji"]);
        // What moves no model looks at.
        let moves = sticker["is_animated"] == true || sticker["is_video"] == true;
        let mime = (!moves).then_some("image/webp");
        found.extend(file(sticker, MediaKind::Sticker, mime, emoji));
    }
    found
}

fn answers(at: &Value) -> Option<Answered> {
    let to = &at["reply_to_message"];
    let id = to["message_id"].as_i64()?;
    // The first message of a forum topic is no message that was answered.
    if to["forum_topic_created"].is_object() {
        return None;
    }
    let quote = text(&at["quote"]["text"]);
    let said = || text(&to["text"]).or(text(&to["caption"]));
    let seen = || media(to).first().map(|it| it.kind.placeholder().to_owned());
    let is_quote = quote.is_some();
    let words = quote.or_else(said).or_else(seen).or(place(to)).unwrap_or_default();
    Some(Answered { id, from: person(&to["from"]), text: words, is_quote })
}

fn forwarded(origin: &Value) -> Option<String> {
    match origin["type"].as_str()? {
        "user" => person(&origin["sender_user"]).map(|it| it.shown()),
        "hidden_user" => text(&origin["sender_user_name"]),
        "chat" => text(&origin["sender_chat"]["title"]),
        "channel" => text(&origin["chat"]["title"]),
        _ => None,
    }
}

/// Emoji that were not there before.
fn added(at: &Value) -> Vec<String> {
    let emoji = |name: &str| {
        let all = at[name].as_array().into_iter().flatten();
        all.filter(|it| it["type"] == "emoji").filter_map(|it| text(&it["emoji"])).collect::<Vec<_>>()
    };
    let old = emoji("old_reaction");
    emoji("new_reaction").into_iter().filter(|it| !old.contains(it)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(message: Value) -> Message {
        let mut whole = json!({ "message_id": 5, "date": 9, "chat": { "id": 7, "type": "private" } });
        whole.as_object_mut().unwrap().extend(message.as_object().unwrap().clone());
        match read(&json!({ "update_id": 1, "message": whole }), "bot").unwrap().what {
            What::Message(it) => it,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn links_that_hide_are_written_out() {
        let entities = json!([{ "type": "text_link", "offset": 3, "length": 4, "url": "http://x" }]);
        assert_eq!(
            said(json!({ "text": "😀 here we", "entities": entities })).text,
            "😀 [here](http://x) we"
        );
    }
    #[test]
    fn a_name_counts_when_it_is_whole() {
        for (text, want) in
            [("@Bot hi", true), ("hi @bot", true), ("@bots", false), ("@bot_x", false), ("bot", false)]
        {
            assert_eq!(said(json!({ "text": text })).names_bot, want, "{text}");
        }
    }
    #[test]
    fn what_is_there_besides_words() {
        let photo = json!([{ "file_id": "small", "width": 90 }, { "file_id": "big", "width": 900 }]);
        let it = said(
            json!({ "photo": photo, "caption": "look", "reply_to_message": { "message_id": 3, "voice": { "file_id": "v" } } }),
        );
        assert_eq!((it.text.as_str(), it.media[0].reference.as_str()), ("look", "big"));
        assert_eq!(it.answers.unwrap().text, "<media:audio>");
        let it = said(json!({ "location": { "latitude": 1.5, "longitude": 2 } }));
        assert_eq!(it.text, "📍 1.500000, 2.000000");
    }
    /// Any value of any type anywhere: nothing panics.
    #[test]
    fn wrong_types_are_not_there() {
        let good = json!({ "update_id": 1, "message": { "message_id": 5, "date": 9, "text": "x", "entities": [{ "type": "text_link", "offset": 0, "length": 1, "url": "u" }],
            "chat": { "id": 7, "type": "private" }, "from": { "id": 7 }, "photo": [{ "file_id": "f", "width": 1 }], "reply_to_message": { "message_id": 1, "text": "t" } } });
        let odd = [
            json!(null),
            json!(-1),
            json!(1e300),
            json!("\u{0}"),
            json!([]),
            json!([[]]),
            json!({}),
            json!(true),
            json!(u64::MAX),
        ];
        fn paths(at: &Value, here: String, out: &mut Vec<String>) {
            let all: Vec<(String, &Value)> = match at {
                Value::Object(map) => map.iter().map(|it| (format!("{here}/{}", it.0), it.1)).collect(),
                Value::Array(list) => {
                    list.iter().enumerate().map(|it| (format!("{here}/{}", it.0), it.1)).collect()
                }
                _ => vec![],
            };
            for (path, value) in all {
                out.push(path.clone());
                paths(value, path, out);
            }
        }
        let mut all = vec![];
        paths(&good, String::new(), &mut all);
        for path in all {
            for it in &odd {
                let mut bad = good.clone();
                *bad.pointer_mut(&path).unwrap() = it.clone();
                let _ = (read(&bad, "bot"), number(&bad));
            }
        }
    }
}
