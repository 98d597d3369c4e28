//! Bodies that nobody honest sends: a status that says what is wrong, and nothing kept.
use super::line::{Line, ask, post};
use super::{CHAT, RESPONSES, on, pair};
use crate::harness::{Server, config};
use serde_json::{Value, json};

#[test]
fn switched_off_is_not_there() {
    let server = Server::start(&config());
    for path in [CHAT, RESPONSES, "/v1/models", "/v1/models/openclaw"] {
        assert_eq!(ask(&server, path, "", &json!({})).status, 404, "{path}");
    }
}

#[test]
fn models_are_agents() {
    let (_model, server) = pair(&json!({ "agents": { "list": [{ "id": "main" }, { "id": "beta" }] } }));
    let get = |path: &str, key: &str| {
        let mut line = Line::open(&server);
        line.send(
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n")
                .as_bytes(),
        );
        line.answer()
    };
    let all = get("/v1/models", "tokA").json();
    let ids: Vec<&str> = all["data"].as_array().unwrap().iter().filter_map(|it| it["id"].as_str()).collect();
    assert_eq!(ids, ["openclaw", "openclaw/default", "openclaw/main", "openclaw/beta"]);
    assert_eq!(get("/v1/models/openclaw%2Fbeta", "tokA").json()["id"], "openclaw/beta");
    assert_eq!(get("/v1/models/openclaw/zz", "tokA").status, 404);
    assert_eq!((get("/v1/models", "wrong").status, get("/v1/models/openclaw", "wrong").status), (401, 401));
}

