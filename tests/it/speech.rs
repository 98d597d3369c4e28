//! Text read aloud: the services' own requests, told to a server of ours.
use crate::client::Client;
use crate::harness::{Home, Server, config};
use crate::model_server::{Asked, ModelServer};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const AUDIO: &[u8] = b"ID3 some audio";

fn sound(asked: &mut Asked, bytes: &[u8]) {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: {}\r\n", bytes.len());
    asked.raw(&[head.as_bytes(), b"connection: close\r\n\r\n", bytes].concat());
}

/// A gateway whose OpenAI is the given server.
fn server(openai: &ModelServer, tts: Value) -> Server {
    let mut with = config();
    with["messages"] = json!({ "tts": tts });
    let home = Home::new(&with);
    let mut command = home.command(&["gateway", "--port", "0"]);
    command.env("OPENAI_TTS_BASE_URL", format!("{}/", openai.base_url()));
    Server::spawn(home, command)
}

fn ask(client: &mut Client, text: &str, channel: &str) -> Value {
    client.call("tts.convert", &json!({ "text": text, "channel": channel }))
}

fn files(server: &Server) -> usize {
    std::fs::read_dir(server.home.state().join("tmp/tts")).map_or(0, |it| it.count())
}

#[test]
fn openai_reads() {
    let openai = ModelServer::start();
    let server = server(
        &openai,
        json!({ "openai": { "apiKey": "key-openai", "voice": "nova" }, "maxTextLength": 40 }),
    );
    let mut client = Client::connect(&server, &json!({}));
    for (channel, format, ending) in [("webchat", "mp3", "mp3"), ("telegram", "opus", "opus")] {
        client.send(&json!({ "type": "req", "id": "c", "method": "tts.convert", "params": { "text": " Hello ", "channel": channel } }).to_string());
        let mut asked = openai.asked();
        assert!(asked.head.starts_with("post /v1/audio/speech http/1.1"), "{}", asked.head);
        assert!(asked.head.contains("authorization: bearer key-openai"));
        assert_eq!(
            asked.body,
            json!({ "model": "gpt-4o-mini-tts", "input": "Hello", "voice": "nova", "response_format": format })
        );
        // A second text waits for nobody.
        let busy = Client::connect(&server, &json!({})).call("tts.convert", &json!({ "text": "and I" }));
        assert_eq!(
            (&busy["error"]["code"], &busy["error"]["retryable"]),
            (&json!("UNAVAILABLE"), &json!(true))
        );
        sound(&mut asked, AUDIO);
        let answer = client.response("c");
        let payload = &answer["payload"];
        let said = [&payload["provider"], &payload["outputFormat"], &payload["voiceCompatible"]];
        assert_eq!(said, [&json!("openai"), &json!(format), &json!(channel == "telegram")], "{answer}");
        let path = Path::new(payload["audioPath"].as_str().unwrap());
        assert!(path.starts_with(server.home.state().join("tmp/tts")));
        assert_eq!(path.extension().unwrap(), ending);
        assert_eq!(std::fs::read(path).unwrap(), AUDIO);
        assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let long = ask(&mut client, &"x".repeat(41), "");
    assert_eq!(long["error"]["message"], "Text too long (41 chars, max 40)");
}

#[test]
fn another_service_reads_when_the_chosen_one_cannot() {
    let (openai, eleven) = (ModelServer::start(), ModelServer::start());
    let own = json!({ "apiKey": "key-eleven", "baseUrl": format!("http://{}/", eleven.addr), "seed": 7, "languageCode": "de", "voiceSettings": { "speed": 1.5 } });
    let tts = json!({ "openai": { "apiKey": "key-openai" }, "elevenlabs": own });
    let server = server(&openai, tts);
    let mut client = Client::connect(&server, &json!({}));
    // The one that is chosen is not spoken to, the next one refuses.
    assert_eq!(client.call("tts.setProvider", &json!({ "provider": "edge" }))["payload"]["provider"], "edge");
    client.send(r#"{"type":"req","id":"c","method":"tts.convert","params":{"text":"Hello"}}"#);
    openai.asked().refuse(401, "", "bad key");
    let mut asked = eleven.asked();
    let line = "post /v1/text-to-speech/pmsxgvxv3blzugsxrple?output_format=mp3_44100_128 http/1.1";
    assert!(asked.head.starts_with(line), "{}", asked.head);
    assert!(asked.head.contains("xi-api-key: key-eleven"));
    let voice = json!({ "stability": 0.5, "similarity_boost": 0.75, "style": 0.0, "use_speaker_boost": true, "speed": 1.5 });
    assert_eq!(
        asked.body,
        json!({ "text": "Hello", "model_id": "eleven_multilingual_v2", "voice_settings": voice, "seed": 7, "language_code": "de" })
    );
    sound(&mut asked, AUDIO);
    assert_eq!(client.response("c")["payload"]["provider"], "elevenlabs");
    assert_eq!(files(&server), 1);

    // Nobody can: everything that went wrong is told, nothing is left behind.
    client.send(r#"{"type":"req","id":"d","method":"tts.convert","params":{"text":"Hello"}}"#);
    sound(&mut openai.asked(), b"");
    let mut asked = eleven.asked();
    asked.raw(b"HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: 99\r\n\r\nhalf");
    drop(asked);
    let error = client.response("d")["error"].clone();
    let text = error["message"].as_str().unwrap();
    assert!(
        text.starts_with("TTS conversion failed: openai sent no audio; elevenlabs: cannot be reached ("),
        "{text}"
    );
    assert_eq!((&error["code"], files(&server)), (&json!("UNAVAILABLE"), 1));
}

#[test]
fn preferences_are_the_originals() {
    let openai = ModelServer::start();
    let server = server(&openai, json!({ "auto": "tagged" }));
    server.home.write("settings/tts.json", r#"{"other":1,"tts":{"enabled":true,"maxLength":99}}"#);
    let mut client = Client::connect(&server, &json!({}));
    let auto = |client: &mut Client| client.call("tts.status", &json!({}))["payload"]["auto"].clone();
    assert_eq!(auto(&mut client), "always");
    assert_eq!(client.call("tts.disable", &json!({}))["payload"]["enabled"], false);
    client.call("tts.setProvider", &json!({ "provider": " elevenlabs " }));
    assert_eq!(auto(&mut client), "off");
    let stored: Value =
        serde_json::from_slice(&std::fs::read(server.home.state().join("settings/tts.json")).unwrap())
            .unwrap();
    let want = json!({ "other": 1, "tts": { "maxLength": 99, "auto": "off", "provider": "elevenlabs" } });
    assert_eq!(stored, want);

    server.home.write("settings/tts.json", "{broken");
    let refused = client.call("tts.enable", &json!({}));
    assert!(refused["error"]["message"].as_str().unwrap().contains("tts.json"), "{refused}");
    assert_eq!(std::fs::read_to_string(server.home.state().join("settings/tts.json")).unwrap(), "{broken");
}

#[test]
fn old_audio_goes_when_new_comes() {
    let openai = ModelServer::start();
    let server = server(&openai, json!({ "openai": { "apiKey": "key-openai" } }));
    for n in 0..70 {
        server.home.write(&format!("tmp/tts/voice-{n:013}-x.mp3"), "old");
    }
    let mut client = Client::connect(&server, &json!({}));
    client.send(r#"{"type":"req","id":"c","method":"tts.convert","params":{"text":"Hello"}}"#);
    sound(&mut openai.asked(), AUDIO);
    assert_eq!(client.response("c")["ok"], true);
    assert_eq!(files(&server), 64);
}
