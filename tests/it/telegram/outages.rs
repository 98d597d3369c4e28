//! What goes wrong between us and Telegram costs time, and nothing else.
use super::*;
use crate::client::Client;
use crate::telegram_server::{Fate, flood};
use std::collections::BTreeMap;
use std::time::Duration;

/// What was answered, and how often: the parrot says each text back.
fn counts(telegram: &Telegram, texts: &[String]) -> BTreeMap<String, usize> {
    let mut out: BTreeMap<String, usize> = texts.iter().map(|it| (it.clone(), 0)).collect();
    for message in telegram.all_own() {
        for part in message.text.split("message-").skip(1) {
            let number: String = part.chars().take_while(char::is_ascii_digit).collect();
            if let Some(it) = out.get_mut(&format!("message-{number}-x")) {
                *it += 1;
            }
        }
    }
    out
}

fn each_once(telegram: &Telegram, texts: &[String]) {
    let wrong: Vec<_> = counts(telegram, texts).into_iter().filter(|it| it.1 != 1).collect();
    let own = telegram.all_own();
    let of = |text: &str| {
        own.iter().filter(|it| it.text.contains(text)).map(|it| (it.chat, it.id)).collect::<Vec<_>>()
    };
    let shown: Vec<_> = wrong.iter().map(|it| (&it.0, of(&it.0))).collect();
    assert!(wrong.is_empty(), "lost or said twice: {shown:?}");
}

/// Refusals, broken connections, and calls that were done though nobody said so.
#[test]
fn answers_arrive_once() {
    let telegram = Telegram::start();
    let _server = start(&telegram, json!({ "retry": { "maxDelayMs": 50 } }));
    telegram.fail(|method, n| match (method, n % 7) {
        ("sendMessage", 0) => Fate::Refuse(502, json!({ "description": "Bad Gateway" })),
        ("sendMessage", 2) => Fate::DoneThen(502),
        ("sendMessage", 3) => Fate::Gone,
        ("sendMessage", 5) => Fate::DoneThenGone,
        ("sendMessage", 6) => flood(1),
        ("getUpdates", 1) => Fate::Refuse(409, json!({ "description": "Conflict" })),
        ("getUpdates", 3) => Fate::Gone,
        ("getUpdates", 5) => Fate::DoneThen(502),
        _ => Fate::Fine,
    });
    let texts: Vec<String> = (0..12).map(|it| format!("message-{it}-x")).collect();
    for it in &texts {
        telegram.say(ANN, it);
    }
    telegram.wait_for(Duration::from_secs(60), "all are answered", &mut |it| {
        counts(it, &texts).values().all(|it| *it > 0).then_some(())
    });
    telegram.heal();
    telegram.say(ANN, "the last word");
    telegram.wait_for_text(ANN, "the last word");
    each_once(&telegram, &texts);
    // In the order in which they were asked.
    let own: Vec<String> = telegram.own(ANN).into_iter().map(|it| it.text).collect();
    let order: Vec<usize> =
        texts.iter().map(|text| own.iter().position(|it| it.contains(text.as_str())).unwrap()).collect();
    assert!(order.is_sorted(), "{order:?}");
}

/// A chat that is held back holds no other one.
#[test]
fn a_flood_is_one_chats_own() {
    let telegram = Telegram::start();
    let _server = start(&telegram, json!({ "allowFrom": [ANN, 8] }));
    telegram.fail(|method, n| if method == "sendMessage" && n == 0 { flood(3) } else { Fate::Fine });
    telegram.say(ANN, "slow one");
    telegram.wait("it was refused", |it| (!it.calls_of("sendMessage").is_empty()).then_some(()));
    telegram.say(8, "fast one");
    telegram.wait_for_text(8, "fast one");
    assert!(telegram.own(ANN).is_empty());
    telegram.wait_for_text(ANN, "slow one");
}

