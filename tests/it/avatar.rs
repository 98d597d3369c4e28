//! `/avatar/<agent>`: what lies in a workspace, and nothing that lies elsewhere.
use crate::harness::{Home, TOKEN, config};
use crate::web::ask;
use serde_json::{Value, json};

#[test]
fn pictures_of_agents() {
    let agent = |id: &str, avatar: &str| json!({ "id": id, "identity": { "avatar": avatar } });
    let home = Home::empty();
    let inside = home.state().join("workspace-abs/in.webp");
    let outside = home.state().join("secret.png");
    let list = [
        json!({ "id": "main", "default": true }),
        agent("png", "pics/a.PNG"),
        agent("abs", inside.to_str().unwrap()),
        agent("out", outside.to_str().unwrap()),
        agent("up", "../secret.png"),
        agent("link", "link.png"),
        agent("hard", "hard.png"),
        agent("folder", "folder.png"),
        agent("text", "AGENTS.md"),
        agent("gone", "gone.png"),
        agent("huge", "huge.png"),
        agent("far", "https://example.com/a.png"),
        agent("data", "data:image/png;base64,AA"),
        agent("emoji", "🦀"),
    ];
    let mut it = config();
    it["agents"] = json!({ "list": list });
    home.write("openclaw.json", &it.to_string());
    for (name, text) in [
        ("secret.png", "secret"),
        ("workspace-png/pics/a.PNG", "picture"),
        ("workspace-abs/in.webp", "inside"),
        ("workspace-text/AGENTS.md", "text"),
        ("workspace-folder/folder.png/x", ""),
        ("workspace-link/x", ""),
        ("workspace-hard/x", ""),
        ("workspace/me.svg", "<svg/>"),
        ("workspace/IDENTITY.md", "- **Avatar:** ./me.svg\n"),
    ] {
        home.write(name, text);
    }
    home.write("workspace-huge/huge.png", &"x".repeat(5 << 20));
    std::os::unix::fs::symlink(&outside, home.state().join("workspace-link/link.png")).unwrap();
    std::fs::hard_link(&outside, home.state().join("workspace-hard/hard.png")).unwrap();
    let server = home.start(&[]);
    let get = |path: &str| ask(server.addr(), "GET", path, &[], b"");
    for (id, kind, body) in [
        ("main", "image/svg+xml", "<svg/>"),
        ("png", "image/png", "picture"),
        ("abs", "image/webp", "inside"),
    ] {
        let got = get(&format!("/avatar/{id}"));
        assert_eq!(
            (got.status, got.header("content-type"), got.body.as_str()),
            (200, Some(kind), body),
            "{id}"
        );
        assert_eq!(got.header("content-security-policy"), Some("default-src 'none'; frame-ancestors 'none'"));
        assert_eq!(
            get(&format!("/avatar/{id}?meta=1")).json(),
            json!({ "avatarUrl": format!("/avatar/{id}") })
        );
        assert_eq!(ask(server.addr(), "HEAD", &format!("/avatar/{id}"), &[], b"").status, 200);
    }
    for id in ["out", "up", "link", "hard", "folder", "text", "gone", "huge", "emoji", "nobody"] {
        assert_eq!(get(&format!("/avatar/{id}")).status, 404, "{id}");
        assert_eq!(get(&format!("/avatar/{id}?meta=1")).json(), json!({ "avatarUrl": Value::Null }), "{id}");
    }
    assert_eq!(get("/avatar/far?meta=1").json(), json!({ "avatarUrl": "https://example.com/a.png" }));
    assert_eq!(get("/avatar/data?x&meta=1").json(), json!({ "avatarUrl": "data:image/png;base64,AA" }));
    assert_eq!(get("/avatar/far").status, 404);
    for path in [
        "/avatar/",
        "/avatar/PNG",
        "/avatar/png/",
        "/avatar/../avatar/png",
        "/avatar/%2e%2e",
        "/avatar/png%2fx",
        "/avatar",
    ] {
        assert_eq!(get(path).status, 404, "{path}");
        assert_eq!(get(&format!("{path}?meta=1")).status, 404, "{path}");
    }
    assert_eq!(ask(server.addr(), "POST", "/avatar/png", &[], b"").status, 405);
    // Not from this machine: a proxy says so.
    let far = [("X-Forwarded-For", "203.0.113.9"), ("Authorization", &format!("Bearer {TOKEN}"))];
    assert_eq!(ask(server.addr(), "GET", "/avatar/png", &far[..1], b"").status, 401);
    assert_eq!(ask(server.addr(), "GET", "/avatar/png", &far, b"").status, 200);
}