/// A stranger's body is not waited for, and neither is one that is too large or packed.
#[test]
fn refused_by_the_head() {
    let (_model, server) =
        pair(&json!({ "gateway": { "http": { "endpoints": { "responses": { "maxBodyBytes": 1000 } } } } }));
    for (path, headers, status) in [
        (CHAT, "Content-Length: 1000000000\r\n", 401),
        (CHAT, "Authorization: Bearer tokB\r\nTransfer-Encoding: chunked\r\n", 401),
        (CHAT, "Authorization: Basic tokA\r\nContent-Length: 5\r\n", 401),
        (CHAT, "Authorization: Bearer tokA\r\nContent-Length: 1000000000\r\n", 413),
        (CHAT, "Authorization: Bearer tokA\r\nContent-Length: 1048577\r\n", 413),
        (CHAT, "Authorization: Bearer tokA\r\nContent-Length: 9\r\nContent-Encoding: gzip\r\n", 415),
        (
            CHAT,
            "Authorization: Bearer tokA\r\nContent-Length: 9\r\nContent-Encoding: br\r\nContent-Encoding: gzip\r\n",
            415,
        ),
        (RESPONSES, "Authorization: Bearer tokA\r\nContent-Length: 1001\r\n", 413),
        (RESPONSES, "Authorization: Bearer tokA\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n", 413),
    ] {
        let mut line = Line::open(&server);
        line.send(format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").as_bytes());
        assert_eq!(line.answer().status, status, "{headers}");
    }
    // Without a length it is counted as it comes.
    let mut line = Line::open(&server);
    line.send(format!("POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer tokA\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes());
    for _ in 0..17 {
        line.send_gladly(format!("10000\r\n{}\r\n", " ".repeat(0x10000)).as_bytes());
    }
    assert_eq!(line.answer().status, 413);
}

#[test]
fn refused_by_the_body() {
    let (model, server) = pair(&json!({}));
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let png = |width: u32| {
        let mut it = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
        it.extend([width.to_be_bytes(), width.to_be_bytes()].concat());
        format!("data:image/png;base64,{}", gatewayd::base::ids::base64(&it))
    };
    let picture = |url: &str| json!({ "messages": [{ "role": "user", "content": [{ "type": "image_url", "image_url": { "url": url } }] }] });
    let file = |mime: &str, data: &str| {
        let source = json!({ "type": "base64", "media_type": mime, "data": data });
        json!({ "model": "m", "input": [{ "type": "message", "role": "user", "content": [{ "type": "input_file", "source": source }] }] })
    };
    let long = "x".repeat(600);
    let cases: Vec<(&str, String, u16, &str)> = vec![
        (CHAT, "{".into(), 400, "SyntaxError: "),
        (CHAT, deep.clone(), 400, "SyntaxError: "),
        (CHAT, "\u{1}".into(), 400, "SyntaxError: "),
        (CHAT, r#"{"$serde_json::private::RawValue": "[1]"}"#.into(), 400, ""),
        (CHAT, "null".into(), 400, "Missing user message in `messages`."),
        (CHAT, picture(&png(30_000)).to_string(), 400, "Error: Image too large: 30000 x 30000 pixels"),
        (CHAT, picture("data:text/html;base64,PGI+").to_string(), 400, "Error: the image is none"),
        (
            CHAT,
            json!({ "user": long, "messages": [{ "role": "user", "content": "hi" }] }).to_string(),
            400,
            "key too long",
        ),
        (RESPONSES, deep, 400, "SyntaxError: "),
        (RESPONSES, "[]".into(), 400, ": Invalid input: expected object, received array"),
        (
            RESPONSES,
            file("application/pdf", "JVBERi0xLjc=").to_string(),
            400,
            // What is behind depends on whether pdftotext is there.
            "Error: ",
        ),
        (
            RESPONSES,
            file("application/zip", "aGk=").to_string(),
            400,
            "Error: Unsupported file MIME type: application/zip",
        ),
        (
            RESPONSES,
            file("text/plain", &"A".repeat(8_000_000)).to_string(),
            400,
            "Error: File too large: 6000000 bytes (limit: 5242880 bytes)",
        ),
        (
            RESPONSES,
            json!({ "model": "m", "input": "x", "previous_response_id": "resp_../../x" }).to_string(),
            400,
            "Previous response with id",
        ),
    ];
    // All on one connection: a refusal leaves it in order.
    let mut line = Line::open(&server);
    for (path, body, status, text) in cases {
        line.send(post(path, "", &body).as_bytes());
        let it = line.answer();
        let start: String = body.chars().take(120).collect();
        assert_eq!(it.status, status, "{start}: {it:?}");
        assert!(it.told().starts_with(text), "{start}: {it:?}");
        assert_eq!(it.json()["error"]["type"], "invalid_request_error");
    }
    assert!(model.asked_already().is_none());
    let sessions =
        std::fs::read_dir(server.home.state().join("agents/main/sessions")).map_or(0, Iterator::count);
    assert_eq!(sessions, 0, "nothing is kept");
}

/// `files` and `images` say what may be sent.
#[test]
fn limits_of_the_configuration() {
    let limits = json!({ "images": { "allowUrl": false, "allowedMimes": ["image/jpeg"] }, "files": { "allowUrl": false, "maxBytes": 2 } });
    let model = crate::model_server::ModelServer::start();
    let changes = on(&json!({ "gateway": { "http": { "endpoints": { "responses": limits } } } }));
    let server = Server::start(&crate::runs::talk::with_model(&model.base_url(), &changes));
    let told = |part: Value| {
        let input = json!([{ "type": "message", "role": "user", "content": [part] }]);
        let it = ask(&server, RESPONSES, "", &json!({ "model": "m", "input": input }));
        assert_eq!(it.status, 400);
        it.told()
    };
    let url = json!({ "type": "url", "url": "https://example.com/a" });
    assert_eq!(
        told(json!({ "type": "input_image", "source": url })),
        "Error: input_image URL sources are disabled by config"
    );
    assert_eq!(
        told(json!({ "type": "input_file", "source": url })),
        "Error: input_file URL sources are disabled by config"
    );
    let gif = json!({ "type": "base64", "media_type": "image/gif", "data": "R0lGODlhAQABAA==" });
    assert_eq!(
        told(json!({ "type": "input_image", "source": gif })),
        "Error: Unsupported image MIME type: image/gif"
    );
    let text = json!({ "type": "base64", "media_type": "text/plain", "data": "YWJj" });
    assert_eq!(
        told(json!({ "type": "input_file", "source": text })),
        "Error: File too large: 3 bytes (limit: 2 bytes)"
    );
}
