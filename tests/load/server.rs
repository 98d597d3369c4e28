//! A server under measurement: started on a free port, and what /proc says of it.
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

pub const TOKEN: &str = "measured";

pub struct Server {
    child: Child,
    pub addr: SocketAddr,
    home: PathBuf,
    // Kept open: a server whose stdout is gone stops logging.
    _out: BufReader<std::process::ChildStdout>,
}

impl Server {
    pub fn gatewayd(path: &str) -> Server {
        Server::with(path, "")
    }
    /// One with TLS; its certificate is in [`Server::certificate`].
    pub fn secure(path: &str) -> Server {
        Server::with(path, r#","tls":{"enabled":true}"#)
    }
    pub fn certificate(&self) -> PathBuf {
        self.home.join(".openclaw/gateway/tls/gateway-cert.pem")
    }
    /// One with a Telegram account of that Bot API, whom everybody may talk to; the parrot answers.
    pub fn with_telegram(path: &str, api: SocketAddr) -> Server {
        let config = serde_json::json!({
            "gateway": { "mode": "local", "auth": { "token": TOKEN } },
            "agents": { "defaults": { "model": { "primary": "builtin/parrot" }, "skipBootstrap": true } },
            "session": { "dmScope": "per-channel-peer" },
            "channels": { "telegram": {
                "botToken": crate::telegram::BOT, "apiRoot": format!("http://{api}"), "dmPolicy": "open", "allowFrom": ["*"],
            } },
        });
        Server::configured(path, &config.to_string())
    }
    fn with(path: &str, more: &str) -> Server {
        Server::configured(
            path,
            &format!(r#"{{"gateway":{{"mode":"local","auth":{{"token":"{TOKEN}"}}{more}}}}}"#),
        )
    }
    fn configured(path: &str, config: &str) -> Server {
        let home = std::env::temp_dir().join(format!("gatewayd-load-{}", std::process::id()));
        let state = home.join(".openclaw");
        std::fs::create_dir_all(&state).unwrap();
        std::fs::write(state.join("openclaw.json"), config).unwrap();
        Server::start(Command::new(path).args(["gateway", "--port", "0"]), home)
    }
    /// A gateway, ours or the reference's, that asks the model server at `model`.
    pub fn with_model(path: &str, model: SocketAddr, ours: bool) -> Server {
        let name = format!("gatewayd-load-{}-{}", std::process::id(), if ours { "ours" } else { "theirs" });
        let home = std::env::temp_dir().join(name);
        let state = home.join(".openclaw");
        std::fs::create_dir_all(&state).unwrap();
        // The reference does not tell which port it was given.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = serde_json::json!({
            "gateway": { "mode": "local", "port": port, "auth": { "mode": "token", "token": TOKEN },
                "http": { "endpoints": { "chatCompletions": { "enabled": true } } } },
            "agents": { "defaults": {
                "model": { "primary": "stub/stub-1" }, "maxConcurrent": 16, "skipBootstrap": true,
                "workspace": home.join("workspace"),
            } },
            "models": { "providers": { "stub": {
                "baseUrl": format!("http://{model}/v1"), "apiKey": "none", "api": "openai-completions",
                "models": [{
                    "id": "stub-1", "name": "Stub", "reasoning": false, "input": ["text"],
                    "cost": { "input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0 },
                    "contextWindow": 1_000_000, "maxTokens": 8192,
                }],
            } } },
        });
        std::fs::write(state.join("openclaw.json"), config.to_string()).unwrap();
        let mut command = Command::new(path);
        command.arg("gateway");
        if ours {
            return Server::start(&mut command, home);
        }
        // One process, and none of the chat networks.
        command.env_clear().env("HOME", &home).env("OPENCLAW_NO_RESPAWN", "1");
        command.env("OPENCLAW_NODE_OPTIONS_READY", "1").env("OPENCLAW_SKIP_CHANNELS", "1");
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin").stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        while std::net::TcpStream::connect(addr).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "it ended before it listened");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        Server { child, addr, home, _out: out }
    }
    pub fn echo(path: &str) -> Server {
        Server::start(Command::new(path).arg("--whole"), std::env::temp_dir().join("gatewayd-load-none"))
    }
    /// Waits for `… ws://ADDR …`, or for a line that is a port.
    fn start(command: &mut Command, home: PathBuf) -> Server {
        let mut child = command.env_clear().env("HOME", &home).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let addr = loop {
            let mut line = String::new();
            assert!(out.read_line(&mut line).unwrap() > 0, "it ended before it listened");
            let port = line.trim().parse::<u16>().ok().map(|port| ([127, 0, 0, 1], port).into());
            let named = line.split("://").nth(1).and_then(|it| it.split_whitespace().next()?.parse().ok());
            if let Some(addr) = port.or(named) {
                break addr;
            }
        };
        Server { child, addr, home, _out: out }
    }
    fn proc(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap()
    }
    /// Proportional set size, in KiB.
    pub fn pss_kib(&self) -> u64 {
        self.smaps_kib("Pss:")
    }
    /// What is in no file, so the kernel cannot drop it, in KiB.
    pub fn anonymous_kib(&self) -> u64 {
        self.smaps_kib("Anonymous:")
    }
    fn smaps_kib(&self, field: &str) -> u64 {
        let text = self.proc("smaps_rollup");
        let line = text.lines().find_map(|it| it.strip_prefix(field)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
    /// Resident set size, in KiB.
    pub fn rss_kib(&self) -> u64 {
        let text = self.proc("status");
        let line = text.lines().find_map(|it| it.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
    fn tasks(&self) -> Vec<PathBuf> {
        let dir = format!("/proc/{}/task", self.child.id());
        std::fs::read_dir(dir).unwrap().map(|it| it.unwrap().path()).collect()
    }
    pub fn threads(&self) -> u64 {
        self.tasks().len() as u64
    }
    /// Times that any of its threads went to sleep again: one that was pushed aside by another program has not woken up.
    pub fn wake_ups(&self) -> u64 {
        let count = |status: String| -> u64 {
            let lines = status.lines().filter(|it| it.starts_with("voluntary_ctxt_switches"));
            lines.filter_map(|it| it.split_whitespace().last()?.parse::<u64>().ok()).sum()
        };
        self.tasks().iter().map(|it| count(std::fs::read_to_string(it.join("status")).unwrap())).sum()
    }
    /// Processor time used, in ticks of 10 ms.
    pub fn ticks(&self) -> u64 {
        let stat = self.proc("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.home);
    }
}
