//! What a model does on the network by itself, with its tool `message`.
use super::*;
use crate::client::Client;
use crate::model_server::{Asked, ModelServer, usage};
use crate::telegram_server::Fate;
use crate::web::ask;

/// A gateway whose model is the test.
fn config_of(telegram: &Telegram, model: &ModelServer, channel: Value, tools: Value) -> Value {
    let mut all = with_telegram(telegram, channel);
    all["agents"] = json!({ "defaults": { "model": { "primary": "mock/one" } } });
    let provider = json!({ "baseUrl": model.base_url(), "api": "openai-completions", "apiKey": "k", "models": [{ "id": "one" }] });
    all["models"] = json!({ "providers": { "mock": provider } });
    all["tools"] = json!({ "message": tools });
    all
}

fn begin(channel: Value, tools: Value) -> (Telegram, ModelServer, Server) {
    let (telegram, model) = (Telegram::start(), ModelServer::start());
    let server = spawn(Home::new(&config_of(&telegram, &model, channel, tools)));
    (telegram, model, server)
}

/// Has the model call the tool; the next request, which holds the result.
fn call(model: &ModelServer, mut asked: Asked, args: &Value) -> Asked {
    asked.call("c1", "message", args);
    asked.end_with("tool_calls", &usage(11, 7));
    model.asked()
}

