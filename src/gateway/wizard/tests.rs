//! The steps that are asked, by what is known and answered.
use super::*;

fn facts(document: Value) -> Facts {
    Facts {
        program: "gatewayd".into(),
        document,
        port: 18789,
        workspace: "/w".into(),
        can_install: true,
        ..Facts::default()
    }
}

/// Answers every question by its step, the initial value where there is none; works well. The steps that came.
fn play(wizard: &mut Wizard, answers: &[(Step, Value)]) -> Vec<Step> {
    let mut seen = vec![];
    loop {
        match wizard.now_comes().unwrap() {
            Next::Ask(question) => {
                seen.push(question.step);
                let own = answers.iter().find(|it| it.0 == question.step).map(|it| it.1.clone());
                wizard.answer(&own.unwrap_or(question.initial)).unwrap();
            }
            Next::Work(_) => {
                seen.push(ORDER[wizard.at]);
                wizard.worked(Ok(String::new())).unwrap();
            }
            Next::End(_) => return seen,
        }
    }
}

#[test]
fn the_shortest_way() {
    let mut it = Wizard::new(facts(json!({})), BTreeMap::new(), None);
    let seen = play(&mut it, &[(Risk, json!(true)), (Service, json!(false))]);
    assert_eq!(seen, [Welcome, Risk, Mode, Port, Bind, Token, Provider, Workspace, Telegram, Service, Write]);
    assert_eq!(
        write::document(&it.answers, &json!({})).unwrap(),
        json!({ "gateway": { "mode": "local" } }),
        "Enter writes nothing"
    );
    assert_eq!(it.now_comes(), Ok(Next::End("Next: gatewayd gateway".into())));
}

#[test]
fn a_model_of_ones_own() {
    let mut it = Wizard::new(facts(json!({})), BTreeMap::new(), None);
    let answers = [
        (Risk, json!(true)),
        (Port, json!("18800")),
        (Bind, json!("lan")),
        (Token, json!("secret")),
        (Provider, json!("custom")),
        (BaseUrl, json!("http://box:8080/v1")),
        (Key, json!("k")),
        (Model, json!("qwen3")),
        (Telegram, json!("1:a")),
    ];
    let seen = play(&mut it, &answers);
    assert!(seen.ends_with(&[Workspace, Telegram, TryTelegram, Service, Linger, Write, Install]), "{seen:?}");
    let document = write::document(&it.answers, &json!({ "mine": 1 })).unwrap();
    assert_eq!(
        document,
        json!({
            "mine": 1,
            "gateway": { "mode": "local", "bind": "lan", "auth": { "token": "secret", "mode": "token" }, "port": 18800 },
            "channels": { "telegram": { "botToken": "1:a", "enabled": true } },
            "agents": { "defaults": { "model": { "primary": "custom/qwen3" } } },
            "models": { "providers": { "custom": {
                "baseUrl": "http://box:8080/v1", "api": "openai-completions", "models": [{ "id": "qwen3", "name": "qwen3" }]
            } } }
        })
    );
    assert_eq!(crate::config::keys::check(&document).len(), 1, "only `mine` is unknown");
}

#[test]
fn a_model_that_does_not_answer_may_be_another() {
    let mut it = Wizard::new(facts(json!({})), BTreeMap::from([(Risk, json!(true))]), None);
    let mut tried = 0;
    loop {
        match it.now_comes().unwrap() {
            Next::Ask(question) if question.step == Provider && tried > 0 => break,
            Next::Ask(question) => {
                let value = match question.step {
                    Provider => json!("anthropic"),
                    Key => json!("wrong"),
                    KeepModel => {
                        assert!(question.message.contains("401"), "{}", question.message);
                        json!(false)
                    }
                    _ => question.initial,
                };
                it.answer(&value).unwrap();
            }
            Next::Work(Work::TryModel) => {
                tried += 1;
                it.worked(Err("401".into())).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn wrong_answers_are_asked_again() {
    let mut it =
        Wizard::new(facts(json!({})), BTreeMap::from([(Risk, json!(true)), (Mode, json!("local"))]), None);
    it.now_comes().unwrap();
    it.answer(&Value::Null).unwrap();
    for wrong in [json!("x"), json!(0), json!(70_000), json!([])] {
        let Ok(Next::Ask(question)) = it.now_comes() else { panic!("a question") };
        assert_eq!(question.step, Port);
        assert!(it.answer(&wrong).is_err(), "{wrong}");
    }
    let mut it =
        Wizard::new(facts(json!({})), BTreeMap::from([(Welcome, Value::Null), (Risk, json!(false))]), None);
    assert!(it.now_comes().is_err(), "what was given beforehand and is none ends it");
}

#[test]
fn one_part_alone() {
    let section = SECTIONS.iter().find(|it| it.0 == "workspace").map(|it| it.1);
    let mut it = Wizard::new(facts(json!({ "gateway": { "mode": "local" } })), BTreeMap::new(), section);
    assert_eq!(play(&mut it, &[(Workspace, json!("/other"))]), [Workspace, Write]);
    let document = write::document(&it.answers, &it.facts.document).unwrap();
    assert_eq!(document["agents"]["defaults"]["workspace"], "/other");
    let mut it = Wizard::new(facts(json!({})), BTreeMap::new(), None);
    let seen =
        play(&mut it, &[(Risk, json!(true)), (Mode, json!("remote")), (RemoteUrl, json!("wss://far:443"))]);
    assert_eq!(seen, [Welcome, Risk, Mode, RemoteUrl, RemoteToken, Write]);
}
