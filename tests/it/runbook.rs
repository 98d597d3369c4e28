//! Every command line of the runbook, as `tests/data/runbook/*.txt` has it: what it says, and how it ends.
//!
//! ```text
//! config [path] {…}      a configuration, ~/.openclaw/openclaw.json when no path is named
//! $ line                 what a person types; openclaw is this program, and its ports are free ones
//! = 0                    the exit status; or: runs (a daemon: it comes up, and SIGTERM ends it well), stays (a daemon, until the end
//!                        of the file), follows (it goes on until it is ended)
//! > text                 in what it says
//! # no-systemd           what follows is for machines without it
//! ```
use crate::harness::{DEADLINE, Home, free_port};
use crate::sshd;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// A line, and what must come of it.
#[derive(Debug, Clone, Default)]
pub struct Row {
    pub line: String,
    pub ends: String,
    pub says: Vec<String>,
}

/// What a file holds, in order.
#[derive(Debug)]
pub enum Item {
    /// Path and text.
    Config(String, String),
    Run(Row),
    NoSystemd,
}

/// Reads a file; the runbook's ports become free ones.
pub fn read(name: &str) -> Vec<Item> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/runbook").join(name);
    let mut text = std::fs::read_to_string(path).unwrap();
    for port in ["18789", "19001", "19002"] {
        let free = free_port();
        text = text.replace(port, &free.to_string());
    }
    let mut items = vec![];
    for line in text.lines() {
        let row = match items.last_mut() {
            Some(Item::Run(row)) => Some(row),
            _ => None,
        };
        match (line.split_once(' '), row) {
            (Some(("$", line)), _) => items.push(Item::Run(Row { line: line.to_owned(), ..Row::default() })),
            (Some(("=", ends)), Some(row)) => row.ends = ends.to_owned(),
            (Some((">", says)), Some(row)) => row.says.push(says.to_owned()),
            (Some(("config", rest)), _) => {
                let (path, json) = if rest.starts_with('{') {
                    ("~/.openclaw/openclaw.json", rest)
                } else {
                    rest.split_once(' ').unwrap()
                };
                items.push(Item::Config(path.to_owned(), json.to_owned()));
            }
            (Some(("#", "no-systemd")), _) => items.push(Item::NoSystemd),
            (Some(("#", _)), _) => {}
            other => panic!("{name}: {line:?} is none of these: {other:?}"),
        }
    }
    items
}

struct Scene {
    home: Home,
    port: String,
    stay: Vec<Child>,
}

