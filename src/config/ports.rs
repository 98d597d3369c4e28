//! The ports of one instance, all derived from the gateway's: the reference's rules, in one place.
use super::{Config, Env};
use serde::Serialize;

/// From the gateway's port to the browser control service.
const BROWSER: u16 = 2;
/// From the gateway's port to the canvas file server.
const CANVAS: u16 = 4;
/// From browser control to the first and the last CDP port of a browser profile.
const CDP: (u16, u16) = (9, 108);

/// None where there is no room below 65536.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ports {
    /// WebSocket and HTTP.
    pub gateway: u16,
    pub browser_control: Option<u16>,
    pub canvas_host: Option<u16>,
    /// Where the canvas port comes from.
    #[serde(skip)]
    pub canvas_source: &'static str,
    /// First and last.
    pub cdp: Option<(u16, u16)>,
}

impl Ports {
    /// Canvas: `OPENCLAW_CANVAS_HOST_PORT` > `canvasHost.port` > derived.
    pub fn of(gateway: u16, config: &Config, env: &Env) -> Ports {
        let from_env = env.openclaw("CANVAS_HOST_PORT").and_then(|it| it.parse().ok()).filter(|it| *it > 0);
        let (canvas_host, canvas_source) = match (from_env, config.canvas.port) {
            (Some(port), _) => (Some(port), "OPENCLAW_CANVAS_HOST_PORT"),
            (_, Some(port)) => (Some(port), "canvasHost.port"),
            _ => (gateway.checked_add(CANVAS), "gateway.port + 4"),
        };
        let browser_control = gateway.checked_add(BROWSER);
        let cdp = browser_control.and_then(|it| Some((it.checked_add(CDP.0)?, it.checked_add(CDP.1)?)));
        Ports { gateway, browser_control, canvas_host, canvas_source, cdp }
    }

    /// Single ports and their names.
    pub fn named(&self) -> [(&'static str, Option<u16>); 3] {
        [
            ("gateway", Some(self.gateway)),
            ("browser control", self.browser_control),
            ("canvas host", self.canvas_host),
        ]
    }

    /// Every two that are the same, and those for which there is no room: a sentence each, with what to change.
    pub fn clashes(&self) -> Vec<String> {
        let mut out = vec![];
        if let Some(canvas) = self.canvas_host {
            let others = [("the gateway", Some(self.gateway)), ("browser control", self.browser_control)];
            let same = others.iter().filter(|it| it.1 == Some(canvas)).map(|it| it.0);
            let within = self
                .cdp
                .filter(|cdp| (cdp.0..=cdp.1).contains(&canvas))
                .map(|_| "the CDP ports of browser profiles");
            out.extend(same.chain(within).map(|other| {
                format!(
                    "port {canvas} is both {other} and the canvas host ({}): change one of them",
                    self.canvas_source
                )
            }));
        }
        if self.cdp.is_none() || self.canvas_host.is_none() {
            let highest = u16::MAX - BROWSER - CDP.1;
            out.push(format!(
                "gateway port {} leaves no room for the ports derived from it: use one up to {highest}",
                self.gateway
            ));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ports(gateway: u16, canvas: Option<u16>, env: &[(&str, &str)]) -> Ports {
        let mut all = Env::default();
        env.iter().for_each(|(name, value)| all.set(name, value));
        let config = canvas.map_or(json!({}), |it| json!({ "canvasHost": { "port": it } }));
        Ports::of(gateway, &super::super::read_for_tests(&config), &all)
    }

    #[test]
    fn derived() {
        let dev = ports(19001, None, &[]);
        let json = serde_json::to_value(&dev).unwrap();
        assert_eq!(
            json,
            json!({ "gateway": 19001, "browserControl": 19003, "canvasHost": 19005, "cdp": [19012, 19111] })
        );
        assert_eq!(ports(18789, None, &[]).canvas_host, Some(18793));
        assert_eq!(ports(1, Some(7), &[]).canvas_host, Some(7));
        assert_eq!(ports(1, Some(7), &[("CLAWDBOT_CANVAS_HOST_PORT", "8")]).canvas_host, Some(8));
        assert_eq!(ports(1, Some(7), &[("OPENCLAW_CANVAS_HOST_PORT", "many")]).canvas_host, Some(7));
    }

    #[test]
    fn clashes_are_named() {
        assert_eq!(ports(18789, None, &[]).clashes(), [""; 0]);
        let says = |it: &Ports, what: &str| {
            let all = it.clashes();
            assert!(all.len() == 1 && all[0].contains(what), "{all:?}");
        };
        says(
            &ports(100, Some(100), &[]),
            "port 100 is both the gateway and the canvas host (canvasHost.port)",
        );
        says(
            &ports(100, None, &[("OPENCLAW_CANVAS_HOST_PORT", "102")]),
            "browser control and the canvas host (OPENCLAW_CANVAS",
        );
        says(&ports(100, Some(111), &[]), "CDP ports");
        says(&ports(65534, Some(1), &[]), "use one up to 65425");
        says(&ports(65430, None, &[]), "no room");
        assert_eq!(ports(65425, None, &[]).clashes(), [""; 0]);
    }
}
