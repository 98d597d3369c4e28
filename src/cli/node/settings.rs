//! `node.json`: what this node is called, and which gateway it serves; the reference's own file.
use crate::base::ids;
use crate::store::{read_json, write_json};
use serde_json::{Value, json};
use std::path::Path;

#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub node_id: String,
    pub display_name: String,
    pub host: String,
    pub port: u16,
    /// Over TLS, and with which certificate: the fingerprint as written.
    pub tls: bool,
    pub tls_fingerprint: Option<String>,
}

/// What the command line says.
#[derive(Debug, Default)]
pub struct Flags<'a> {
    pub node_id: Option<&'a str>,
    pub display_name: Option<&'a str>,
    pub host: Option<&'a str>,
    pub port: Option<u16>,
    pub tls: bool,
    pub tls_fingerprint: Option<&'a str>,
}

/// Flags, else what is stored, else the given address and this machine's name. What has changed is stored.
///
/// # Errors
/// A sentence that names the file.
pub fn settle(state: &Path, flags: &Flags, default: (&str, u16), machine: &str) -> Result<Settings, String> {
    let path = state.join("node.json");
    let before = read_json(&path)?.filter(Value::is_object).unwrap_or_else(|| json!({}));
    let gateway = &before["gateway"];
    let text = |it: &Value| it.as_str().map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned);
    let flag = |it: Option<&str>| it.map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned);
    let stored_port = gateway["port"].as_u64().and_then(|it| u16::try_from(it).ok()).filter(|it| *it > 0);
    let host = flag(flags.host).or_else(|| text(&gateway["host"])).unwrap_or_else(|| default.0.to_owned());
    let port = flags.port.or(stored_port).unwrap_or(default.1);
    // How one gateway is reached says nothing about another.
    let same = text(&gateway["host"]).is_none_or(|it| it == host) && stored_port.is_none_or(|it| it == port);
    let pinned = flag(flags.tls_fingerprint);
    let tls_fingerprint = pinned.clone().or_else(|| text(&gateway["tlsFingerprint"]).filter(|_| same));
    let it = Settings {
        tls: flags.tls || pinned.is_some() || same && gateway["tls"] == true,
        tls_fingerprint,
        node_id: flag(flags.node_id)
            .or_else(|| text(&before["nodeId"]))
            .unwrap_or_else(|| ids::uuid(&mut ids::os_entropy())),
        display_name: flag(flags.display_name)
            .or_else(|| text(&before["displayName"]))
            .unwrap_or_else(|| machine.to_owned()),
        host,
        port,
    };
    let mut after = before.clone();
    after["version"] = 1.into();
    after["nodeId"] = (*it.node_id).into();
    after["displayName"] = (*it.display_name).into();
    if !after["gateway"].is_object() {
        after["gateway"] = json!({});
    }
    after["gateway"]["host"] = (*it.host).into();
    after["gateway"]["port"] = it.port.into();
    after["gateway"]["tls"] = it.tls.into();
    match (&it.tls_fingerprint, after["gateway"].as_object_mut()) {
        (None, Some(gateway)) => drop(gateway.shift_remove("tlsFingerprint")),
        (pinned, _) => after["gateway"]["tlsFingerprint"] = json!(pinned),
    }
    if after != before {
        write_json(&path, &after)?;
    }
    Ok(it)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::testing::TempDir;
    #[test]
    fn what_was_said_once_is_kept() {
        let home = TempDir::new();
        let settle = |flags: &Flags| settle(home.path(), flags, ("127.0.0.1", 5), "pi").unwrap();
        let first = settle(&Flags::default());
        assert_eq!(
            (&*first.display_name, &*first.host, first.port, first.node_id.len()),
            ("pi", "127.0.0.1", 5, 36)
        );
        let flags =
            Flags { host: Some("gw"), port: Some(7), display_name: Some("Attic"), ..Flags::default() };
        let second = settle(&flags);
        assert_eq!(second, Settings { display_name: "Attic".into(), host: "gw".into(), port: 7, ..first });
        assert_eq!(settle(&Flags::default()), second);
        let path = home.path().join("node.json");
        let mut stored = read_json(&path).unwrap().unwrap();
        assert_eq!(stored["gateway"], json!({"host": "gw", "port": 7, "tls": false}));
        stored["token"] = "x".into();
        write_json(&path, &stored).unwrap();
        settle(&Flags { port: Some(8), ..Flags::default() });
        assert_eq!(read_json(&path).unwrap().unwrap()["token"], "x");
        // A pin is kept for the gateway that it is of.
        let pinned = settle(&Flags { tls_fingerprint: Some("AB"), ..Flags::default() });
        assert_eq!((pinned.tls, pinned.tls_fingerprint.as_deref()), (true, Some("AB")));
        assert_eq!(settle(&Flags::default()), pinned);
        let other = settle(&Flags { host: Some("other"), ..Flags::default() });
        assert_eq!((other.tls, other.tls_fingerprint), (false, None));
        let stored = read_json(&path).unwrap().unwrap();
        assert_eq!(stored["gateway"], json!({"host": "other", "port": 8, "tls": false}));
        assert!(settle(&Flags { tls: true, ..Flags::default() }).tls && settle(&Flags::default()).tls);
    }
}
