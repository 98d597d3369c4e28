//! `dashboard`: the address of the web interface, with the token in its fragment, which no server and no proxy gets to see.
use super::target::{self, Link};
use super::{Context, ask, fail, say};
use argh::FromArgs;
use std::process::ExitCode;

/// print the address of the web interface, ready to be opened
#[derive(FromArgs)]
#[argh(subcommand, name = "dashboard", help_triggers("-h", "--help", "help"))]
pub struct Dashboard {
    /// taken for scripts' sake: no browser is started
    #[argh(switch)]
    #[expect(dead_code, reason = "says what is always so")]
    no_open: bool,
    /// print the token too, also where stdout is no terminal
    #[argh(switch)]
    reveal: bool,
}

impl Dashboard {
    pub fn run(&self, context: &Context) -> ExitCode {
        let config = context.config();
        let target = match target::resolve(&Link::default(), &config.config, context) {
            Ok(it) => it,
            Err(err) => return fail(&err, 1),
        };
        // ws becomes http, wss becomes https.
        let mut url = target.url.replacen("ws", "http", 1);
        let base = config.resolved.pointer("/gateway/controlUi/basePath").and_then(|it| it.as_str());
        url.push_str(base.unwrap_or("").trim_end_matches('/'));
        url.push('/');
        let token = target.token.as_ref().map(|it| it.expose()).filter(|it| !it.is_empty());
        let shown = self.reveal || ask::interactive();
        let line = match token {
            Some(token) if shown => format!("{url}#token={}", encoded(token)),
            _ => url,
        };
        let mut lines = vec![line];
        if token.is_some() && !shown {
            lines.push(format!("With the token: {} dashboard --reveal", context.program()));
        }
        if let Some(port) = local_port(&target.url) {
            lines.push(format!("From another machine: ssh -N -L {port}:127.0.0.1:{port} USER@THIS-MACHINE, and the same address there"));
        }
        say(&lines.join("\n"))
    }
}

/// The port of an address of this machine's own.
fn local_port(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1.trim_end_matches('/');
    rest.strip_prefix("127.0.0.1:").or_else(|| rest.strip_prefix("[::1]:"))
}

/// As a part of an address: everything but letters, digits and `-._~` as `%XX`.
fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().map(|b| if plain(b) { (b as char).to_string() } else { format!("%{b:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn addresses() {
        assert_eq!(encoded("a b/#é"), "a%20b%2F%23%C3%A9");
        assert_eq!(local_port("ws://127.0.0.1:18789"), Some("18789"));
        assert_eq!(local_port("wss://far:1"), None);
    }
}