impl Scene {
    fn command(&self, line: &str) -> Command {
        let root = self.home.temp.path();
        let mut command = Command::new("sh");
        // The shell's number is then the program's.
        let simple = line.starts_with("openclaw ");
        command.args(["-c", &if simple { format!("exec {line}") } else { line.to_owned() }]);
        command.env_clear().env("HOME", root).env("OPENCLAW_GATEWAY_PORT", &self.port);
        command.env("PATH", format!("{}:{}", root.join("bin").display(), std::env::var("PATH").unwrap()));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
    fn play(&mut self, row: &Row) {
        if let Some(line) = row.line.strip_prefix("ssh ") {
            let root = self.home.temp.path();
            if let Err(why) = sshd::offer(&root.join("ssh"), &root.join("bin")) {
                return relay(line, why);
            }
        }
        let says: Vec<String> =
            row.says.iter().map(|it| it.replace("$HOME", &self.home.temp.path().to_string_lossy())).collect();
        let mut child = self.command(&row.line).spawn().unwrap();
        if let Ok(status) = row.ends.parse::<i32>() {
            let out = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
            assert_eq!(out.status.code(), Some(status), "{}: {said}", row.line);
            for text in &says {
                assert!(said.contains(text), "{}: no {text:?} in {said}", row.line);
            }
            return;
        }
        let lines = follow(&mut child);
        let said = until(&lines, &says, &row.line);
        // SAFETY: kill(2) on a child that has not been waited for.
        #[expect(unsafe_code, reason = "std has no kill with a signal")]
        let stop = |child: &Child| unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
        match &*row.ends {
            "stays" => self.stay.push(child),
            "runs" => {
                stop(&child);
                assert!(child.wait().unwrap().success(), "{}: {said:?}", row.line);
            }
            "follows" => {
                assert!(child.try_wait().unwrap().is_none(), "{}: it ended: {said:?}", row.line);
                stop(&child);
                child.wait().unwrap();
            }
            other => panic!("{}: {other}?", row.line),
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for child in &mut self.stay {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What `-N -L PORT:ADDRESS …` would do.
#[expect(clippy::print_stderr, reason = "a test that is not played in full says why")]
fn relay(line: &str, why: &str) {
    eprintln!("a relay stands in for ssh {line}: {why}");
    let (port, address) = line.split(' ').nth(2).unwrap().split_once(':').unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port.parse().unwrap())).unwrap();
    let address = address.to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(&address) else { continue };
            let ends =
                |from: &TcpStream, to: &TcpStream| (from.try_clone().unwrap(), to.try_clone().unwrap());
            for (mut from, mut to) in [ends(&client, &server), ends(&server, &client)] {
                std::thread::spawn(move || {
                    // Whoever ends, the other is told.
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
}

fn follow(child: &mut Child) -> Receiver<String> {
    let (to, from) = channel();
    let streams: [Box<dyn Read + Send>; 2] =
        [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
    for stream in streams {
        let to = to.clone();
        std::thread::spawn(move || {
            BufReader::new(stream).lines().map_while(Result::ok).try_for_each(|it| to.send(it))
        });
    }
    from
}

/// Waits until all of it was said.
fn until(lines: &Receiver<String>, says: &[String], what: &str) -> Vec<String> {
    let (mut said, deadline) = (vec![], Instant::now() + DEADLINE);
    while !says.iter().all(|text| said.iter().any(|it: &String| it.contains(text))) {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => said.push(line),
            Err(_) => panic!("{what}: no {says:?} in {said:#?}"),
        }
    }
    said
}

fn play(name: &str) {
    let home = Home::empty();
    let bin = home.temp.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_gatewayd"), bin.join("openclaw")).unwrap();
    let items = read(name);
    // The port that the file speaks of, or any that is free.
    let named = items.iter().find_map(|it| match it {
        Item::Run(row) => row
            .says
            .iter()
            .find_map(|it| it.split("127.0.0.1:").nth(1)?.split(['/', '"', ' ']).next()?.parse::<u16>().ok()),
        _ => None,
    });
    let port = named.unwrap_or_else(free_port);
    let mut scene = Scene { home, port: port.to_string(), stay: vec![] };
    for item in &items {
        match item {
            Item::Config(path, text) => {
                let file = scene.home.temp.path().join(path.trim_start_matches("~/"));
                std::fs::create_dir_all(file.parent().unwrap()).unwrap();
                std::fs::write(file, text).unwrap();
            }
            Item::Run(row) => scene.play(row),
            Item::NoSystemd if Path::new("/run/systemd/system").exists() => return,
            Item::NoSystemd => {}
        }
    }
}

#[test]
fn start() {
    play("1-start.txt");
}

#[test]
fn dev() {
    play("2-dev.txt");
}

#[test]
fn ask() {
    play("3-ask.txt");
}

#[test]
fn stopped() {
    play("4-stopped.txt");
}

#[test]
fn pair() {
    play("5-pair.txt");
}

#[test]
fn tunnel() {
    play("7-tunnel.txt");
}

#[test]
fn every_line_is_played_or_says_why_not() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/runbook");
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();
    let files = std::fs::read_dir(&dir).unwrap().map(|it| it.unwrap().path());
    let files: Vec<_> = files.filter(|it| !it.ends_with("lines.txt")).collect();
    let played: Vec<String> = files
        .iter()
        .flat_map(|it| text(it).lines().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|it| Some(it.strip_prefix("$ ")?.replace(" exec ", " ")))
        .collect();
    let mut lines = 0;
    for line in text(&dir.join("lines.txt")).lines().filter(|it| !it.starts_with('#')) {
        match line.split_once(' ').unwrap() {
            ("+", line) => assert!(played.iter().any(|it| it == line), "no file plays {line:?}"),
            ("-", line) => {
                assert!(line.split_once(" : ").is_some_and(|it| it.1.ends_with('.')), "why not {line:?}?")
            }
            other => panic!("{other:?}"),
        }
        lines += 1;
    }
    assert!(lines > 30 && files.len() == 8, "{lines} lines, {files:?}");
}
