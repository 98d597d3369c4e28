//! Who holds a port, and making room for us (`--force`).
use crate::config::ports::Ports;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;

/// A process that listens on a port.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listener {
    pub pid: i32,
    pub command: String,
    pub command_line: String,
    pub address: String,
}

/// The listeners on a TCP port of this machine, from /proc: only those whose process we may look into have a pid.
pub fn listeners(port: u16) -> Vec<Listener> {
    let mut sockets: Vec<(String, String)> = vec![];
    for (table, v6) in [("/proc/net/tcp", false), ("/proc/net/tcp6", true)] {
        let text = crate::base::files::read_proc(Path::new(table)).unwrap_or_default();
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            // State 0A is LISTEN; the address is `HEX:PORT`.
            let (Some(local), Some(&"0A"), Some(inode)) = (words.get(1), words.get(3), words.get(9)) else {
                continue;
            };
            let Some((ip, hex_port)) = local.split_once(':') else { continue };
            if u16::from_str_radix(hex_port, 16) == Ok(port) {
                sockets.push((format!("socket:[{inode}]"), address(ip, v6, port)));
            }
        }
    }
    let mut found = vec![];
    if sockets.is_empty() {
        return found;
    }
    for pid in crate::base::files::names(Path::new("/proc")).iter().filter_map(|it| it.parse::<i32>().ok()) {
        for fd in crate::base::files::names(&Path::new("/proc").join(pid.to_string()).join("fd")) {
            let Ok(target) = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")) else { continue };
            let target = target.to_string_lossy();
            if let Some((_, address)) = sockets.iter().find(|it| it.0 == target) {
                let read = |name: &str| {
                    crate::base::files::read_proc(Path::new(&format!("/proc/{pid}/{name}")))
                        .unwrap_or_default()
                };
                found.push(Listener {
                    pid,
                    command: read("comm").trim().to_owned(),
                    command_line: read("cmdline").replace('\0', " ").trim().to_owned(),
                    address: address.clone(),
                });
            }
        }
    }
    found.dedup_by_key(|it| (it.pid, it.address.clone()));
    found
}

/// A sentence for every two names of one port, and for every derived port that a process other than `own` holds.
pub fn clashes(ports: &Ports, own: &[i32]) -> Vec<String> {
    let mut all = ports.clashes();
    for (name, port) in ports.named().into_iter().skip(1) {
        // To ask for it is cheap; the table of all connections is read only to name who has it.
        let held = |it: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *it)).is_err();
        let Some(port) = port.filter(|it| *it != ports.gateway).filter(held) else { continue };
        let others = listeners(port).into_iter().filter(|it| !own.contains(&it.pid));
        all.extend(
            others.map(|it| format!("port {port} ({name}) is held by PID {} ({})", it.pid, it.command)),
        );
    }
    all
}

/// `127.0.0.1:18789` from the kernel's little-endian hex words.
fn address(hex: &str, v6: bool, port: u16) -> String {
    let words: Option<Vec<u8>> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect();
    let mut bytes = words.unwrap_or_default();
    bytes.chunks_mut(4).for_each(<[u8]>::reverse);
    match (<[u8; 4]>::try_from(&bytes[..]), <[u8; 16]>::try_from(&bytes[..])) {
        (Ok(v4), _) => format!("{}:{port}", std::net::Ipv4Addr::from(v4)),
        (_, Ok(v6)) => format!("[{}]:{port}", std::net::Ipv6Addr::from(v6)),
        _ => format!("{}:{port}", if v6 { "[?]" } else { "?" }),
    }
}

/// Asks the listeners on `port` to go (SIGTERM), as `lsof` names them. Answers what was stopped.
///
/// # Errors
/// A sentence when there is no `lsof` or a process may not be signalled.
pub fn free(port: u16) -> Result<Vec<i32>, String> {
    #[expect(clippy::disallowed_methods, reason = "the runbook names lsof as what --force uses")]
    let output = Command::new("lsof").args(["-nP", &format!("-iTCP:{port}"), "-sTCP:LISTEN", "-t"]).output();
    let output = output.map_err(|err| match err.kind() {
        std::io::ErrorKind::NotFound => {
            "--force needs lsof, which is not installed: install it, or stop the listener yourself".to_owned()
        }
        _ => format!("--force could not run lsof: {err}"),
    })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let own = std::process::id() as i32;
    let pids: Vec<i32> =
        text.lines().filter_map(|it| it.trim().parse().ok()).filter(|it| *it != own).collect();
    for pid in &pids {
        crate::base::sys::kill(*pid, libc::SIGTERM)
            .map_err(|err| format!("--force could not stop process {pid}: {err}"))?;
    }
    Ok(pids)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn finds_a_listener_of_our_own() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let all = listeners(port);
        assert!(
            all.iter()
                .any(|it| it.pid == std::process::id() as i32 && it.address == format!("127.0.0.1:{port}")),
            "{all:?}"
        );
        assert_eq!(address("00000000000000000000000001000000", true, 1), "[::1]:1");
    }
}
