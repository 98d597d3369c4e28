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
}

/// What the command line says.
#[derive(Debug, Default)]
pub struct Flags<'a> {
    pub node_id: Option<&'a str>,
    pub display_name: Option<&'a str>,
    pub host: Option<&'a str>,
    pub port: Option<u16>,
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
    let it = Settings {
        node_id: flag(flags.node_id)
            .or_else(|| text(&before["nodeId"]))
            .unwrap_or_else(|| ids::uuid(&mut ids::os_entropy())),
        display_name: flag(flags.display_name)
            .or_else(|| text(&before["displayName"]))
            .unwrap_or_else(|| machine.to_owned()),
        host: flag(flags.host).or_else(|| text(&gateway["host"])).unwrap_or_else(|| default.0.to_owned()),
        port: flags.port.or(stored_port).unwrap_or(default.1),
    };
    let mut after = before.clone();
    after["version"] = 1.into();
    after["nodeId"] = (*it.node_id).into();
    after["displayName"] = (*it.display_name).into();
    if !after["gateway"].is_object() {
        after["gateway"] = json!({ "tls": false });
    }
    after["gateway"]["host"] = (*it.host).into();
    after["gateway"]["port"] = it.port.into();
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
    }
}