/// What the last call of the tool answered: JSON, or a sentence.
fn result(asked: &Asked) -> Value {
    let text = asked.told().last().unwrap().strip_prefix("tool: ").unwrap().to_owned();
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

/// Says something in Ann's chat that nothing else is said after.
fn last_word(telegram: &Telegram, model: &ModelServer) {
    telegram.say(ANN, "anything else?");
    model.asked().answer("that was all of it");
    telegram.wait_for_text(ANN, "that was all of it");
}

fn offered(asked: &Asked) -> bool {
    asked.body["tools"].as_array().unwrap().iter().any(|it| it["function"]["name"] == "message")
}

#[test]
fn what_it_says_in_its_own_chat_is_its_answer() {
    let (telegram, model, server) = begin(json!({}), json!({}));
    telegram.say(ANN, "the number, please");
    let asked = model.asked();
    assert!(offered(&asked));
    let asked =
        call(&model, asked, &json!({ "action": "send", "message": "The number is **42**.\\nReally." }));
    let said = telegram.wait_for_text(ANN, "The number is <b>42</b>.\nReally.");
    let got = result(&asked);
    assert_eq!((&got["ok"], &got["chatId"]), (&json!(true), &json!("7")), "{got}");
    assert_eq!(got["messageId"], said.id.to_string());
    assert!(got["note"].as_str().unwrap().contains("NO_REPLY") && got["saidHere"].is_null(), "{got}");
    let mut asked = asked;
    for piece in ["I have", " sent you", " the number."] {
        asked.say(piece);
        // Half an answer would be shown meanwhile.
        std::thread::sleep(std::time::Duration::from_millis(700));
    }
    asked.end();
    // What the model says of it is kept, and not sent as well.
    last_word(&telegram, &model);
    assert_eq!(telegram.own(ANN).len(), 2, "{:?}", telegram.own(ANN));
    assert!(telegram.calls_of("deleteMessage").is_empty(), "nor was it shown while it was made");
    let mut client = Client::connect(&server, &json!({}));
    let history = client.call("chat.history", &json!({ "sessionKey": "main" })).to_string();
    assert!(
        history.contains("I have sent you the number.") && !history.contains("delivery-mirror"),
        "{history}"
    );

    // What was said before it stays.
    telegram.say(ANN, "explain, and send me the sheet");
    let mut asked = model.asked();
    asked.say("It is made of three parts.");
    let asked =
        call(&model, asked, &json!({ "action": "send", "message": "Here is the sheet that you wanted." }));
    asked.answer("I have sent it.");
    telegram.wait_for_text(ANN, "It is made of three parts.");
    // On the way to an answer it is no answer; what is said again is said once.
    telegram.say(ANN, "and the date?");
    let asked =
        call(&model, model.asked(), &json!({ "action": "send", "message": "I am looking at the calendar." }));
    telegram.wait_for_text(ANN, "looking at the calendar");
    let asked = call(&model, asked, &json!({ "action": "react", "emoji": "👀" }));
    assert_eq!(result(&asked)["ok"], true);
    asked.answer("It is Tuesday.");
    telegram.wait_for_text(ANN, "It is Tuesday.");
    telegram.say(ANN, "and the time?");
    let asked =
        call(&model, model.asked(), &json!({ "action": "send", "message": "It is half past ten now." }));
    let asked = call(&model, asked, &json!({ "action": "react", "emoji": "👍" }));
    asked.answer("It is half past ten **now**!");
    last_word(&telegram, &model);
    let times = |text: &str| telegram.own(ANN).iter().filter(|it| it.text.contains(text)).count();
    assert_eq!((times("half past ten"), times("I have sent")), (1, 0));
}

#[test]
fn other_chats_hear_of_it_and_remember() {
    let (telegram, model, server) = begin(json!({}), json!({}));
    telegram.say(ANN, "tell the team");
    let args = json!({ "action": "send", "target": "telegram:-5", "message": "Dinner is ready.", "silent": true, "buttons": [[{ "text": "Coming", "callback_data": "yes" }]] });
    let asked = call(&model, model.asked(), &args);
    let said = telegram.wait_for_text(-5, "Dinner is ready.");
    assert_eq!(said.params["reply_markup"]["inline_keyboard"][0][0]["callback_data"], "yes");
    assert_eq!(said.params["disable_notification"], true);
    assert!(result(&asked)["note"].is_null());
    asked.answer("I have told them: Dinner is ready.");
    telegram.wait_for_text(ANN, "I have told them");
    // The group's own session knows it, in the reference's shape.
    let mut client = Client::connect(&server, &json!({}));
    let history = client.call("chat.history", &json!({ "sessionKey": "agent:main:telegram:group:-5" }));
    let message = &history["payload"]["messages"][0];
    assert_eq!(message["content"], json!([{ "type": "text", "text": "Dinner is ready." }]), "{history}");
    assert_eq!((&message["provider"], &message["model"]), (&json!("openclaw"), &json!("delivery-mirror")));
    let listed = client.call("sessions.list", &json!({}))["payload"]["sessions"].clone();
    let group =
        listed.as_array().unwrap().iter().find(|it| it["key"] == "agent:main:telegram:group:-5").unwrap();
    assert_eq!((&group["kind"], &group["origin"]["to"]), (&json!("group"), &json!("telegram:-5")), "{group}");

    // Poll, react, edit, delete, and what is refused.
    telegram.say(ANN, "more");
    let poll = json!({ "action": "poll", "target": "-5", "pollQuestion": "Pizza?", "pollOption": ["yes", "no"], "pollMulti": true });
    let asked = call(&model, model.asked(), &poll);
    assert_eq!(result(&asked)["pollId"], "poll-1");
    assert_eq!(telegram.calls_of("sendPoll")[0]["allows_multiple_answers"], true);
    let id = said.id.to_string();
    let asked =
        call(&model, asked, &json!({ "action": "react", "target": "-5", "messageId": id, "emoji": "🎉" }));
    assert_eq!(telegram.calls_of("setMessageReaction")[0]["reaction"][0]["emoji"], "🎉");
    let asked = call(
        &model,
        asked,
        &json!({ "action": "edit", "target": "-5", "messageId": said.id, "message": "Dinner is late." }),
    );
    telegram.wait_for_text(-5, "Dinner is late.");
    let asked = call(&model, asked, &json!({ "action": "delete", "target": "-5", "messageId": id }));
    assert_eq!(result(&asked)["deleted"], true);
    assert!(telegram.own(-5).iter().all(|it| it.id != said.id));
    let asked = call(
        &model,
        asked,
        &json!({ "action": "send", "target": "-5", "message": "not sent", "dryRun": true }),
    );
    assert_eq!((&result(&asked)["dryRun"], &result(&asked)["to"]), (&json!(true), &json!("-5")));
    let asked = call(
        &model,
        asked,
        &json!({ "action": "broadcast", "targets": ["-5", "nobody"], "message": "To everybody" }),
    );
    let results = result(&asked)["results"].clone();
    assert_eq!((&results[0]["ok"], &results[1]["ok"]), (&json!(true), &json!(false)), "{results}");
    telegram.wait_for_text(-5, "To everybody");
    let mut asked = asked;
    for (args, text) in [
        (json!({}), "action must say"),
        (json!({ "action": "dance" }), "unsupported action: dance"),
        (json!({ "action": "send" }), "message required"),
        (json!({ "action": "send", "message": "NO_REPLY" }), "message required"),
        (json!({ "action": "edit", "message": "x" }), "messageId required"),
        (json!({ "action": "send", "target": "nobody", "message": "x" }), "requires target <chatId>"),
        (
            json!({ "action": "send", "channel": "whatsapp", "target": "1", "message": "x" }),
            "unsupported channel: whatsapp",
        ),
        (
            json!({ "action": "send", "accountId": "other", "message": "x" }),
            "unknown Telegram account: other",
        ),
        (json!({ "action": "sticker", "stickerId": ["s"] }), "actions.sticker"),
        (json!({ "action": "read" }), "no history"),
    ] {
        asked = call(&model, asked, &args);
        assert!(result(&asked).as_str().is_some_and(|it| it.contains(text)), "{args}: {}", result(&asked));
    }
    asked.answer("done");
    telegram.wait_for_text(ANN, "done");
    assert!(telegram.all_own().iter().all(|it| !it.text.contains("not sent")));
}

#[test]
fn a_run_stays_where_it_belongs() {
    let strict =
        json!({ "crossContext": { "allowWithinProvider": false }, "broadcast": { "enabled": false } });
    let (telegram, model, _server) = begin(json!({}), strict);
    telegram.say(ANN, "tell Bob");
    let asked = call(&model, model.asked(), &json!({ "action": "send", "target": "9", "message": "psst" }));
    let text = result(&asked).as_str().unwrap().to_owned();
    assert!(
        text.contains("tools.message.crossContext.allowWithinProvider") && text.contains("telegram:9"),
        "{text}"
    );
    let asked = call(&model, asked, &json!({ "action": "broadcast", "targets": ["9"], "message": "psst" }));
    assert!(result(&asked).as_str().unwrap().contains("tools.message.broadcast.enabled"));
    let asked =
        call(&model, asked, &json!({ "action": "send", "target": "7", "message": "That I may not do." }));
    assert_eq!(result(&asked)["ok"], true);
    asked.answer("NO_REPLY");
    last_word(&telegram, &model);
    assert!(telegram.own(9).is_empty() && telegram.own(ANN).len() == 2);
}

#[test]
fn a_marker_says_where_it_comes_from() {
    let marked = json!({ "crossContext": { "marker": { "enabled": true, "suffix": " (by the bot)" } } });
    let (telegram, model, _server) = begin(json!({}), marked);
    telegram.say(ANN, "tell Bob");
    let asked =
        call(&model, model.asked(), &json!({ "action": "send", "target": "9", "message": "Hello Bob" }));
    telegram.wait("it is marked", |it| {
        it.own(9).iter().any(|it| it.text == "[from telegram:7] Hello Bob (by the bot)").then_some(())
    });
    let asked = call(&model, asked, &json!({ "action": "send", "message": "Told him." }));
    telegram.wait("it is not", |it| it.own(ANN).iter().any(|it| it.text == "Told him.").then_some(()));
    asked.answer("NO_REPLY");
    last_word(&telegram, &model);
}

/// A topic is a conversation of its own: who names its chat means it.
#[test]
fn a_topic_is_answered_in_the_topic() {
    let (telegram, model, _server) = begin(json!({ "groupPolicy": "open" }), json!({}));
    let forum = json!({ "id": -6, "type": "supergroup", "is_forum": true, "title": "Forum" });
    telegram.message(-6, 9, json!({ "text": "@ourbot hello", "chat": forum, "message_thread_id": 42 }));
    let asked =
        call(&model, model.asked(), &json!({ "action": "send", "target": "-6", "message": "Here I am." }));
    let said = telegram.wait_for_text(-6, "Here I am.");
    assert_eq!(said.params["message_thread_id"], 42);
    assert!(result(&asked)["note"].is_string());
    let asked =
        call(&model, asked, &json!({ "action": "send", "target": "-6:topic:43", "message": "And here." }));
    assert_eq!(telegram.wait_for_text(-6, "And here.").params["message_thread_id"], 43);
    assert!(result(&asked)["note"].is_null());
    asked.answer("NO_REPLY");
}

/// What was sent before a crash is not sent again, nor answered twice.
#[test]
fn a_crash_between() {
    let (telegram, model, server) = begin(json!({ "retry": { "maxDelayMs": 50 } }), json!({}));
    telegram.say(ANN, "tell me");
    let asked =
        call(&model, model.asked(), &json!({ "action": "send", "message": "Here is what you asked for." }));
    telegram.wait_for_text(ANN, "Here is what you asked for.");
    let home = server.crash();
    drop(asked);
    let server = spawn(home);
    let asked = model.asked();
    assert_eq!(result(&asked)["ok"], true, "the next life knows what was sent: {:?}", asked.told());
    asked.answer("I have sent it to you.");
    last_word(&telegram, &model);
    assert_eq!(telegram.own(ANN).len(), 2, "{:?}", telegram.own(ANN));

    // Killed before anybody knows what came of it: the model is told that, and nothing is sent unasked.
    telegram.fail(|method, _| match method {
        "sendMessage" => Fate::Silent(std::time::Duration::from_secs(60)),
        _ => Fate::Fine,
    });
    telegram.say(ANN, "once more");
    let mut asked = model.asked();
    asked.call("c2", "message", &json!({ "action": "send", "target": "9", "message": "into the dark" }));
    asked.end_with("tool_calls", &usage(11, 7));
    telegram.wait("it was tried", |it| {
        it.calls_of("sendMessage").iter().any(|it| it["text"] == "into the dark").then_some(())
    });
    let home = server.crash();
    telegram.heal();
    let _server = spawn(home);
    let asked = model.asked();
    assert!(result(&asked).as_str().unwrap().contains("nobody knows"), "{:?}", asked.told());
    asked.answer("I do not know whether it went out.");
    telegram.wait_for_text(ANN, "I do not know whether it went out.");
    assert!(telegram.own(9).is_empty());
}

/// A network that cannot be reached refuses at once, in the words of `send`.
#[test]
fn what_cannot_be_sent_is_said() {
    let (telegram, model, server) =
        begin(json!({ "actions": { "reactions": false }, "retry": { "maxDelayMs": 50 } }), json!({}));
    telegram.say(ANN, "try it");
    let asked = call(&model, model.asked(), &json!({ "action": "react", "emoji": "👍" }));
    assert!(result(&asked).as_str().unwrap().contains("channels.telegram.actions.reactions"));
    telegram.fail(|_, _| Fate::Gone);
    let mut client = Client::connect(&server, &json!({}));
    telegram.wait("it is down", |_| {
        let it = client.call("channels.status", &json!({}));
        (it["payload"]["channelAccounts"]["telegram"][0]["connected"] == false).then_some(())
    });
    let asked = call(&model, asked, &json!({ "action": "send", "target": "9", "message": "x" }));
    assert!(result(&asked).as_str().unwrap().contains("Telegram cannot be reached"), "{}", result(&asked));
    telegram.heal();
    asked.answer("It did not work.");
    telegram.wait_for_text(ANN, "It did not work.");
}

/// An account that ends while something is being sent answers for it.
#[test]
fn an_account_that_ends_is_not_waited_for() {
    let (telegram, model) = (Telegram::start(), ModelServer::start());
    let mut config = config_of(&telegram, &model, json!({}), json!({}));
    config["gateway"]["reload"] = json!({ "debounceMs": 0 });
    let server = spawn(Home::new(&config));
    telegram.say(ANN, "try it");
    let mut asked = model.asked();
    telegram.fail(|method, _| match method {
        "sendMessage" => Fate::Silent(std::time::Duration::from_secs(60)),
        _ => Fate::Fine,
    });
    let mut client = Client::connect(&server, &json!({}));
    let send = json!({ "channel": "telegram", "to": "9", "message": "stuck", "idempotencyKey": "k1" });
    client.send(&json!({ "type": "req", "id": "s1", "method": "send", "params": send }).to_string());
    telegram.wait("it is tried", |it| {
        it.calls_of("sendMessage").iter().any(|it| it["text"] == "stuck").then_some(())
    });
    // Behind it.
    asked.call("c1", "message", &json!({ "action": "send", "message": "waits" }));
    asked.end_with("tool_calls", &usage(11, 7));
    let removed = server.home.run(&["channels", "remove"]);
    assert!(removed.status.success(), "{removed:?}");
    let asked = model.asked();
    let text = result(&asked).as_str().unwrap().to_owned();
    // It may have come too late to be taken.
    assert!(text.contains("stop") || text.contains("switched off"), "{text}");
    let refused = client.response("s1");
    assert_eq!(refused["error"]["code"], "UNAVAILABLE", "{refused}");
    asked.answer("It did not work.");
}

/// From elsewhere: a run of a client, a program over HTTP, and a gateway without networks.
#[test]
fn without_a_conversation() {
    let (telegram, model, server) =
        begin(json!({}), json!({ "crossContext": { "allowWithinProvider": false } }));
    let mut client = Client::connect(&server, &json!({}));
    telegram.wait("it is up", |_| {
        let it = client.call("channels.status", &json!({}));
        (it["payload"]["channelAccounts"]["telegram"][0]["connected"] == true).then_some(())
    });
    client.call("chat.send", &json!({ "sessionKey": "main", "message": "tell", "idempotencyKey": "k1" }));
    let asked = call(&model, model.asked(), &json!({ "action": "send", "message": "x" }));
    assert_eq!(result(&asked), "Action send requires a target.");
    let asked = call(&model, asked, &json!({ "action": "send", "target": "9", "message": "From the desk" }));
    telegram.wait_for_text(9, "From the desk");
    asked.answer("done");
    // Where the last one to speak in the session was on a network, it goes there.
    telegram.say(ANN, "hi");
    model.asked().answer("hello");
    telegram.wait_for_text(ANN, "hello");
    client.call("agent", &json!({ "sessionKey": "main", "message": "tell", "idempotencyKey": "k2" }));
    let asked = call(&model, model.asked(), &json!({ "action": "send", "message": "You have mail" }));
    telegram.wait_for_text(ANN, "You have mail");
    assert!(result(&asked)["note"].is_null(), "its answer goes elsewhere");
    asked.answer("done");

    let invoke = |body: Value| {
        let bearer = format!("Bearer {}", crate::harness::TOKEN);
        ask(
            server.addr(),
            "POST",
            "/tools/invoke",
            &[("Authorization", &bearer)],
            body.to_string().as_bytes(),
        )
    };
    let args = |to: &str| json!({ "tool": "message", "args": { "action": "send", "target": to, "message": "by a program" } });
    let got = invoke(args("9"));
    let said = telegram.wait_for_text(9, "by a program");
    assert_eq!(got.status, 200, "{got:?}");
    assert_eq!(got.json()["result"]["details"]["messageId"], said.id.to_string());
    let bad = invoke(args("nobody"));
    assert_eq!((bad.status, &bad.json()["error"]["type"]), (400, &json!("tool_error")), "{bad:?}");

    let mut alone = config_of(&telegram, &model, json!({}), json!({}));
    alone.as_object_mut().unwrap().remove("channels");
    let server = Server::start(&alone);
    let mut client = Client::connect(&server, &json!({}));
    client.call("chat.send", &json!({ "sessionKey": "main", "message": "hi", "idempotencyKey": "k3" }));
    let asked = model.asked();
    assert!(!offered(&asked));
    asked.answer("hello");
    let body = args("9").to_string();
    let bearer = format!("Bearer {}", crate::harness::TOKEN);
    let got = ask(server.addr(), "POST", "/tools/invoke", &[("Authorization", &bearer)], body.as_bytes());
    assert_eq!(got.status, 404, "{got:?}");
}

/// What clients send is repeated in the session of the chat, or in the one that they name.
#[test]
fn what_is_sent_stands_in_a_session() {
    let telegram = Telegram::start();
    let server = start(&telegram, json!({}));
    let mut client = Client::connect(&server, &json!({}));
    telegram.say(ANN, "hello");
    telegram.wait_for_text(ANN, "hello");
    let mut send = |key: &str, more: Value| {
        let mut params = json!({ "channel": "telegram", "message": key, "idempotencyKey": key });
        crate::client::merge(&mut params, &more);
        let sent = client.call("send", &params);
        assert_eq!(sent["ok"], true, "{sent}");
    };
    send("to the topic", json!({ "to": "-6:topic:42" }));
    send("to Bob", json!({ "to": "9" }));
    send("for the topic", json!({ "to": "9", "sessionKey": "agent:main:telegram:group:-6:topic:42" }));
    send("for nobody", json!({ "to": "9", "sessionKey": "agent:main:nobody" }));
    let mut shown = |key: &str| {
        let got = client.call("chat.history", &json!({ "sessionKey": key }));
        let all = got["payload"]["messages"].as_array().unwrap().clone();
        all.iter().map(|it| it["content"][0]["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(shown("agent:main:telegram:group:-6:topic:42"), ["to the topic", "for the topic"]);
    assert_eq!(shown("main").last().unwrap(), "to Bob", "direct chats are one conversation");
    assert!(shown("agent:main:nobody").is_empty());
}
