//! What people say, and what they are answered.
use super::*;
use crate::client::Client;
use crate::model_server::ModelServer;

fn sessions(server: &Server) -> Value {
    let path = server.home.state().join("agents/main/sessions/sessions.json");
    std::fs::read(path).map_or(json!({}), |it| serde_json::from_slice(&it).unwrap())
}

#[test]
fn words_in_and_an_answer_out() {
    let telegram = Telegram::start();
    let server = start(&telegram, json!({}));
    let asked = telegram.say(ANN, "hello there");
    let said = telegram.wait_for_text(ANN, "hello there");
    assert!(said.params["reply_parameters"].is_null(), "a direct chat needs no pointing: {}", said.params);
    assert_eq!(said.params["parse_mode"], "HTML");
    telegram.wait("it is confirmed", |it| (it.unconfirmed() == 0).then_some(()));
    assert!(!telegram.calls_of("sendChatAction").is_empty(), "it is typing");
    // The conversation is the agent's own, and knows where it was.
    let mut client = Client::connect(&server, &json!({}));
    let listed = client.call("sessions.list", &json!({}))["payload"]["sessions"][0].clone();
    assert_eq!(listed["key"], "agent:main:main", "{listed}");
    assert_eq!(listed["lastChannel"], "telegram");
    assert_eq!(listed["lastTo"], format!("telegram:{ANN}"));
    let history = client.call("chat.history", &json!({ "sessionKey": "main" }));
    assert!(history["payload"]["messages"][0].to_string().contains("hello there"), "{history}");
    let offset: Value = serde_json::from_slice(
        &std::fs::read(server.home.state().join("telegram/update-offset-default.json")).unwrap(),
    )
    .unwrap();
    assert_eq!(offset, json!({ "version": 1, "lastUpdateId": 1001 }));
    assert_eq!(telegram.own(ANN).len(), 1, "{asked}: once");
}

#[test]
fn groups_topics_and_who_is_meant() {
    let telegram = Telegram::start();
    let server = start(&telegram, json!({ "groupPolicy": "open" }));
    telegram.message(-5, 8, json!({ "text": "just chatting" }));
    let asked = telegram.message(-5, 9, json!({ "text": "@OurBot and you?" }));
    let said = telegram.wait_for_text(-5, "and you?");
    let mut client = Client::connect(&server, &json!({}));
    let history =
        client.call("chat.history", &json!({ "sessionKey": "agent:main:telegram:group:-5" })).to_string();
    assert!(history.contains("just chatting"), "what was said before is context: {history}");
    assert_eq!(said.params["reply_parameters"]["message_id"], asked);
    // In a topic the answer stays there.
    let forum = json!({ "id": -6, "type": "supergroup", "is_forum": true, "title": "Forum" });
    telegram.message(-6, 9, json!({ "text": "@ourbot in a topic", "chat": forum, "message_thread_id": 42 }));
    let said = telegram.wait_for_text(-6, "in a topic");
    assert_eq!(said.params["message_thread_id"], 42);
    let answered = said.id;
    // Answering the bot is enough.
    let reply_to = json!({ "message_id": answered, "from": { "id": 123_456, "is_bot": true, "first_name": "Our" }, "text": "x" });
    telegram.message(
        -6,
        9,
        json!({ "text": "more of it", "chat": forum, "message_thread_id": 42, "reply_to_message": reply_to }),
    );
    telegram.wait_for_text(-6, "more of it");
    let keys: Vec<String> = sessions(&server).as_object().unwrap().keys().cloned().collect();
    assert!(
        keys.contains(&"agent:main:telegram:group:-5".to_owned())
            && keys.contains(&"agent:main:telegram:group:-6:topic:42".to_owned()),
        "{keys:?}"
    );
}

