//! Words of the command line before argh sees them, and the flags that every command with a call shares.
use super::target::Link;

/// Puts `--dev`, `--profile NAME`, `--version` in front, wherever they stand, and spells `--x=y` as two words.
///
/// A value that itself looks like a flag is written `--text=--dev`. After `--` nothing is a flag.
///
/// # Errors
/// A `--profile` without its name.
pub fn arrange(words: &[String]) -> Result<Vec<&str>, String> {
    let (mut front, mut rest): (Vec<&str>, Vec<&str>) = (vec![], vec![]);
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "--" => {
                rest.push(word);
                rest.extend(words.by_ref());
            }
            "--dev" | "--version" | "-V" => front.push(word),
            "--profile" => front.extend([word, words.next().ok_or("--profile needs a name")?]),
            _ => match word.split_once('=') {
                Some(("--profile", name)) => front.extend(["--profile", name]),
                Some((flag, value)) if flag.starts_with("--") => rest.extend([flag, value]),
                _ => rest.push(word),
            },
        }
    }
    front.append(&mut rest);
    Ok(front)
}

/// What the commands with a call have in common: the flags, and how to get at them.
pub trait Calls {
    fn link(&self) -> Link;
    fn json(&self) -> bool;
}

/// A command that calls the gateway: its own flags, and those of [`Calls`].
macro_rules! command {
    ($(#[$($meta:tt)*])* $name:ident { $($own:tt)* }) => {
        #[derive(argh::FromArgs)]
        $(#[$($meta)*])*
        #[argh(help_triggers("-h", "--help", "help"))]
        pub struct $name {
            $($own)*
            /// print JSON
            #[argh(switch)]
            json: bool,
            /// gateway to call, ws:// or wss://HOST:PORT; needs --token or --password
            #[argh(option, arg_name = "url")]
            url: Option<String>,
            /// gateway token
            #[argh(option, arg_name = "token")]
            token: Option<String>,
            /// gateway password
            #[argh(option, arg_name = "password")]
            password: Option<String>,
            /// the SHA-256 fingerprint that the certificate of a wss:// gateway must have
            #[argh(option, arg_name = "sha256")]
            tls_fingerprint: Option<String>,
            /// give up after this long (default 10000)
            #[argh(option, arg_name = "ms")]
            timeout: Option<u64>,
            /// wait for the final answer of a call that is first only accepted
            #[argh(switch)]
            expect_final: bool,
        }
        impl $crate::cli::args::Calls for $name {
            fn link(&self) -> $crate::cli::target::Link {
                $crate::cli::target::Link {
                    url: self.url.clone(),
                    token: self.token.clone(),
                    password: self.password.clone(),
                    fingerprint: self.tls_fingerprint.clone(),
                    timeout: self.timeout,
                    expect_final: self.expect_final,
                    port: None,
                }
            }
            fn json(&self) -> bool {
                self.json
            }
        }
    };
}
pub(crate) use command;

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn globals_go_first() {
        let check = |line: &str, want: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(arrange(&words).unwrap().join(" "), want, "{line}");
        };
        check("gateway --dev call x", "--dev gateway call x");
        check("health --profile a --json", "--profile a health --json");
        check("health --profile=a", "--profile a health");
        check("gateway --port=1", "gateway --port 1");
        check("system event --text=--dev", "system event --text --dev");
        check("gateway call x --params {\"a\":\"--b=c\"}", "gateway call x --params {\"a\":\"--b=c\"}");
        check("a -- --dev --x=y", "a -- --dev --x=y");
        assert!(arrange(&["--profile".to_owned()]).is_err());
    }
}
