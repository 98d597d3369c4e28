//! What the fuzz targets share: a connection lived through twice, with the input cut differently; a request for a file; an update.
use gatewayd::channels::About;
use gatewayd::channels::telegram::admit::{Verdict, admit};
use gatewayd::channels::telegram::api::Bot;
use gatewayd::channels::telegram::settings::{self, Settings};
use gatewayd::channels::telegram::update::{self, ChatKind, What};
use gatewayd::config::{Env, File, Paths};
use gatewayd::conn::answer::Answer;
use gatewayd::conn::{Conn, ConnEvent, head};
use gatewayd::http::canvas::conditional::{Version, Wanted};
use gatewayd::http::canvas::place::Place;
use serde_json::{Value, json};
use std::sync::LazyLock;
use std::time::SystemTime;

/// Body bytes that a path takes here.
const BODY_MAX: u64 = 1000;

fn live<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<ConnEvent>, Vec<u8>) {
    let (mut conn, mut events, mut out) = (Conn::new(0), vec![], vec![]);
    for piece in pieces.map(Some).chain([None]) {
        match piece {
            Some(piece) => conn.on_bytes(piece, 0),
            None => conn.on_eof(0),
        }
        while let Some(event) = conn.poll_event() {
            match &event {
                ConnEvent::Head(_) => conn.admit(BODY_MAX, 0),
                // One in two is streamed.
                ConnEvent::Request(it) if it.head.path.len() % 2 == 0 => {
                    conn.begin_stream(Answer::text(200, ""), 0);
                    conn.stream("piece".into(), 0);
                    conn.end_stream(0);
                }
                ConnEvent::Request(_) => conn.answer(Answer::empty(204), 0),
                _ => {}
            }
            events.push(event);
        }
        while !conn.out().is_empty() {
            let mut slices = [std::io::IoSlice::new(&[]); 16];
            let n = conn.out().slices(&mut slices);
            let bytes: Vec<u8> = slices[..n].iter().flat_map(|it| it.iter().copied()).collect();
            out.extend(&bytes);
            conn.out_written(bytes.len());
        }
    }
    assert!(conn.is_finished() && matches!(events.last(), Some(ConnEvent::Closed(_))));
    (events, without_dates(&out))
}

/// Answers carry the time of day: it is no part of what is compared.
fn without_dates(out: &[u8]) -> Vec<u8> {
    out.split_inclusive(|it| *it == b'\n')
        .filter(|it| !it.starts_with(b"Date: "))
        .flatten()
        .copied()
        .collect()
}

/// Where the input is cut never changes what happens.
pub fn any_cut(data: &[u8]) {
    let whole = live([data].into_iter());
    let cut = data.iter().fold(data.len(), |sum, it| sum.wrapping_mul(31).wrapping_add(usize::from(*it)))
        % (data.len() + 1);
    for other in [live(data.chunks(1)), live([&data[..cut], &data[cut..]].into_iter())] {
        assert_eq!(other, whole);
    }
}

/// A target, and header lines behind the first line feed: no place is outside the tree, no part outside the file.
pub fn canvas(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (target, lines) = text.split_once('\n').unwrap_or((&text, ""));
    let lines: String = lines.lines().map(|it| format!("{it}\r\n")).collect();
    let bytes = format!("GET /__openclaw__/canvas{target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes();
    if !matches!(head::end(&bytes, 0), Ok(Some(end)) if end == bytes.len()) {
        return;
    }
    let Ok(head) = head::parse(&bytes) else { return };
    let place = head.path.strip_prefix("/__openclaw__/canvas").and_then(Place::of);
    for path in place.iter().flat_map(|it| [it.path.clone(), it.page()]) {
        let plain = |it: &str| !(it.is_empty() || it.starts_with('.') || it.contains(['\\', '\0']));
        assert!(path.split('/').all(plain), "{path:?}");
    }
    for length in [0, 1, data.len() as u64, u64::MAX] {
        let version = Version { etag: "\"e\"".into(), modified: SystemTime::UNIX_EPOCH, length };
        if let Wanted::Part(first, count) = Wanted::of(&head, &version) {
            assert!(count > 0 && first.checked_add(count).is_some_and(|it| it <= length), "{first} {count}");
        }
    }
}

/// Who may talk to the bot of [`BOTS`].
const OWNER: i64 = 7;

/// The bot as it is without a word about groups, and one with rules for them.
static BOTS: LazyLock<[Settings; 2]> = LazyLock::new(|| {
    [json!({}), json!({ "*": { "requireMention": false, "toolsBySender": { "7": { "deny": ["exec"] } } } })].map(|groups| {
        let section = json!({ "botToken": "1:a", "allowFrom": [OWNER], "groups": groups, "reactionNotifications": "all" });
        let config = json!({ "channels": { "telegram": section }, "messages": { "groupChat": { "mentionPatterns": ["bot+"] } } });
        let env = Env::from([("HOME", "/nowhere")]);
        let paths = Paths::resolve(&env, None);
        let file = File::of_text(Some(config.to_string()), &paths, &env);
        let (config, mentions) = (file.resolved, file.config.mentions);
        settings::read(&About { config, mentions, env, paths, program: "gatewayd".into() }).remove(0)
    })
});

/// An update, or a message: nothing panics, and nobody but the owner is heard.
pub fn telegram(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    let bot = Bot { id: 100, username: "ourbot".into() };
    let wrapped = ["message", "edited_message", "callback_query", "message_reaction"];
    let wrapped = wrapped.map(|kind| json!({ "update_id": 1, kind: value }));
    for it in wrapped.iter().chain([&value]) {
        let (_, _) = (update::number(it), update::message_number(it));
        let Ok(update) = update::read(it, &bot.username) else { continue };
        for settings in BOTS.iter() {
            match admit(&update, settings, &bot, &[]) {
                Verdict::Hear(_) => assert_eq!(update.from.as_ref().map(|it| it.id), Some(OWNER)),
                Verdict::Pair => {
                    assert!(update.chat.kind == ChatKind::Private && matches!(update.what, What::Message(_)));
                }
                Verdict::Drop(_) => {}
            }
        }
        if let What::Message(it) | What::Edited(it) = &update.what {
            BOTS[0].mentions.mean_any(&it.text);
        }
    }
}
