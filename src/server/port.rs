//! Who holds a port, and making room for us (`--force`).
use crate::base::{files, sys};
use crate::config::ports::Ports;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
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

/// The listeners on a TCP port of this machine: only those whose process we may look into have a pid. `likely` are looked at first,
/// because to look at all processes takes time.
pub fn listeners(port: u16, likely: &[i32]) -> Vec<Listener> {
    let mut sockets = listening(port).unwrap_or_else(|_| listening_by_table(port));
    let mut found = vec![];
    if sockets.is_empty() {
        return found;
    }
    let all = files::names(Path::new("/proc"));
    let all = all.iter().filter_map(|it| it.parse::<i32>().ok()).filter(|it| !likely.contains(it));
    for pid in likely.iter().copied().chain(all) {
        for fd in files::names(&Path::new("/proc").join(pid.to_string()).join("fd")) {
            let Ok(target) = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")) else { continue };
            let target = target.to_string_lossy();
            let inode =
                target.strip_prefix("socket:[").and_then(|it| it.strip_suffix(']')?.parse::<u64>().ok());
            let Some(at) = inode.and_then(|it| sockets.iter().position(|of| of.0 == it)) else { continue };
            let read =
                |name: &str| files::read_proc(Path::new(&format!("/proc/{pid}/{name}"))).unwrap_or_default();
            found.push(Listener {
                pid,
                command: read("comm").trim().to_owned(),
                command_line: read("cmdline").replace('\0', " ").trim().to_owned(),
                address: sockets.swap_remove(at).1,
            });
        }
        if sockets.is_empty() {
            break;
        }
    }
    found.sort_by(|a, b| (a.pid, &a.address).cmp(&(b.pid, &b.address)));
    found
}

/// Listening sockets by the kernel's own list of them: (inode, address). The table in /proc has every connection too, and takes as
/// long as the kernel's table is large.
fn listening(port: u16) -> io::Result<Vec<(u64, String)>> {
    let mut found = vec![];
    for family in [libc::AF_INET as u8, libc::AF_INET6 as u8] {
        let mut socket = sys::socket_of_diagnoses()?;
        socket.write_all(&question(family))?;
        let mut buffer = [0; 16 * 1024];
        'answers: loop {
            let n = socket.read(&mut buffer)?;
            let mut rest = &buffer[..n];
            while let Some((kind, body, next)) = message(rest) {
                match kind {
                    NLMSG_DONE => break 'answers,
                    SOCK_DIAG_BY_FAMILY => {
                        found.extend(socket_of(body).filter(|it| it.0 == port).map(|it| (it.1, it.2)))
                    }
                    // An error: the caller has another way.
                    _ => return Err(io::ErrorKind::Unsupported.into()),
                }
                rest = next;
            }
            if n == 0 {
                break;
            }
        }
    }
    Ok(found)
}

/// netlink(7), sock_diag(7).
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_DONE: u16 = 3;

/// `nlmsghdr` and `inet_diag_req_v2`: all TCP sockets of a family that listen.
fn question(family: u8) -> [u8; 72] {
    let mut out = [0; 72];
    out[..4].copy_from_slice(&72u32.to_ne_bytes());
    out[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    out[6..8].copy_from_slice(&flags.to_ne_bytes());
    (out[16], out[17]) = (family, libc::IPPROTO_TCP as u8);
    // A bit a state; TCP_LISTEN is the tenth.
    out[20..24].copy_from_slice(&(1u32 << 10).to_ne_bytes());
    out
}

/// The first message of an answer: its kind, its body, and what comes behind.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let body = bytes.get(16..length)?;
    Some((kind, body, bytes.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// Of an `inet_diag_msg`: port, inode, address.
fn socket_of(body: &[u8]) -> Option<(u16, u64, String)> {
    let port = u16::from_be_bytes(body.get(4..6)?.try_into().ok()?);
    let source: [u8; 16] = body.get(8..24)?.try_into().ok()?;
    let inode = u32::from_ne_bytes(body.get(68..72)?.try_into().ok()?);
    let address = if i32::from(body[0]) == libc::AF_INET6 {
        format!("[{}]:{port}", Ipv6Addr::from(source))
    } else {
        format!("{}:{port}", Ipv4Addr::new(source[0], source[1], source[2], source[3]))
    };
    Some((port, inode.into(), address))
}

/// The same from /proc, for a kernel without sock_diag.
fn listening_by_table(port: u16) -> Vec<(u64, String)> {
    let mut found = vec![];
    for (table, v6) in [("/proc/net/tcp", false), ("/proc/net/tcp6", true)] {
        let text = files::read_proc(Path::new(table)).unwrap_or_default();
        for line in text.lines().skip(1) {
            let words: Vec<&str> = line.split_whitespace().collect();
            // State 0A is LISTEN; the address is `HEX:PORT`.
            let (Some(local), Some(&"0A"), Some(inode)) = (words.get(1), words.get(3), words.get(9)) else {
                continue;
            };
            let (Some((ip, hex_port)), Ok(inode)) = (local.split_once(':'), inode.parse()) else { continue };
            if u16::from_str_radix(hex_port, 16) == Ok(port) {
                found.push((inode, address(ip, v6, port)));
            }
        }
    }
    found
}

/// A sentence for every two names of one port, and for every derived port that a process other than `own` holds.
pub fn clashes(ports: &Ports, own: &[i32]) -> Vec<String> {
    let mut all = ports.clashes();
    for (name, port) in ports.named().into_iter().skip(1) {
        // To ask for it is cheap; the table of all connections is read only to name who has it.
        let held = |it: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *it)).is_err();
        let Some(port) = port.filter(|it| *it != ports.gateway).filter(held) else { continue };
        let others = listeners(port, &[]).into_iter().filter(|it| !own.contains(&it.pid));
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
        (Ok(v4), _) => format!("{}:{port}", Ipv4Addr::from(v4)),
        (_, Ok(v6)) => format!("[{}]:{port}", Ipv6Addr::from(v6)),
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
        let all = listeners(port, &[]);
        let mut ways = [listening(port).unwrap(), listening_by_table(port)];
        ways.iter_mut().for_each(|it| it.sort());
        assert!(ways[0] == ways[1] && ways[0].len() == 1, "{ways:?}");
        assert!(
            all.iter()
                .any(|it| it.pid == std::process::id() as i32 && it.address == format!("127.0.0.1:{port}")),
            "{all:?}"
        );
        assert_eq!(address("00000000000000000000000001000000", true, 1), "[::1]:1");
    }
}
