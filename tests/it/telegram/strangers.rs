//! Who may not talk here: nothing leaves, nothing is written, no conversation begins.
use super::*;
use std::path::Path;

/// Updates of every kind that there is, from somebody nobody knows.
fn every_kind(from: i64, chat: i64) -> Vec<Value> {
    let kind = if chat < 0 { "supergroup" } else { "private" };
    let (chat, user) = (
        json!({ "id": chat, "type": kind, "title": "x" }),
        json!({ "id": from, "first_name": "Eve", "username": "eve" }),
    );
    let message = |fields: Value| {
        let mut it = json!({ "message_id": 1, "date": 1, "chat": chat, "from": user });
        it.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        it
    };
    let file = json!({ "file_id": "f", "file_name": "../../x", "mime_type": "image/png" });
    let mut all: Vec<Value> = [
        json!({ "text": "@ourbot hi" }),
        json!({ "text": "/status" }),
        json!({ "text": "/stop" }),
        json!({ "photo": [file], "caption": "@ourbot" }),
        json!({ "document": file }),
        json!({ "voice": file }),
        json!({ "sticker": file }),
        json!({ "location": { "latitude": 1, "longitude": 2 } }),
        json!({ "new_chat_members": [{ "id": 123_456 }] }),
        json!({ "migrate_to_chat_id": -77 }),
    ]
    .into_iter()
    .map(|it| json!({ "message": message(it) }))
    .collect();
    all.push(json!({ "edited_message": message(json!({ "text": "@ourbot edited" })) }));
    all.push(json!({ "channel_post": message(json!({ "text": "@ourbot post" })) }));
    all.push(json!({ "edited_channel_post": message(json!({ "text": "post" })) }));
    all.push(json!({ "callback_query": { "id": "c", "data": "/status", "from": user, "message": message(json!({})) } }));
    all.push(json!({ "message_reaction": { "chat": chat, "message_id": 1, "user": user, "date": 1, "old_reaction": [], "new_reaction": [{ "type": "emoji", "emoji": "👍" }] } }));
    for other in [
        "message_reaction_count",
        "inline_query",
        "chosen_inline_result",
        "shipping_query",
        "pre_checkout_query",
        "poll",
        "poll_answer",
        "my_chat_member",
        "chat_member",
        "chat_join_request",
        "business_message",
        "purchased_paid_media",
        "unheard_of",
    ] {
        all.push(json!({ other: { "id": "1", "from": user, "chat": chat, "user": user } }));
    }
    all
}

fn files(dir: &Path, out: &mut Vec<String>) {
    for it in std::fs::read_dir(dir).into_iter().flatten().map(Result::unwrap) {
        match it.path().is_dir() {
            true => files(&it.path(), out),
            false => out.push(it.path().display().to_string()),
        }
    }
}

#[test]
fn strangers_get_nothing() {
    for policy in [
        json!({ "dmPolicy": "allowlist" }),
        json!({ "dmPolicy": "disabled" }),
        json!({ "groups": { "-9": {} } }),
    ] {
        let telegram = Telegram::start();
        let server = start(&telegram, policy.clone());
        // Once somebody known was answered, all that a life writes anyway is written.
        if policy["dmPolicy"] != "disabled" {
            telegram.say(ANN, "first");
            telegram.wait_for_text(ANN, "first");
            telegram.wait("it is confirmed", |it| (it.unconfirmed() == 0).then_some(()));
        }
        telegram.wait("it is up", |it| (!it.calls_of("getUpdates").is_empty()).then_some(()));
        let journal = server.home.state().join("deliveries.jsonl");
        telegram.wait("what a start writes is written", |_| journal.exists().then_some(()));
        let mut before = vec![];
        files(&server.home.state(), &mut before);
        let calls = telegram.calls().into_iter().filter(|it| it.0 != "sendChatAction").count();
        let direct = if policy["dmPolicy"].is_null() { vec![] } else { every_kind(666, 666) };
        for it in direct.into_iter().chain(every_kind(666, -5)) {
            telegram.update(it);
        }
        telegram.wait("all are passed over", |it| (it.unconfirmed() == 0).then_some(()));
        let mut after = vec![];
        files(&server.home.state(), &mut after);
        let news: Vec<&String> = after.iter().filter(|it| !before.contains(it)).collect();
        assert!(news.is_empty(), "{policy}: {news:?}");
        let called: Vec<_> = telegram.calls().into_iter().filter(|it| it.0 != "sendChatAction").collect();
        assert_eq!(called.len(), calls, "{policy}: {called:#?}");
        let sessions =
            std::fs::read_to_string(server.home.state().join("agents/main/sessions/sessions.json"))
                .unwrap_or_default();
        assert!(!sessions.contains(":666") && !sessions.contains(":-5"), "{sessions}");
    }
}

/// Nonsense of every sort is passed over, and what comes behind it is answered.
#[test]
fn nonsense_holds_nothing_up() {
    let telegram = Telegram::start();
    let mut server = start(&telegram, json!({}));
    for it in [
        json!({ "message": 5 }),
        json!({ "message": { "chat": { "id": "x" } } }),
        json!({}),
        json!({ "message": { "message_id": 1, "date": "never", "chat": { "id": ANN, "type": "private" }, "from": { "id": ANN }, "text": 7 } }),
        json!({ "message": { "message_id": 1, "chat": { "id": ANN, "type": "private" }, "from": { "id": ANN }, "document": { "file_id": "none", "file_name": "../../etc/passwd" } } }),
        json!({ "message": { "message_id": 1, "chat": { "id": ANN, "type": "private" }, "from": { "id": ANN }, "text": "x".repeat(10 << 20) } }),
    ] {
        telegram.update(it);
    }
    telegram.say(ANN, "after all that");
    telegram.wait_for_text(ANN, "after all that");
    server.wait_line("longer than anything real");
    assert!(!server.home.temp.path().join("etc").exists());
}
