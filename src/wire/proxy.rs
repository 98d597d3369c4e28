//! Which proxy a request goes through, by the usual environment variables.
use std::net::IpAddr;
use ureq::http::Uri;
use ureq::{Proxy, ProxyProtocol};

/// It is none that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("HTTPS_PROXY, HTTP_PROXY or ALL_PROXY is not of the form http://host:port")]
pub struct NoProxy;

/// A proxy of the form `http://host:port`.
pub fn named(text: &str) -> Option<Proxy> {
    let proxy = Proxy::new(text).ok()?;
    matches!(proxy.protocol(), ProxyProtocol::Http | ProxyProtocol::Https).then_some(proxy)
}

/// The environment's word on proxies. Requests to this machine never use one.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    http: Option<String>,
    https: Option<String>,
    no: Vec<String>,
}

impl Proxies {
    /// `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`, in either case; blank counts as absent.
    pub fn of<'e>(env: impl Fn(&str) -> Option<&'e str>) -> Proxies {
        let set = |name: &str| env(name).map(str::trim).filter(|it| !it.is_empty());
        let get = |name: &str| set(&name.to_lowercase()).or_else(|| set(name)).map(str::to_owned);
        let no = get("NO_PROXY").unwrap_or_default();
        Proxies {
            http: get("HTTP_PROXY").or_else(|| get("ALL_PROXY")),
            https: get("HTTPS_PROXY").or_else(|| get("ALL_PROXY")),
            no: no.split(',').map(|it| it.trim().trim_start_matches(['*', '.']).to_lowercase()).collect(),
        }
        .without_blanks(&no)
    }
    fn without_blanks(mut self, no: &str) -> Proxies {
        let all = no.split(',').any(|it| it.trim() == "*");
        self.no.retain(|it| !it.is_empty());
        if all {
            (self.http, self.https) = (None, None);
        }
        self
    }
    /// # Errors
    /// A proxy that is not an http(s) one.
    pub fn of_uri(&self, uri: &Uri) -> Result<Option<Proxy>, NoProxy> {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_lowercase();
        let own = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|it| it.is_loopback());
        let suffix =
            |it: &String| host == *it || host.strip_suffix(it).is_some_and(|rest| rest.ends_with('.'));
        let chosen = if uri.scheme_str() == Some("https") { &self.https } else { &self.http };
        let Some(text) = chosen.as_ref().filter(|_| !own && !self.no.iter().any(suffix)) else {
            return Ok(None);
        };
        named(text).map(Some).ok_or(NoProxy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn the_usual_rules() {
        let env =
            &[("HTTPS_PROXY", "http://p:1"), ("all_proxy", "http://q:2"), ("no_proxy", ".a.org, b.org")];
        let of = |env: &'static [(&str, &str)]| {
            Proxies::of(|name| env.iter().find(|it| it.0 == name).map(|it| it.1))
        };
        let proxies = of(env);
        let port = |uri: &str| proxies.of_uri(&uri.parse().unwrap()).unwrap().map(|it| it.port());
        assert_eq!(port("https://api.openai.com/v1"), Some(1));
        assert_eq!(port("http://ollama.lan:11434"), Some(2));
        for direct in [
            "http://localhost/",
            "https://127.0.0.2:5/",
            "http://[::1]:5/",
            "https://x.b.org",
            "https://a.org",
        ] {
            assert_eq!(port(direct), None, "{direct}");
        }
        assert_eq!(port("https://xb.org"), Some(1));
        let none = of(&[("https_proxy", "http://p:1"), ("NO_PROXY", "*")]);
        assert!(none.of_uri(&"https://x.org".parse().unwrap()).unwrap().is_none());
        let socks = of(&[("all_proxy", "socks5://p:1")]);
        assert!(socks.of_uri(&"https://x.org".parse().unwrap()).is_err());
    }
}
