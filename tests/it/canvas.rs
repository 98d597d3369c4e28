//! The canvas host: who sees what of the tree, on both ports, and pages that load again.
use crate::client::{Client, merge};
use crate::harness::{DEADLINE, Home, Server, config, free_port};
use crate::nodes;
use crate::socket::Socket;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use tungstenite::client::IntoClientRequest;

const TREE: &str = "/__openclaw__/canvas";

/// A gateway with the canvas on a port of its own as well.
struct Host {
    server: Server,
    port: u16,
}

impl Host {
    fn start(with: &Value) -> Host {
        Host::of(Home::empty(), with)
    }
    fn of(home: Home, with: &Value) -> Host {
        let port = free_port();
        let mut all = config();
        all["canvasHost"] = json!({ "port": port });
        merge(&mut all, with);
        home.write("openclaw.json", &all.to_string());
        let mut server = home.start(&[]);
        server.wait_line("[canvas] serving");
        Host { server, port }
    }
    fn doors(&self) -> [SocketAddr; 2] {
        [self.server.addr(), ([127, 0, 0, 1], self.port).into()]
    }
    fn root(&self) -> PathBuf {
        self.server.home.state().join("workspace/canvas")
    }
    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.root().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

#[derive(Debug)]
struct Got {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Got {
    fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &&str| line.split_once(": ").is_some_and(|it| it.0.eq_ignore_ascii_case(name));
        self.head.lines().find(named).and_then(|it| it.split_once(": ")).map(|it| it.1)
    }
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One request on a connection of its own; `more` are header lines.
fn ask(at: SocketAddr, method: &str, target: &str, more: &str) -> Got {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let head = format!("{method} {target} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n{more}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut came = vec![];
    stream.read_to_end(&mut came).unwrap_or_else(|err| panic!("{target}: {err}"));
    let end =
        came.windows(4).position(|it| it == b"\r\n\r\n").unwrap_or_else(|| panic!("{target}: no answer"));
    let head = String::from_utf8(came[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Got { status, head, body: came[end + 4..].to_vec() }
}

fn get(at: SocketAddr, target: &str) -> Got {
    ask(at, "GET", target, "")
}

/// `{TEXT*N}` is TEXT so many times.
fn expand(target: &str) -> String {
    let Some((before, rest)) = target.split_once('{') else { return target.to_owned() };
    let (inner, after) = rest.split_once('}').unwrap();
    let (text, times) = inner.rsplit_once('*').unwrap();
    format!("{before}{}{after}", text.repeat(times.parse().unwrap()))
}

/// Something of every kind, inside and out.
fn furnish(host: &Host) {
    let (root, state) = (host.root(), host.server.home.state());
    for (name, text) in [
        ("index.html", "home"),
        ("a.txt", "a"),
        ("sub/index.html", "sub"),
        ("sub/b.css", "css"),
        ("sub/.env", "SECRET"),
        (".env", "SECRET"),
        (".hidden/x", "SECRET"),
        (".gatewayd-1-1.tmp", "SECRET"),
        ("sp ace.txt", "space"),
        ("ü.txt", "umlaut"),
        ("100%.txt", "percent"),
        ("a..b.txt", "dots"),
        ("ends..", "dots"),
        ("a;b.txt", "semicolon"),
        ("%2e%2e/deep.txt", "literal"),
    ] {
        host.write(name, text.as_bytes());
    }
    std::fs::create_dir(root.join("empty")).unwrap();
    for (name, text) in [
        ("workspace/secret.txt", "SECRET"),
        ("workspace/outside/index.html", "SECRET"),
        ("canvas/old.html", "old"),
        ("canvas/a.txt", "SECRET"),
    ] {
        host.server.home.write(name, text);
    }
    for (name, target) in [
        ("link", "../secret.txt"),
        ("linkdir", "../outside"),
        ("inlink", "a.txt"),
        ("sub/up", ".."),
        ("loop", "loop"),
        ("null", "/dev/null"),
        ("proc", "/proc"),
    ] {
        symlink(target, root.join(name)).unwrap();
    }
    std::fs::hard_link(state.join("workspace/secret.txt"), root.join("hard.txt")).unwrap();
    assert!(Command::new("mkfifo").arg(root.join("fifo")).status().unwrap().success());
    drop(std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap());
    // Only root can make one; for others there is nothing, which looks the same.
    let _ = Command::new("mknod")
        .arg(root.join("device"))
        .args(["c", "1", "3"])
        .stderr(std::process::Stdio::null())
        .status();
}

#[test]
fn no_path_leaves_the_tree() {
    let host = Host::start(&json!({ "canvasHost": { "liveReload": false } }));
    furnish(&host);
    let (mut wrong, mut count) = (vec![], 0);
    for line in include_str!("../data/canvas-paths.txt").lines().filter(|it| !it.starts_with('#')) {
        count += 1;
        let (want, target) = line.split_once('\t').unwrap();
        let (status, body) = want.split_once(' ').map_or((want, None), |it| (it.0, Some(it.1)));
        for (at, method) in host.doors().into_iter().flat_map(|it| [(it, "GET"), (it, "HEAD")]) {
            let got = ask(at, method, &expand(target), "");
            let same = body.is_none_or(|it| got.text() == if method == "HEAD" { "" } else { it });
            if got.status.to_string() != status || !same || got.text().contains("SECRET") {
                wrong.push(format!("{method} {at}: {line}: {got:?}"));
            }
        }
    }
    assert!(count >= 120, "{count} cases");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn exchanges_of_the_reference() {
    let host = Host::start(&json!({}));
    let table = include_str!("../data/canvas.jsonl");
    for at in host.doors() {
        // The gateway's proof that a connection stays is a probe, which only its own port answers.
        let table =
            if at.port() == host.port { table.replace("\"close\": false, ", "") } else { table.to_owned() };
        crate::http1::run(at, &table);
        let missing = get(at, &format!("{TREE}/nope/"));
        let page = host.root().join("index.html");
        let want = format!(
            "<!doctype html><meta charset=\"utf-8\" /><title>OpenClaw Canvas</title><pre>Missing file.\nCreate {}</pre>",
            page.display()
        );
        assert_eq!((missing.status, missing.text()), (404, want));
        let starter = get(at, &format!("{TREE}/")).text();
        assert!(starter.contains(&format!("<code>{}</code>", page.display())), "{starter}");
        let a2ui = get(at, "/__openclaw__/a2ui/");
        let built =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/a2ui/dist/a2ui.bundle.js.gz").exists();
        assert_eq!(a2ui.status, if built { 200 } else { 503 }, "{a2ui:?}");
        assert_eq!(a2ui.text().starts_with("A2UI assets not found: run scripts/build-a2ui"), !built);
        assert_eq!(get(at, "/__openclaw__/a2ui/zz").status, if built { 404 } else { 503 });
        let bundle = ask(at, "GET", "/__openclaw__/a2ui/a2ui.bundle.js", "Accept-Encoding: gzip\r\n");
        if built {
            assert_eq!(bundle.header("content-encoding"), Some("gzip"));
            assert!(bundle.body.starts_with(&[0x1f, 0x8b]));
            let again = format!("If-None-Match: {}\r\n", bundle.header("etag").unwrap());
            assert_eq!(ask(at, "GET", "/__openclaw__/a2ui/a2ui.bundle.js", &again).status, 304);
            for refused in
                ["Accept-Encoding: br\r\n", "Accept-Encoding: gzip;q=0\r\n", "Accept-Encoding: identity\r\n"]
            {
                assert_eq!(
                    ask(at, "GET", "/__openclaw__/a2ui/a2ui.bundle.js", refused).status,
                    406,
                    "{refused}"
                );
            }
        }
    }
    let [gateway, canvas] = host.doors();
    let door = get(canvas, "/");
    assert_eq!((door.status, door.header("location")), (302, Some("/__openclaw__/canvas/")));
    assert_eq!((get(gateway, "/healthz").status, get(canvas, "/healthz").status), (200, 404));
}

#[test]
fn parts_versions_and_large_files() {
    let host = Host::start(&json!({}));
    let at = host.doors()[1];
    host.write("a.css", b"0123456789");
    let target = &format!("{TREE}/a.css");
    let whole = get(at, target);
    assert_eq!((whole.status, whole.text().as_str()), (200, "0123456789"));
    assert_eq!(
        (whole.header("content-type"), whole.header("accept-ranges")),
        (Some("text/css; charset=utf-8"), Some("bytes"))
    );
    let (etag, date) = (whole.header("etag").unwrap(), whole.header("last-modified").unwrap());
    for (more, status, body, range) in [
        (format!("If-None-Match: {etag}\r\n"), 304, "", None),
        (format!("If-Modified-Since: {date}\r\n"), 304, "", None),
        ("If-None-Match: \"other\"\r\n".into(), 200, "0123456789", None),
        ("Range: bytes=2-4\r\n".into(), 206, "234", Some("bytes 2-4/10")),
        ("Range: bytes=-3\r\n".into(), 206, "789", Some("bytes 7-9/10")),
        (format!("Range: bytes=8-\r\nIf-Range: {etag}\r\n"), 206, "89", Some("bytes 8-9/10")),
        ("Range: bytes=8-\r\nIf-Range: \"other\"\r\n".into(), 200, "0123456789", None),
        ("Range: bytes=0-1,4-5\r\n".into(), 200, "0123456789", None),
    ] {
        let got = ask(at, "GET", target, &more);
        assert_eq!(
            (got.status, got.text().as_str(), got.header("content-range")),
            (status, body, range),
            "{more}"
        );
        assert_eq!(got.header("etag"), Some(etag), "{more}");
    }
    let beyond = ask(at, "GET", target, "Range: bytes=10-\r\n");
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */10")));
    host.write("a.css", b"9876543210");
    let changed = ask(at, "GET", target, &format!("If-None-Match: {etag}\r\n"));
    assert_eq!((changed.status, changed.text().as_str()), (200, "9876543210"));
    host.write("none.txt", b"");
    let empty = get(at, &format!("{TREE}/none.txt"));
    assert_eq!((empty.status, empty.header("content-length")), (200, Some("0")));

    // Larger than a piece: whole, in order, of known length.
    let large: Vec<u8> = (0..3_000_003u32).map(|it| (it.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    host.write("film.mp4", &large);
    let target = &format!("{TREE}/film.mp4");
    let got = get(at, target);
    assert!(got.status == 200 && got.body == large, "{}", got.head);
    assert_eq!(
        (got.header("content-length"), got.header("content-type")),
        (Some("3000003"), Some("video/mp4"))
    );
    let head = ask(at, "HEAD", target, "");
    assert_eq!((head.header("content-length"), head.body.len()), (Some("3000003"), 0));
    let part = ask(at, "GET", target, "Range: bytes=1000000-2999999\r\n");
    assert!(part.status == 206 && part.body == large[1_000_000..3_000_000], "{}", part.head);
    assert_eq!(part.header("content-range"), Some("bytes 1000000-2999999/3000003"));
}

/// Those who take nothing hold a place each; when there is none left the next one is told so, and gets it once one has gone.
#[test]
fn downloads_that_nobody_reads() {
    let host = Host::start(&json!({}));
    let at = host.doors()[1];
    // More than the socket buffers of both ends hold.
    let large = vec![7; 24 * 1024 * 1024];
    host.write("large.bin", &large);
    let target = &format!("{TREE}/large.bin");
    let begin = || {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: {at}\r\n\r\n").as_bytes()).unwrap();
        let mut line = [0; 12];
        stream.read_exact(&mut line).unwrap();
        (stream, String::from_utf8(line.to_vec()).unwrap())
    };
    let mut stalled: Vec<_> = (0..16).map(|_| begin()).collect();
    assert!(stalled.iter().all(|it| it.1 == "HTTP/1.1 200"));
    assert_eq!(begin().1, "HTTP/1.1 503");
    assert_eq!(get(at, &format!("{TREE}/")).status, 200, "small things go on");
    stalled.truncate(8);
    loop {
        // The gateway hears of the end when the system tells it.
        let (mut stream, line) = begin();
        if line == "HTTP/1.1 200" {
            let mut rest = vec![];
            drop(stalled);
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            stream.read_to_end(&mut rest).unwrap();
            break;
        }
    }
    assert_eq!(get(at, target).body.len(), large.len());
}

/// A file that becomes shorter on its way: what came must not look whole.
#[test]
fn a_file_that_is_cut_on_its_way() {
    let host = Host::start(&json!({}));
    let at = host.doors()[0];
    host.write("large.bin", &vec![7; 64 * 1024 * 1024]);
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(format!("GET {TREE}/large.bin HTTP/1.1\r\nHost: {at}\r\n\r\n").as_bytes()).unwrap();
    stream.read_exact(&mut [0; 1024]).unwrap();
    host.write("large.bin", b"short");
    let mut rest = vec![];
    // A reset is an end as well.
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.len() < 64 * 1024 * 1024 - 1024, "{}", rest.len());
    assert_eq!(get(at, &format!("{TREE}/large.bin")).text(), "short");
}

/// Hello with a signed device; what it is told of the canvas.
fn canvas_of(hello: &Value) -> (Option<&str>, Option<&str>) {
    let payload = &hello["payload"];
    (payload["canvasHostUrl"].as_str(), payload["pluginSurfaceUrls"]["canvas"].as_str())
}

#[test]
fn who_is_told_which_address() {
    let host = Host::start(&json!({}));
    let port = host.server.port;
    let hello = Client::open(host.server.addr(), &[]).hello(&json!({}));
    assert_eq!(canvas_of(&hello), (Some(format!("http://127.0.0.1:{port}").as_str()), None));
    let mut client = Client::open(host.server.addr(), &[]);
    let hello = client.hello(&json!({ "minProtocol": 4, "maxProtocol": 4 }));
    let (None, Some(url)) = canvas_of(&hello) else { panic!("{hello}") };
    let path = url.strip_prefix(&format!("http://127.0.0.1:{port}")).unwrap();
    let token = path.strip_prefix("/__openclaw__/cap/").unwrap();
    assert!(
        token.len() == 24 && token.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_".contains(&it)),
        "{url}"
    );

    // It opens the tree to who is not on this machine, on both ports, and to nothing else.
    host.write("index.html", b"home</body>");
    let far = "Via: 1.1 proxy\r\n";
    for at in host.doors() {
        let page = ask(at, "GET", &format!("{path}{TREE}/"), far);
        assert!(page.status == 200 && page.text().starts_with("home<script>"), "{page:?}");
        let ws = ask(at, "GET", &format!("{path}/__openclaw__/ws"), far);
        assert_eq!(ws.status, 426);
        assert_eq!(ask(at, "GET", &format!("{path}x{TREE}/"), far).status, 401);
        assert_eq!(ask(at, "GET", &format!("{path}/healthz"), far).status, 404);
        let via = ("via", "1.1 proxy".to_owned());
        assert_eq!(closed(listen(at, "/__openclaw__/ws", std::slice::from_ref(&via))), 1008);
        let mut page = listen(at, &format!("{path}/__openclaw__/ws"), &[via]);
        page.send(tungstenite::Message::Ping("there?".into())).unwrap();
        assert_eq!(page.read().unwrap(), tungstenite::Message::Pong("there?".into()));
    }
    // Once it is gone, so is what it was given.
    drop(client);
    let deadline = std::time::Instant::now() + DEADLINE;
    while ask(host.doors()[0], "GET", &format!("{path}{TREE}/"), far).status != 401 {
        assert!(std::time::Instant::now() < deadline, "it still opens");
    }

    // Behind a proxy that speaks TLS.
    let through = [("Host", "pi.ts.net"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-For", "100.64.0.9")];
    let headers = through.map(|it| (it.0.to_owned(), it.1.to_owned()));
    let hello = Client::open(host.server.addr(), &headers).hello(&json!({}));
    let (Some(url), None) = canvas_of(&hello) else { panic!("{hello}") };
    assert!(url.starts_with("https://pi.ts.net/__openclaw__/cap/"), "{url}");
}

#[test]
fn a_node_is_sent_to_where_it_can_go() {
    let host = Host::start(&json!({}));
    let (gateway, canvas) = (host.server.port, host.port);
    let with = json!({ "minProtocol": 4, "maxProtocol": 4, "caps": ["canvas"],
        "client": { "platform": "iOS 26", "id": "openclaw-ios", "deviceFamily": "iPhone" } });
    let commands = ["canvas.navigate", "canvas.present", "canvas.eval"];
    let (mut phone, id) = nodes::node(&host.server, 3, &commands, &with);
    let refreshed = phone.call("node.pluginSurface.refresh", &json!({ "surface": "canvas" }));
    let base = refreshed["payload"]["pluginSurfaceUrls"]["canvas"]
        .as_str()
        .unwrap_or_else(|| panic!("{refreshed}"))
        .to_owned();
    assert!(base.starts_with(&format!("http://127.0.0.1:{gateway}/__openclaw__/cap/")), "{base}");
    let mut op = Client::connect(&host.server, &json!({}));
    for (n, (command, url, want)) in [
        (
            "canvas.navigate",
            format!("http://127.0.0.1:{canvas}{TREE}/x.html?a=1#b"),
            Some(format!("{TREE}/x.html?a=1#b")),
        ),
        ("canvas.navigate", format!("http://localhost:{gateway}{TREE}"), Some(TREE.to_owned())),
        (
            "canvas.present",
            format!("http://127.0.0.1:{gateway}/__openclaw__/a2ui/?platform=ios"),
            Some("/__openclaw__/a2ui/?platform=ios".to_owned()),
        ),
        ("canvas.eval", format!("http://127.0.0.1:{canvas}{TREE}/"), None),
        ("canvas.navigate", format!("http://127.0.0.1:1{TREE}/"), None),
        ("canvas.navigate", format!("http://203.0.113.9:{canvas}{TREE}/"), None),
        ("canvas.navigate", format!("http://evil.example:{canvas}{TREE}/"), None),
        ("canvas.navigate", format!("http://127.0.0.1:{canvas}@evil.example{TREE}/"), None),
        ("canvas.navigate", format!("http://127.0.0.1:{gateway}/__openclaw__/canvasx"), None),
        ("canvas.navigate", format!("http://127.0.0.1:{gateway}/"), None),
        ("canvas.navigate", "https://example.com/".to_owned(), None),
        ("canvas.navigate", String::new(), None),
    ]
    .into_iter()
    .enumerate()
    {
        nodes::invoke(&mut op, &format!("c{n}"), &id, command, &json!({ "params": { "url": url } }));
        let request = nodes::serve(&mut phone, &id, &json!({ "payload": {} }));
        let params: Value = serde_json::from_str(request["paramsJSON"].as_str().unwrap()).unwrap();
        assert_eq!(params["url"], want.map_or(url, |it| format!("{base}{it}")));
        op.response(&format!("c{n}"));
    }
}

/// A page's end of the reload socket.
fn listen(at: SocketAddr, path: &str, headers: &[(&'static str, String)]) -> tungstenite::WebSocket<Socket> {
    let mut request = format!("ws://{at}{path}").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    tungstenite::client(request, Socket::connect(at).unwrap()).unwrap().0
}

fn closed(mut socket: tungstenite::WebSocket<Socket>) -> u16 {
    socket.get_ref().set_read_timeout(Some(DEADLINE)).unwrap();
    loop {
        match socket.read() {
            Ok(tungstenite::Message::Close(Some(it))) => return it.code.into(),
            Ok(tungstenite::Message::Text(text)) => assert_eq!(text, "reload"),
            other => panic!("expected a close, came {other:?}"),
        }
    }
}

#[test]
fn pages_load_again() {
    let host = Host::start(&json!({}));
    host.write("sub/page.html", b"1");
    let mut pages = vec![];
    for at in host.doors() {
        pages.push(listen(at, "/__openclaw__/ws", &[("origin", format!("http://{at}"))]));
        pages.push(listen(at, "/__openclaw__/cap/any/__openclaw__/ws", &[]));
        assert_eq!(closed(listen(at, "/__openclaw__/ws", &[("origin", "http://evil.example".into())])), 1008);
    }
    assert_eq!(closed(listen(host.doors()[1], "/", &[])), 1008, "clients use the other port");
    // It is watched a moment after the first one came: until then it is changed again.
    pages[0].get_ref().set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    let mut tries = 0;
    while pages[0].read().is_err() {
        host.write("sub/page.html", b"2");
        tries += 1;
        assert!(tries < 60, "no page was told");
    }
    for page in &mut pages[1..] {
        assert_eq!(page.read().unwrap(), tungstenite::Message::text("reload"));
    }
    // An open socket is no way around the handshake.
    pages[1]
        .send(tungstenite::Message::text("{\"type\":\"req\",\"id\":\"1\",\"method\":\"health\"}"))
        .unwrap();
    host.write("sub/new/deep.html", b"3");
    for page in &mut pages[1..] {
        assert_eq!(page.read().unwrap(), tungstenite::Message::text("reload"));
    }
    // One too many: the oldest makes room.
    let many: Vec<_> = (0..61).map(|_| listen(host.doors()[0], "/__openclaw__/ws", &[])).collect();
    assert_eq!((closed(pages.remove(0)), many.len()), (1013, 61));
    let script = get(host.doors()[1], &format!("{TREE}/sub/page.html")).text();
    assert!(script.starts_with("2\n<script>") || script.starts_with("2<script>"), "{script}");
    assert!(script.contains("openclawSendUserAction") && script.contains("/__openclaw__/ws"));
}

#[test]
fn switched_off() {
    let still = Host::start(&json!({ "canvasHost": { "liveReload": false } }));
    still.write("index.html", b"<body>x</body>");
    let page = get(still.doors()[1], &format!("{TREE}/"));
    assert_eq!((page.status, page.text().as_str()), (200, "<body>x</body>"));
    assert_eq!(get(still.doors()[0], "/__openclaw__/ws").status, 404);

    let mut off = config();
    off["canvasHost"] = json!({ "enabled": false });
    let by_env = |home: &Home| {
        let mut command = home.command(&["gateway", "--port", "0"]);
        command.env("OPENCLAW_SKIP_CANVAS_HOST", "1");
        command
    };
    let home = Home::new(&config());
    let command = by_env(&home);
    for server in [Server::start(&off), Server::spawn(home, command)] {
        for path in [TREE, "/__openclaw__/a2ui/", "/__openclaw__/ws"] {
            assert_eq!(get(server.addr(), path).status, 404, "{path}");
        }
        let hello = Client::open(server.addr(), &[]).hello(&json!({}));
        assert_eq!(canvas_of(&hello), (None, None), "{hello}");
        assert!(server.log().iter().all(|it| !it.contains("[canvas]")));
    }
}

/// Another program has the port: the gateway says so, and shows the canvas on its own.
#[test]
fn a_port_that_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let mut all = config();
    all["canvasHost"] = json!({ "port": port });
    let mut server = Server::start(&all);
    let line = server.wait_line("cannot be had");
    assert!(line.contains(&format!("port {port} (canvasHost.port)")) && line.contains("WARN"), "{line}");
    assert_eq!(get(server.addr(), &format!("{TREE}/")).status, 200);
}

/// A changed configuration begins a new life: the old port is given up, the new one taken.
#[test]
fn a_root_and_a_port_of_its_own() {
    let home = Home::empty();
    home.write("pages/index.html", "mine");
    let root = home.state().join("pages");
    let host = Host::of(home, &json!({ "canvasHost": { "root": root, "liveReload": false } }));
    for at in host.doors() {
        assert_eq!(get(at, &format!("{TREE}/")).text(), "mine");
    }
    host.write("index.html", b"not this one");
    assert_eq!(get(host.doors()[0], &format!("{TREE}/")).text(), "mine");

    let [gateway, old] = host.doors();
    let Host { mut server, .. } = host;
    let port = free_port();
    let mut all = config();
    all["canvasHost"] = json!({ "port": port });
    server.home.write("openclaw.json", &all.to_string());
    server.wait_line(&format!("serving http://127.0.0.1:{port}/"));
    for at in [gateway, ([127, 0, 0, 1], port).into()] {
        assert!(get(at, &format!("{TREE}/")).text().starts_with("not this one"));
    }
    assert!(TcpStream::connect(old).is_err(), "the old port is free");
}
