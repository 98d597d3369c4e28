//! A real `gatewayd` on a port of its own, with a home folder that goes away behind it.
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(20);
pub const TOKEN: &str = "tokA";

/// A port for whoever cannot take 0, and the 120 behind it, which a gateway derives from its own: below those that the system gives
/// to whoever asks for 0 (ip(7)), and not given twice.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id() * 7;
    (0..100)
        .map(|_| 20_000 + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % 100 * 120)
        .map(|it| u16::try_from(it).unwrap())
        .find(|it| TcpListener::bind(("0.0.0.0", *it)).is_ok())
        .expect("a free port")
}

/// A temporary folder.
pub struct Temp(PathBuf);

impl Temp {
    pub fn new() -> Temp {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("gatewayd-it-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Temp(path)
    }
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The configuration that most tests want.
pub fn config() -> Value {
    json!({ "gateway": { "mode": "local", "auth": { "mode": "token", "token": TOKEN } } })
}

/// A home folder with a configuration file in it.
pub struct Home {
    pub temp: Temp,
}

impl Home {
    pub fn new(config: &Value) -> Home {
        let home = Home::empty();
        home.write("openclaw.json", &serde_json::to_string_pretty(config).unwrap());
        home
    }
    pub fn empty() -> Home {
        Home { temp: Temp::new() }
    }
    pub fn state(&self) -> PathBuf {
        self.temp.path().join(".openclaw")
    }
    /// Writes a file below the state folder.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.state().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    /// `gatewayd` with nothing of this process's environment but PATH.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gatewayd"));
        command.args(args).env_clear().env("HOME", self.temp.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
    /// As [`Home::command`], in a network namespace.
    pub fn command_in(&self, netns: &str, args: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", netns, env!("CARGO_BIN_EXE_gatewayd")]).args(args);
        command.env_clear().env("HOME", self.temp.path());
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
    /// Runs to the end.
    pub fn run(&self, args: &[&str]) -> std::process::Output {
        self.command(args).output().unwrap()
    }
    pub fn start(self, args: &[&str]) -> Server {
        let command = self.command(&[&["gateway", "--port", "0"], args].concat());
        Server::spawn(self, command)
    }
}

/// A running gateway.
pub struct Server {
    pub home: Home,
    pub port: u16,
    pub pid: u32,
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Server {
    pub fn start(config: &Value) -> Server {
        Home::new(config).start(&[])
    }
    pub fn spawn(home: Home, mut command: Command) -> Server {
        let mut child = command.spawn().unwrap();
        let lines = follow(child.stdout.take().unwrap());
        let mut server = Server { home, port: 0, pid: child.id(), child, lines, seen: vec![] };
        let line = server.wait_line("listening on ws");
        let address = line.split("://").nth(1).unwrap().split(' ').next().unwrap();
        server.port = address.rsplit(':').next().unwrap().parse().unwrap();
        server
    }
    pub fn addr(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }
    /// The next line of its log that holds `text`.
    pub fn wait_line(&mut self, text: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(_) => {
                    let mut errors = String::new();
                    let _ = self.child.kill();
                    if let Some(mut it) = self.child.stderr.take() {
                        let _ = it.read_to_string(&mut errors);
                    }
                    panic!("no line with {text:?} came; the log: {:#?}\nstderr: {errors}", self.seen);
                }
            }
        }
    }
    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: kill(2) on a child that has not been waited for.
        #[expect(unsafe_code, reason = "std has no kill with a signal")]
        let done = unsafe { libc::kill(self.pid as libc::pid_t, signal) };
        assert_eq!(done, 0);
    }
    /// Waits for the end; the status and how long it took.
    pub fn wait(&mut self) -> (ExitStatus, Duration) {
        let start = Instant::now();
        // The log ends when the process does.
        while let Ok(line) = self.lines.recv_timeout(DEADLINE) {
            self.seen.push(line);
        }
        let status = self.child.wait().unwrap();
        (status, start.elapsed())
    }
    /// Ends it as a power cut would, and gives its home back for the next one.
    pub fn crash(mut self) -> Home {
        self.signal(libc::SIGKILL);
        self.child.wait().unwrap();
        self.leave_home()
    }
    /// Its home, for the next one. It has ended by itself.
    pub fn leave_home(mut self) -> Home {
        std::mem::replace(&mut self.home, Home::empty())
    }
    pub fn log(&self) -> &[String] {
        &self.seen
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn follow(out: ChildStdout) -> Receiver<String> {
    let (to, from) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if to.send(line).is_err() {
                break;
            }
        }
    });
    from
}