/// Patterns of the agent that is meant; a reaction while it works, gone when it has answered; tools as the group allows them.
#[test]
fn groups_have_words_signs_and_tools_of_their_own() {
    let telegram = Telegram::start();
    let groups = json!({
        "-5": { "tools": { "deny": ["exec"] } },
        "-6": { "toolsBySender": { "9": { "allow": ["read"] } } },
        "-7": { "requireMention": false },
    });
    let mut config = with_telegram(&telegram, json!({ "groupPolicy": "open", "groups": groups }));
    config["agents"]["list"] = json!([
        { "id": "work", "default": true, "groupChat": { "mentionPatterns": ["\\bworkers?\\b", "(?=x)"] }, "identity": { "emoji": "👌" } },
        { "id": "home", "groupChat": { "mentionPatterns": ["homebody"] } },
    ]);
    config["bindings"] = json!([{ "agentId": "home", "match": { "channel": "telegram", "peer": { "kind": "group", "id": "-6" } } }]);
    config["messages"] = json!({ "removeAckAfterReply": true });
    let home = Home::new(&config);
    let checked = home.run(&["config", "validate"]);
    let said =
        format!("{}{}", String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    assert!(
        checked.status.success() && said.contains("agents.list.0.groupChat.mentionPatterns.1"),
        "{checked:?}"
    );
    let _server = spawn(home);
    let exec = |name: &str| format!("{name} call exec {{\"command\":\"echo done-$((40+2))\"}}");
    telegram.message(-5, 8, json!({ "text": "homebody, not you" }));
    let asked = telegram.message(-5, 8, json!({ "text": exec("WORKERS") }));
    telegram.wait("it is answered", |it| (!it.own(-5).is_empty()).then_some(()));
    let reactions = |it: &Telegram| {
        let all = it.calls_of("setMessageReaction");
        all.iter().map(|it| (it["message_id"].clone(), it["reaction"].clone())).collect::<Vec<_>>()
    };
    let want = [(json!(asked), json!([{ "type": "emoji", "emoji": "👌" }])), (json!(asked), json!([]))];
    telegram.wait("the reaction comes and goes", |it| (reactions(it) == want).then_some(()));
    // In -7 nobody must be named, so no reaction says that one was.
    telegram.message(-7, 8, json!({ "text": exec("anybody") }));
    telegram.wait_for_text(-7, "done-42");
    assert!(telegram.own(-5).iter().all(|it| !it.text.contains("done-42")), "{:?}", telegram.own(-5));
    telegram.message(-6, 8, json!({ "text": "worker, not you" }));
    telegram.message(-6, 8, json!({ "text": exec("homebody") }));
    telegram.wait_for_text(-6, "done-42");
    let before = telegram.own(-6).len();
    telegram.message(-6, 9, json!({ "text": exec("homebody") }));
    telegram.wait("it is answered", |it| (it.own(-6).len() > before).then_some(()));
    assert_eq!(telegram.own(-6).iter().filter(|it| it.text.contains("done-42")).count(), 1);
    telegram.wait("the other reactions come and go", |it| (reactions(it).len() == 6).then_some(()));
}

#[test]
fn commands_files_and_buttons() {
    let telegram = Telegram::start();
    let server = start(&telegram, json!({}));
    telegram.say(ANN, "/status");
    telegram.wait_for_text(ANN, "parrot");
    telegram.say(ANN, "/whoami@OurBot");
    telegram.wait_for_text(ANN, "7");
    telegram.file("cat", b"\x89PNG\r\n\x1a\nrest");
    telegram.message(
        ANN,
        ANN,
        json!({ "photo": [{ "file_id": "cat", "width": 5, "file_size": 12 }], "caption": "look at this" }),
    );
    let said = telegram.wait_for_text(ANN, "look at this");
    assert!(said.text.contains("&lt;media:image&gt; [media attached: "), "{}", said.text);
    let dir = server.home.state().join("media/inbound");
    assert_eq!(std::fs::read_dir(dir).unwrap().count(), 1);
    let chat = json!({ "id": ANN, "type": "private" });
    telegram.update(json!({ "callback_query": { "id": "c1", "data": "yes", "from": { "id": ANN, "first_name": "Ann" }, "message": { "message_id": 5, "chat": chat } } }));
    telegram.wait_for_text(ANN, "callback_data: yes");
    assert_eq!(telegram.calls_of("answerCallbackQuery")[0]["callback_query_id"], "c1");
}

#[test]
fn long_and_odd_answers_always_arrive() {
    let telegram = Telegram::start();
    let _server = start(&telegram, json!({ "textChunkLimit": 500 }));
    telegram.say(ANN, &"**bold** words and `code` <tags>. ".repeat(40));
    telegram.wait("three pieces", |it| (it.own(ANN).len() >= 3).then_some(()));
    assert!(telegram.own(ANN).iter().all(|it| it.text.chars().count() < 1500));
    assert!(
        telegram.own(ANN)[0].text.contains("<b>bold</b> words and <code>code</code> &lt;tags&gt;"),
        "{}",
        telegram.own(ANN)[0].text
    );
    // What is refused as HTML is said as it was written.
    telegram.say(ANN, "REFUSE-HTML **x**");
    let said = telegram.wait_for_text(ANN, "REFUSE-HTML");
    assert!(said.params["parse_mode"].is_null() && said.text.contains("**x**"), "{}", said.text);
}

/// A model that takes its time: half an answer is shown, and the whole one takes its place.
#[test]
fn an_answer_is_shown_while_it_is_made() {
    let (telegram, model) = (Telegram::start(), ModelServer::start());
    let mut config = with_telegram(&telegram, json!({}));
    config["agents"] = json!({ "defaults": { "model": { "primary": "slow/one" } } });
    config["models"] = json!({ "providers": { "slow": { "baseUrl": model.base_url(), "api": "openai-completions", "apiKey": "k", "models": [{ "id": "one" }] } } });
    let _server = spawn(Home::new(&config));
    telegram.say(ANN, "tell me");
    let mut asked = model.asked();
    asked.say("Once upon");
    // The first look at it comes with words that are said later.
    std::thread::sleep(std::time::Duration::from_millis(700));
    asked.say(" a time");
    let preview = telegram.wait_for_text(ANN, "Once upon");
    asked.say(" there was an **end**.");
    asked.end();
    let said = telegram.wait_for_text(ANN, "<b>end</b>");
    assert_eq!((said.id, telegram.own(ANN).len()), (preview.id, 1), "one message");
}

#[test]
fn pairing_lets_somebody_in() {
    let telegram = Telegram::start();
    let server = start(&telegram, json!({ "allowFrom": [] }));
    telegram.say(8, "let me in");
    let told = telegram.wait_for_text(8, "pairing approve telegram");
    let code = told.text.split("Pairing code: ").nth(1).unwrap()[..8].to_owned();
    telegram.say(8, "hello?");
    telegram.wait("it is confirmed", |it| (it.unconfirmed() == 0).then_some(()));
    assert_eq!(telegram.own(8).len(), 1, "told once");
    let listed = server.home.run(&["pairing", "list", "telegram"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains(&code), "{listed:?}");
    let wrong = server.home.run(&["pairing", "approve", "telegram", "AAAA2222"]);
    assert!(!wrong.status.success());
    let done = server.home.run(&["pairing", "approve", "telegram", &code]);
    assert!(done.status.success(), "{done:?}");
    telegram.say(8, "now I am in");
    telegram.wait_for_text(8, "now I am in");
}

#[test]
fn clients_send_through_it() {
    let telegram = Telegram::start();
    let server = start(&telegram, json!({}));
    let mut client = Client::connect(&server, &json!({}));
    telegram.wait("it is up", |_| {
        let it = client.call("channels.status", &json!({}));
        (it["payload"]["channelAccounts"]["telegram"][0]["connected"] == true).then_some(())
    });
    let send =
        json!({ "channel": "telegram", "to": "9", "message": "from a client", "idempotencyKey": "k1" });
    let first = client.call("send", &send);
    let said = telegram.wait_for_text(9, "from a client");
    assert_eq!(
        first["payload"],
        json!({ "runId": "k1", "channel": "telegram", "messageId": said.id.to_string(), "chatId": "9" }),
        "{first}"
    );
    assert_eq!(client.call("send", &send)["payload"], first["payload"], "said once");
    assert_eq!(telegram.own(9).len(), 1);
    let poll = client.call("poll", &json!({ "channel": "telegram", "to": "9", "question": "Snack?", "options": ["a", "b"], "idempotencyKey": "k2" }));
    assert_eq!(poll["payload"]["pollId"], "poll-1", "{poll}");
    let bad = client.call(
        "send",
        &json!({ "channel": "telegram", "to": "nobody", "message": "x", "idempotencyKey": "k3" }),
    );
    assert!(
        bad["error"]["message"]
            .as_str()
            .unwrap()
            .starts_with("Error: Delivering to Telegram requires target <chatId>"),
        "{bad}"
    );
    // An answer of a run goes where it is told to.
    let run = client.call("agent", &json!({ "message": "hi agent", "deliver": true, "channel": "telegram", "replyTo": "11", "agentId": "main", "idempotencyKey": "k4" }));
    assert_eq!(run["payload"]["status"], "accepted", "{run}");
    telegram.wait_for_text(11, "hi agent");
    // Or to who spoke last.
    telegram.say(ANN, "I was here");
    telegram.wait_for_text(ANN, "I was here");
    client.call("agent", &json!({ "message": "to the last one", "deliver": true, "channel": "last", "sessionKey": "main", "idempotencyKey": "k5" }));
    telegram.wait_for_text(ANN, "to the last one");
}

#[test]
fn status_says_what_was_measured() {
    let telegram = Telegram::start();
    let server = start(&telegram, json!({}));
    telegram.say(ANN, "hi");
    telegram.wait_for_text(ANN, "hi");
    let mut client = Client::connect(&server, &json!({}));
    // That it was said is known here before it is known there.
    let it = telegram.wait("it is measured", |_| {
        let it = client.call("channels.status", &json!({ "probe": true }))["payload"].clone();
        it["channelAccounts"]["telegram"][0]["lastOutboundAt"].is_i64().then_some(it)
    });
    assert_eq!(
        it["channelMeta"],
        json!([{ "id": "telegram", "label": "Telegram", "detailLabel": "Telegram Bot", "systemImage": "paperplane" }])
    );
    let account = &it["channelAccounts"]["telegram"][0];
    assert_eq!(account["probe"]["bot"]["username"], "OurBot", "{account}");
    for name in ["lastPollAt", "lastInboundAt", "lastOutboundAt", "lastStartAt"] {
        assert!(account[name].as_i64() > Some(1_700_000_000_000), "{name}: {account}");
    }
    assert!(it["channels"]["telegram"]["running"] == true && account["lastError"].is_null(), "{it}");
    // Signed out: the file forgets the token, and the account stops by itself.
    let out = client.call("channels.logout", &json!({ "channel": "telegram" }))["payload"].clone();
    assert_eq!(
        out,
        json!({ "channel": "telegram", "accountId": "default", "cleared": true, "envToken": false, "loggedOut": true })
    );
    let config = std::fs::read_to_string(server.home.state().join("openclaw.json")).unwrap();
    assert!(!config.contains(TOKEN));
    let refused = telegram.wait("it is signed out", |_| {
        let it = client.call("send", &json!({ "channel": "telegram", "to": "9", "message": "x", "idempotencyKey": format!("{:?}", std::time::Instant::now()) }));
        (it["error"]["code"] == "NOT_LINKED").then_some(it)
    });
    assert!(refused["error"]["message"].as_str().unwrap().contains("botToken"), "{refused}");
}

#[test]
fn messages_are_reacted_to_changed_and_deleted() {
    let telegram = Telegram::start();
    let server = start(&telegram, json!({}));
    let mut client = Client::connect(&server, &json!({}));
    telegram.say(ANN, "hi");
    let said = telegram.wait_for_text(ANN, "hi");
    let run = |args: &[&str]| {
        let url = format!("ws://127.0.0.1:{}", server.port);
        let all =
            [&["message"], args, &["--channel", "telegram", "--url", &url, "--token", "tokA", "--json"]]
                .concat();
        let out = server.home.run(&all);
        assert!(out.status.success(), "{args:?}: {out:?}");
        serde_json::from_slice::<Value>(&out.stdout).unwrap()
    };
    let id = said.id.to_string();
    run(&["react", "--target", "7", "--message-id", &id, "--emoji", "👍"]);
    assert_eq!(telegram.calls_of("setMessageReaction")[0]["reaction"][0]["emoji"], "👍");
    run(&["edit", "--target", "7", "--message-id", &id, "-m", "better"]);
    telegram.wait_for_text(ANN, "better");
    let sent = run(&[
        "send",
        "--target",
        "7",
        "-m",
        "choose",
        "--buttons",
        r#"[[{"text":"Yes","callback_data":"yes"}]]"#,
        "--silent",
    ]);
    let shown = telegram.wait_for_text(ANN, "choose");
    assert_eq!(shown.params["reply_markup"]["inline_keyboard"][0][0]["text"], "Yes");
    assert_eq!(
        (&sent["messageId"], &shown.params["disable_notification"]),
        (&json!(shown.id.to_string()), &json!(true))
    );
    run(&["delete", "--target", "7", "--message-id", &id]);
    assert!(telegram.own(ANN).iter().all(|it| it.id != said.id));
    run(&["poll", "--target", "7", "--poll-question", "Snack?", "--poll-option", "a", "--poll-option", "b"]);
    telegram.wait_for_text(ANN, "Snack?");
    // Of the workspace, and nothing else.
    let dir = server.home.state().join("workspace");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("a.png"), b"png").unwrap();
    let send = |client: &mut Client, path: &str, key: &str| {
        client.call("send", &json!({ "channel": "telegram", "to": "7", "message": "see", "mediaUrl": path, "idempotencyKey": key }))
    };
    let good = send(&mut client, dir.join("a.png").to_str().unwrap(), "f1");
    assert_eq!(good["ok"], true, "{good}");
    assert_eq!(telegram.calls_of("sendPhoto")[0]["photo"], json!({ "name": "a.png", "bytes": 3 }));
    let bad = send(&mut client, server.home.state().join("openclaw.json").to_str().unwrap(), "f2");
    assert!(bad["error"]["message"].as_str().unwrap().contains("only files of a workspace"), "{bad}");
}

/// The command line puts an account into the file, and the running gateway takes it up without a restart.
#[test]
fn accounts_come_and_go_while_it_runs() {
    let telegram = Telegram::start();
    let mut config = with_telegram(&telegram, json!({}));
    config["channels"]["telegram"].as_object_mut().unwrap().remove("botToken");
    config["gateway"]["reload"] = json!({ "debounceMs": 0 });
    let mut server = spawn(Home::new(&config));
    let run = |server: &Server, args: &[&str]| {
        let out = server.home.run(args);
        assert!(out.status.success(), "{args:?}: {out:?}");
        String::from_utf8(out.stdout).unwrap()
    };
    assert!(run(&server, &["channels", "list"]).contains("not configured"));
    run(&server, &["channels", "add", "--channel", "telegram", "--token", TOKEN, "--name", "Ours"]);
    server.wait_line("is @ourbot");
    telegram.say(ANN, "is anybody there");
    telegram.wait_for_text(ANN, "is anybody there");
    assert!(run(&server, &["channels", "login"]).contains("@OurBot"));
    let listed: Value = serde_json::from_str(&run(&server, &["channels", "list", "--json"])).unwrap();
    assert_eq!(
        listed["accounts"][0],
        json!({ "channel": "telegram", "accountId": "default", "enabled": true, "configured": true, "tokenSource": "config", "name": "Ours" })
    );
    run(&server, &["channels", "remove"]);
    server.wait_line("stops");
    run(&server, &["channels", "remove", "--delete"]);
    assert!(!std::fs::read_to_string(server.home.state().join("openclaw.json")).unwrap().contains(TOKEN));
}

/// Telegram calls us: the secret counts, and what was brought is answered.
#[test]
fn a_webhook() {
    use std::io::{Read, Write};
    let telegram = Telegram::start();
    let port = crate::harness::free_port();
    let more = json!({ "webhookUrl": "https://bot.example/hook", "webhookSecret": "hook-secret-1", "webhookPort": port });
    let mut server = start(&telegram, more);
    server.wait_line("Telegram calls https://bot.example/hook");
    let set = &telegram.calls_of("setWebhook")[0];
    assert_eq!((&set["secret_token"], &set["max_connections"]), (&json!("hook-secret-1"), &json!(1)));
    let call = |secret: &str, update: &Value| {
        let body = update.to_string();
        let mut socket = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        write!(socket, "POST /telegram-webhook HTTP/1.1\r\nHost: x\r\nX-Telegram-Bot-Api-Secret-Token: {secret}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        let _ = socket.read_to_string(&mut answer);
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    let said = |number: i64, text: &str| json!({ "update_id": number, "message": { "message_id": number, "date": 1, "text": text, "chat": { "id": ANN, "type": "private" }, "from": { "id": ANN, "first_name": "Ann" } } });
    assert_eq!(call("wrong", &said(5, "not this")), "401");
    assert_eq!(call("hook-secret-1", &said(6, "by the hook")), "200");
    telegram.wait_for_text(ANN, "by the hook");
    // Brought again because the answer got lost.
    assert_eq!(call("hook-secret-1", &said(6, "by the hook")), "200");
    assert_eq!(call("hook-secret-1", &said(7, "and again")), "200");
    telegram.wait_for_text(ANN, "and again");
    assert_eq!(telegram.own(ANN).len(), 2);
}

/// An answer that was ready when the gateway stopped is sent by the next one, once.
#[test]
fn what_was_ready_is_sent_after_the_restart() {
    let telegram = Telegram::start();
    let server = start(&telegram, json!({ "retry": { "maxDelayMs": 100 } }));
    telegram.fail(|method, _| {
        if method == "sendMessage" {
            crate::telegram_server::Fate::Gone
        } else {
            crate::telegram_server::Fate::Fine
        }
    });
    telegram.say(ANN, "remember me");
    telegram.wait("it was tried", |it| (!it.calls_of("sendMessage").is_empty()).then_some(()));
    server.signal(libc::SIGTERM);
    let mut server = server;
    assert!(server.wait().0.success());
    let home = server.leave_home();
    telegram.heal();
    let _server = spawn(home);
    telegram.wait_for_text(ANN, "remember me");
    telegram.say(ANN, "and now");
    telegram.wait_for_text(ANN, "and now");
    assert_eq!(telegram.own(ANN).len(), 2);
}

/// R12: three runs that go on and twelve answers that cannot leave. The runs are waited for; the answers leave in the next life, once each.
#[test]
fn a_stop_amid_runs_and_answers() {
    let telegram = Telegram::start();
    let people: Vec<i64> = (20..32).collect();
    let mut config = with_telegram(
        &telegram,
        json!({ "allowFrom": people, "retry": { "maxDelayMs": 100 }, "streamMode": "off" }),
    );
    config["session"] = json!({ "dmScope": "per-channel-peer" });
    config["agents"]["defaults"]["maxConcurrent"] = 8.into();
    let mut server = spawn(Home::new(&config));
    telegram.fail(|method, _| match method {
        "sendMessage" => crate::telegram_server::Fate::Gone,
        _ => crate::telegram_server::Fate::Fine,
    });
    for it in &people {
        telegram.say(*it, &format!("message-{it}-x"));
    }
    let kept = server.home.state().join("deliveries.jsonl");
    telegram.wait("all are ready", |_| {
        let text = std::fs::read_to_string(&kept).ok()?;
        people.iter().all(|it| text.contains(&format!("message-{it}-x"))).then_some(())
    });
    let mut client = Client::connect(&server, &json!({}));
    let gate = server.home.temp.path().join("gate");
    let line = format!(
        r#"call exec {{"command":"echo begun >> {0}.begun; until test -e {0}; do sleep 0.1; done; echo after"}}"#,
        gate.display()
    );
    for n in 0..3 {
        let key = format!("run-{n}");
        let params =
            json!({ "sessionKey": format!("agent:main:{key}"), "message": line, "idempotencyKey": key });
        assert_eq!(client.call("chat.send", &params)["ok"], true);
    }
    let begun = gate.with_extension("begun");
    telegram
        .wait("three runs", |_| (std::fs::read_to_string(&begun).ok()?.lines().count() == 3).then_some(()));
    server.signal(libc::SIGTERM);
    server.wait_line("waiting up to 30 s for what is being answered");
    let params = json!({ "sessionKey": "agent:main:late", "message": "x", "idempotencyKey": "late" });
    assert_eq!(client.call("chat.send", &params)["error"]["code"], "UNAVAILABLE", "no new work");
    std::fs::write(&gate, "").unwrap();
    assert_eq!(client.until_event("shutdown"), (1012, "service restart".to_owned()));
    assert!(server.wait().0.success());
    let home = server.leave_home();
    telegram.heal();
    let server = spawn(home);
    for it in &people {
        telegram.wait_for_text(*it, &format!("message-{it}-x"));
    }
    let mut client = Client::connect(&server, &json!({}));
    for n in 0..3 {
        let params = json!({ "sessionKey": format!("agent:main:run-{n}") });
        let history = client.call("chat.history", &params)["payload"]["messages"].to_string();
        assert!(history.contains("after"), "the run {n} was answered: {history}");
    }
    // Whoever is asked once more has had every earlier answer before.
    for it in &people {
        telegram.say(*it, "and now");
        telegram.wait_for_text(*it, "and now");
        assert_eq!(telegram.own(*it).len(), 2, "{it}");
    }
}
