//! What goes wrong between us and Telegram costs time, and nothing else.
use super::*;
use crate::client::Client;
use crate::model_server::{Asked, ModelServer};
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

fn each_once(telegram: &Telegram, texts: &[String], about: &str) {
    let wrong: Vec<_> = counts(telegram, texts).into_iter().filter(|it| it.1 != 1).collect();
    let own = telegram.all_own();
    let of = |text: &str| {
        own.iter().filter(|it| it.text.contains(text)).map(|it| (it.chat, it.id)).collect::<Vec<_>>()
    };
    let shown: Vec<_> = wrong.iter().map(|it| (&it.0, of(&it.0))).collect();
    assert!(wrong.is_empty(), "{about}: lost or said twice: {shown:?}");
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
    let texts: Vec<String> = (0..8).map(|it| format!("message-{it}-x")).collect();
    for it in &texts {
        telegram.say(ANN, it);
    }
    telegram.wait_for(Duration::from_secs(60), "all are answered", &mut |it| {
        counts(it, &texts).values().all(|it| *it > 0).then_some(())
    });
    telegram.heal();
    telegram.say(ANN, "the last word");
    telegram.wait_for_text(ANN, "the last word");
    each_once(&telegram, &texts, "with failures");
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

/// A configuration whose model streams what it is asked over more than a second.
fn with_slow_model(telegram: &Telegram, model: &ModelServer, more: Value) -> Value {
    let mut config = with_telegram(telegram, more);
    config["agents"] = json!({ "defaults": { "model": { "primary": "slow/one" } } });
    config["models"] = json!({ "providers": { "slow": { "baseUrl": model.base_url(), "api": "openai-completions", "apiKey": "k", "models": [{ "id": "one" }] } } });
    config
}

/// Two pieces of an answer, far enough apart that the first is shown.
fn half_answered(model: &ModelServer, [first, second]: [&str; 2]) -> Asked {
    let mut asked = model.asked();
    asked.say(first);
    std::thread::sleep(Duration::from_millis(700));
    asked.say(second);
    asked
}

/// Half an answer that a life has shown is the message of the whole one, which the next life says; also where nobody knows whether it arrived.
#[test]
fn half_an_answer_outlives_a_crash() {
    for lost in [false, true] {
        let (telegram, model) = (Telegram::start(), ModelServer::start());
        let config = with_slow_model(&telegram, &model, json!({ "retry": { "maxDelayMs": 50 } }));
        let server = spawn(Home::new(&config));
        if lost {
            telegram.fail(|method, _| if method == "sendMessage" { Fate::DoneThenGone } else { Fate::Fine });
        }
        telegram.say(ANN, "tell me");
        let _asked = half_answered(&model, ["Once upon", " a time"]);
        let preview = telegram.wait_for_text(ANN, "Once upon");
        let path = server.home.state().join("deliveries.jsonl");
        telegram.wait("its number is known", |_| {
            let lines = std::fs::read_to_string(&path).unwrap_or_default();
            (lost || lines.contains(&format!("\"p\":\"{}\"", preview.id))).then_some(())
        });
        let home = server.crash();
        telegram.heal();
        let _server = spawn(home);
        let mut asked = half_answered(&model, ["Twice upon", " a day"]);
        if !lost {
            telegram.wait_for_text(ANN, "Twice upon");
        }
        asked.say(" it ended");
        asked.end();
        let said = telegram.wait_for_text(ANN, "it ended");
        assert_eq!((said.id, telegram.own(ANN).len()), (preview.id, 1), "one message; lost: {lost}");
    }
}

/// The person deletes half an answer, and then the whole one gets lost on its way.
#[test]
fn half_an_answer_that_is_gone_is_not_said_twice() {
    let (telegram, model) = (Telegram::start(), ModelServer::start());
    let config = with_slow_model(&telegram, &model, json!({ "retry": { "maxDelayMs": 50 } }));
    let _server = spawn(Home::new(&config));
    telegram.say(ANN, "tell me");
    let mut asked = half_answered(&model, ["Once upon", " a time"]);
    let preview = telegram.wait_for_text(ANN, "Once upon");
    telegram.delete(ANN, preview.id);
    telegram.fail(|method, n| match (method, n) {
        ("sendMessage", 1) => Fate::DoneThenGone,
        _ => Fate::Fine,
    });
    asked.say(" it ended");
    asked.end();
    let said = telegram.wait_for_text(ANN, "it ended");
    telegram.say(ANN, "and then");
    let mut asked = model.asked();
    asked.say("nothing");
    asked.end();
    telegram.wait_for_text(ANN, "nothing");
    let own: Vec<i64> = telegram.own(ANN).iter().map(|it| it.id).filter(|it| *it <= said.id).collect();
    assert_eq!(own, [said.id]);
}

/// A client's `send` and the answer behind it both get lost on their way: neither takes the other's place.
#[test]
fn what_a_client_sends_is_no_answer() {
    let telegram = Telegram::start();
    let server = start(&telegram, json!({ "retry": { "maxDelayMs": 50 } }));
    let mut client = Client::connect(&server, &json!({}));
    telegram.say(ANN, "first");
    telegram.wait_for_text(ANN, "first");
    telegram.fail(|method, n| match (method, n) {
        ("sendMessage", 1 | 2) => Fate::DoneThenGone,
        _ => Fate::Fine,
    });
    let it = client.call(
        "send",
        &json!({ "channel": "telegram", "to": "7", "message": "of a client", "idempotencyKey": "k" }),
    );
    assert_eq!(it["error"]["code"], "UNAVAILABLE", "{it}");
    telegram.say(ANN, "second");
    telegram.wait_for_text(ANN, "second");
    telegram.say(ANN, "third");
    telegram.wait_for_text(ANN, "third");
    let own = telegram.own(ANN);
    let count = |text: &str| own.iter().filter(|it| it.text.contains(text)).count();
    assert_eq!((count("of a client"), count("second"), own.len()), (1, 1, 4), "{own:#?}");
}

/// kill -9 in the middle of everything, many times: each message is answered, none twice.
struct Storm {
    kills: usize,
    messages: usize,
    people: i64,
    /// How long a life lasts.
    life_ms: std::ops::Range<u64>,
    /// Answers take their time, and are shown meanwhile.
    shown: bool,
}

/// `GATEWAYD_SEED` plays one again.
fn seed() -> u64 {
    let given = std::env::var("GATEWAYD_SEED").ok().and_then(|it| it.parse().ok());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    given.unwrap_or(now.as_micros() as u64 % 1_000_000)
}

fn next(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % below
}

impl Storm {
    fn rage(&self, first: u64) {
        let about = format!("GATEWAYD_SEED={first}");
        let telegram = Telegram::start();
        let model = ModelServer::playing(|mut asked| {
            let words = asked.words();
            for word in words.split_inclusive(' ') {
                asked.say(word);
                std::thread::sleep(Duration::from_millis(300));
            }
            asked.end();
        });
        let people: Vec<i64> = (1..=self.people).collect();
        let more = json!({
            "allowFrom": people, "retry": { "maxDelayMs": 100 }, "streamMode": if self.shown { "partial" } else { "off" },
        });
        let mut config = if self.shown {
            with_slow_model(&telegram, &model, more)
        } else {
            with_telegram(&telegram, more)
        };
        config["agents"]["defaults"]["maxConcurrent"] = 8.into();
        // A conversation for each of them.
        config["session"] = json!({ "dmScope": "per-channel-peer" });
        let mut home = Home::new(&config);
        let texts: Vec<String> = (0..self.messages).map(|it| format!("message-{it}-x")).collect();
        let mut waiting = texts.iter();
        let mut seed = first;
        telegram.fail({
            let mut seed = first;
            move |method, _| match (method, next(&mut seed, 23)) {
                ("sendMessage", 1) => flood(1),
                ("sendMessage", 2) | ("getUpdates", 2) => Fate::Refuse(502, json!({})),
                ("sendMessage", 3) => Fate::DoneThen(502),
                ("sendMessage", 4) => Fate::DoneThenGone,
                ("sendMessage", 5) | ("getUpdates", 5) => Fate::Gone,
                ("getUpdates", 4) => Fate::Refuse(409, json!({})),
                ("sendMessage", 6) => Fate::Silent(Duration::from_millis(200)),
                _ => Fate::Fine,
            }
        });
        let mut chats: BTreeMap<String, i64> = BTreeMap::new();
        let mut say = |person: i64, text: &str| {
            chats.insert(text.to_owned(), person);
            let more = if self.shown { " one two three four five" } else { "" };
            telegram.say(person, &format!("{text}{more}"));
        };
        for _ in 0..self.kills {
            let server = spawn(home);
            for text in waiting.by_ref().take(self.messages / self.kills.max(1)) {
                say(people[next(&mut seed, people.len() as u64) as usize], text);
            }
            let life_ms = self.life_ms.start + next(&mut seed, self.life_ms.end - self.life_ms.start);
            std::thread::sleep(Duration::from_millis(life_ms));
            home = server.crash();
        }
        telegram.heal();
        let _server = spawn(home);
        for text in waiting {
            say(people[0], text);
        }
        let patience = Duration::from_secs(60 + self.messages as u64 / 10);
        // On a busy machine a run may be killed so often that it is given up, which its chat is told as well.
        let given_up = |it: &Telegram, text: &str| {
            it.own(chats[text]).iter().any(|it| it.text.contains("which is now given up"))
        };
        telegram.wait_for(patience, &format!("{about}: all are answered"), &mut |it| {
            let all = counts(it, &texts);
            all.iter().all(|(text, n)| *n > 0 || given_up(it, text)).then_some(())
        });
        let (answered, silent): (Vec<_>, Vec<_>) =
            counts(&telegram, &texts).into_iter().partition(|it| it.1 > 0);
        assert!(silent.len() * 10 <= texts.len(), "{about}: {} were given up", silent.len());
        let answered: Vec<String> = answered.into_iter().map(|it| it.0).collect();
        each_once(&telegram, &answered, &about);
    }
}

#[test]
fn a_storm_of_kills() {
    let (kills, messages, people) =
        if std::env::var_os("GATEWAYD_SLOW").is_some() { (200, 10_000, 200) } else { (8, 200, 100) };
    // Many of these lives end before they have said anything, so that more and more waits for the next one.
    Storm { kills, messages, people, life_ms: 0..400, shown: false }.rage(seed());
}

#[test]
fn a_storm_while_answers_are_shown() {
    let (kills, messages) = if std::env::var_os("GATEWAYD_SLOW").is_some() { (30, 120) } else { (4, 12) };
    // Long enough for most runs: one that was killed four times is given up.
    Storm { kills, messages, people: 40, life_ms: 2_000..5_000, shown: true }.rage(seed());
}