#[test]
fn a_send_that_cannot_be_done_says_so_at_once() {
    let telegram = Telegram::start();
    telegram.down(true);
    let server = start(&telegram, json!({}));
    let mut client = Client::connect(&server, &json!({}));
    let it = client
        .call("send", &json!({ "channel": "telegram", "to": "9", "message": "x", "idempotencyKey": "k1" }));
    assert_eq!(it["error"]["code"], "UNAVAILABLE", "{it}");
    telegram.down(false);
    telegram.say(ANN, "are you back");
    telegram.wait_for_text(ANN, "are you back");
    assert!(telegram.own(9).is_empty(), "what was refused is not sent later");
    // A bot that Telegram does not know.
    let mut config = with_telegram(&telegram, json!({}));
    config["channels"]["telegram"]["botToken"] = "999:wrong".into();
    let server = spawn(Home::new(&config));
    let mut client = Client::connect(&server, &json!({}));
    let refused = telegram.wait("it is refused", |_| {
        let key = format!("{:?}", std::time::Instant::now());
        let it = client.call(
            "send",
            &json!({ "channel": "telegram", "to": "9", "message": "x", "idempotencyKey": key }),
        );
        (it["error"]["code"] == "NOT_LINKED").then_some(it)
    });
    assert!(refused["error"]["message"].as_str().unwrap().contains("@BotFather"), "{refused}");
}

/// A name that is none, and a server that takes calls and says nothing: the latter takes the deadline of a poll, 40 s.
#[test]
fn servers_that_are_none() {
    let telegram = Telegram::start();
    let server = start(&telegram, json!({ "apiRoot": "http://no-such-host.invalid" }));
    let mut client = Client::connect(&server, &json!({}));
    telegram.wait("the name is not found", |_| {
        let it = client.call("channels.status", &json!({}));
        let error = it["payload"]["channelAccounts"]["telegram"][0]["lastError"].as_str().map(str::to_owned);
        error.filter(|it| it.contains("name") || it.contains("host"))
    });
    if std::env::var_os("GATEWAYD_SLOW").is_none() {
        return;
    }
    telegram.fail(|method, n| {
        if method == "getUpdates" && n == 0 { Fate::Silent(Duration::from_secs(300)) } else { Fate::Fine }
    });
    let _server = start(&telegram, json!({}));
    telegram.say(ANN, "are you deaf");
    telegram.wait_for(Duration::from_secs(60), "it is answered", &mut |it| it.own(ANN).first().map(drop));
}

/// kill -9 in the middle of everything, many times: each message is answered, none twice.
fn storm(kills: usize, messages: usize, people: i64) {
    let telegram = Telegram::start();
    let people: Vec<i64> = (1..=people).collect();
    let mut config = with_telegram(
        &telegram,
        json!({ "allowFrom": people, "retry": { "maxDelayMs": 100 }, "streamMode": "off" }),
    );
    config["agents"]["defaults"]["maxConcurrent"] = 8.into();
    // A conversation for each of them.
    config["session"] = json!({ "dmScope": "per-channel-peer" });
    let mut home = Home::new(&config);
    let texts: Vec<String> = (0..messages).map(|it| format!("message-{it}-x")).collect();
    let mut waiting = texts.iter();
    let mut seed = 1u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    telegram.fail({
        let mut n = 0u64;
        move |method, _| {
            n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(11);
            match (method, (n >> 40) % 23) {
                ("sendMessage", 1) => flood(1),
                ("sendMessage", 2) | ("getUpdates", 2) => Fate::Refuse(502, json!({})),
                ("sendMessage", 3) => Fate::DoneThen(502),
                ("sendMessage", 4) => Fate::DoneThenGone,
                ("sendMessage", 5) | ("getUpdates", 5) => Fate::Gone,
                ("getUpdates", 4) => Fate::Refuse(409, json!({})),
                ("sendMessage", 6) => Fate::Silent(Duration::from_millis(200)),
                _ => Fate::Fine,
            }
        }
    });
    for _ in 0..kills {
        let server = spawn(home);
        for text in waiting.by_ref().take(messages / kills.max(1)) {
            telegram.say(people[random(people.len() as u64) as usize], text);
        }
        std::thread::sleep(Duration::from_millis(random(400)));
        home = server.crash();
    }
    telegram.heal();
    let _server = spawn(home);
    for text in waiting {
        telegram.say(people[0], text);
    }
    let patience = Duration::from_secs(60 + messages as u64 / 10);
    telegram.wait_for(patience, "all are answered", &mut |it| {
        let own = it.all_own();
        (own.len() >= texts.len() && counts(it, &texts).values().all(|it| *it > 0)).then_some(())
    });
    each_once(&telegram, &texts);
}

#[test]
fn a_storm_of_kills() {
    if std::env::var_os("GATEWAYD_SLOW").is_some() {
        // Many of these lives end before they have said anything, so that more and more waits for the next one.
        storm(200, 10_000, 200);
    } else {
        storm(8, 200, 100);
    }
}
