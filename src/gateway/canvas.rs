//! The canvas host: whose pages may see the tree of files, and which of them wait for it to change.
//!
//! * A capability belongs to one connected client, and ends with its connection.
//! * Nothing is watched while nobody waits.
use super::peer::{Peer, is_loopback_name};
use super::{Core, Effect, World, sessions};
use crate::base::ids::{self, ConnId};
use crate::base::limits::{CANVAS_DOWNLOADS_MAX, CANVAS_LISTENERS_MAX};
use crate::config::paths::expand_home;
use crate::config::ports::Ports;
use crate::config::{Config, Env};
use crate::conn::head::Host;
use serde_json::Value;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// What stands between a host and a path that a capability opens: latest.
pub const CAPABILITY: &str = "/__openclaw__/cap/";
/// Where the files are, and the page that shows A2UI.
pub const TREE: &str = "/__openclaw__/canvas";
pub const A2UI: &str = "/__openclaw__/a2ui";
/// What a listening page hears.
const RELOAD: &str = "reload";

pub struct Canvas {
    pub enabled: bool,
    pub live_reload: bool,
    /// The first one that has a file wins.
    pub roots: Arc<[PathBuf]>,
    /// The oldest first.
    listeners: VecDeque<ConnId>,
    downloads: usize,
}

/// Where a client's pages find the canvas host.
pub struct Surface {
    base: String,
    /// 18 random bytes in base64url, as the latest reference makes them.
    capability: String,
}

impl Surface {
    pub fn url(&self) -> String {
        format!("{}{CAPABILITY}{}", self.base, self.capability)
    }
    /// In the same time whatever is given.
    fn is(&self, given: &str) -> bool {
        let pairs = self.capability.bytes().zip(given.bytes());
        given.len() == self.capability.len() && pairs.fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
    }
}

impl std::fmt::Debug for Surface {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Surface({})", self.base)
    }
}

impl Canvas {
    pub fn new(world: &World) -> Canvas {
        let config = &world.config.config;
        Canvas {
            enabled: enabled(config, &world.env),
            live_reload: !config.canvas.still,
            roots: roots(world).into(),
            listeners: VecDeque::new(),
            downloads: 0,
        }
    }
}

/// `canvasHost.enabled`, unless the environment says to skip it.
pub fn enabled(config: &Config, env: &Env) -> bool {
    let skip = env.openclaw("SKIP_CANVAS_HOST").is_some_and(|it| !matches!(it, "0" | "false"));
    !config.canvas.disabled && !skip
}

/// The configured one; else the one in the workspace, and behind it the one that the reference had.
fn roots(world: &World) -> Vec<PathBuf> {
    let config = &world.config.config;
    match config.canvas.root.as_deref().map(str::trim).filter(|it| !it.is_empty()) {
        Some(root) => vec![expand_home(root, &world.paths.home)],
        None => {
            let workspace = sessions::workspace(world, config.agents.default_id());
            vec![workspace.join("canvas"), world.paths.state.join("canvas")]
        }
    }
}

/// The address by which a client reached us, so that its pages do too: `http://host:port`. None when the host is off.
pub(super) fn base(core: &Core, peer: &Peer) -> Option<String> {
    let (authority, port) = (&peer.authority, peer.host.port);
    if !core.canvas.enabled || authority.is_empty() {
        return None;
    }
    let tls = core.world.config.config.gateway.tls.enabled;
    let scheme = if tls || peer.forwarded_https { "https" } else { "http" };
    Some(match port {
        // A proxy has the port of its scheme.
        None if !peer.forwarded => format!("{scheme}://{authority}:{}", core.world.port),
        _ => format!("{scheme}://{authority}"),
    })
}

/// What a node is asked to show. An agent names our pages by an address of this machine: the node is given the one that it reaches us
/// by, with its capability.
pub(super) fn for_node(core: &Core, conn: ConnId, command: &str, params: &mut Option<Value>) {
    if !matches!(command, "canvas.navigate" | "canvas.present") {
        return;
    }
    let surface = core.clients.get(&conn).and_then(|it| it.ready()?.canvas.as_deref());
    let url = params.as_mut().and_then(|it| it.get_mut("url"));
    if let (Some(surface), Some(Value::String(url))) = (surface, url)
        && let Some(path) = own_page(core, surface, url)
    {
        *url = surface.url() + path;
    }
}

/// The path of a page of ours, when an address is one.
fn own_page<'a>(core: &Core, surface: &Surface, url: &'a str) -> Option<&'a str> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    let (authority, path) = rest.split_at(rest.find('/')?);
    let is_page = [TREE, A2UI]
        .iter()
        .any(|it| path.strip_prefix(it).is_some_and(|it| it.is_empty() || it.starts_with(['/', '?', '#'])));
    let world = &core.world;
    let ports = Ports::of(world.port, &world.config.config, &world.env);
    let base = surface.base.split_once("://").map(|it| it.1);
    let is_ours = |host: Host| {
        let named = host.name.parse::<IpAddr>().is_err() && core.host_names.allow(&host.name);
        let known = is_loopback_name(&host.name) || named || world.ip.as_deref() == Some(&host.name);
        known && (host.port == Some(ports.gateway) || host.port == ports.canvas_host)
    };
    let ours = base == Some(authority) || Host::parse(authority).is_some_and(is_ours);
    (is_page && ours).then_some(path)
}

impl Core {
    pub(super) fn new_surface(&mut self, base: String) -> Surface {
        let mut bytes = [0; 18];
        (self.entropy)(&mut bytes);
        Surface { base, capability: ids::base64url(&bytes) }
    }
    /// Whether it is that of a client that is connected.
    pub fn is_capability(&self, given: &str) -> bool {
        let surfaces =
            self.clients.values().filter(|it| !it.closing).filter_map(|it| it.ready()?.canvas.as_deref());
        surfaces.fold(false, |found, it| found | it.is(given))
    }

    /// A page waits for the tree to change.
    pub fn listen_to_canvas(&mut self, conn: ConnId) {
        let first = self.canvas.listeners.is_empty();
        if self.canvas.listeners.len() >= CANVAS_LISTENERS_MAX
            && let Some(oldest) = self.canvas.listeners.pop_front()
        {
            // A phone that left the network says nothing: the oldest is most likely one. A page that is there comes again.
            self.close_socket(oldest, 1013, "too many pages wait");
        }
        self.canvas.listeners.push_back(conn);
        self.authenticated(conn);
        self.when_gone(conn, move |core, _| {
            core.canvas.listeners.retain(|it| *it != conn);
            if core.canvas.listeners.is_empty() {
                core.effects.push(Effect::WatchTree([].into()));
            }
        });
        if first {
            self.effects.push(Effect::WatchTree(self.canvas.roots.clone()));
        }
    }
    /// The tree has changed.
    pub fn on_canvas_touched(&mut self) {
        let to = self.canvas.listeners.iter().copied().collect();
        self.effects.push(Effect::Broadcast { to, text: RELOAD.into(), drop_if_slow: true });
    }

    /// A WebSocket that is no client's.
    pub fn close_socket(&mut self, conn: ConnId, code: u16, reason: &str) {
        self.effects.push(Effect::Close { conn, code, reason: reason.to_owned() });
    }

    /// Room for one more large file on its way; give it back with [`Core::end_download`].
    pub fn begin_download(&mut self) -> bool {
        let room = self.canvas.downloads < CANVAS_DOWNLOADS_MAX;
        self.canvas.downloads += usize::from(room);
        room
    }
    pub fn end_download(&mut self) {
        self.canvas.downloads -= 1;
    }
}
