//! Nodes: other machines that work for this gateway; which are here, what each may be called for, and who waits for what.
//!
//! ```text
//! connect ─► what it declares ∩ what its platform may have ∩ what it was paired with ─► Node::commands ─► invoke
//!                 └─ more than it was paired with: a pairing request; until that is approved it keeps what it had
//! ```
//!
//! * [`crate::store::nodes::Nodes`] here is what the disk holds; only [`Core::changed_nodes`] changes either.
//! * A node without a device identity has nothing to be paired with: it came with the gateway's own secret.
pub mod allow;
pub mod events;
pub mod exec;
pub mod invoke;
pub mod pairing;
pub mod subscriptions;

use super::registry::StoreWork;
use super::{Client, Core, Node};
use crate::base::clock::Now;
use crate::base::ids::{self, ConnId};
use crate::base::limits::{NODE_NAMES_MAX, NODE_SEEN_MS, NODE_TEXT_BYTES_MAX};
use crate::protocol::error::{RpcError, RpcResult};
use crate::store::nodes::{self as store, About, PairedNode, PendingNode};
use crate::store::stores::Stores;
use std::collections::BTreeMap;

/// All that is known of nodes.
#[derive(Default)]
pub struct Nodes {
    pub stored: store::Nodes,
    /// The change that `stored` is the outcome of, and the last one that was asked for.
    applied: u64,
    asked: u64,
    /// The connection of each node; of two with one identity, the newer.
    here: BTreeMap<String, ConnId>,
    invokes: invoke::Invokes,
    subscriptions: subscriptions::Subscriptions,
}

impl Nodes {
    pub fn new(stored: store::Nodes) -> Nodes {
        Nodes { stored, ..Nodes::default() }
    }
}

impl Core {
    /// The connection of a node, and what that declared.
    pub fn node(&self, node_id: &str) -> Option<(ConnId, &Node)> {
        let conn = *self.nodes.here.get(node_id)?;
        Some((conn, self.clients.get(&conn)?.ready()?.node.as_deref()?))
    }
    /// The nodes that are connected.
    pub fn connected_nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.here.keys().filter_map(|it| Some(self.node(it)?.1))
    }
    /// The node behind a connection.
    pub fn node_at(&self, conn: ConnId) -> Option<&Node> {
        self.clients.get(&conn).and_then(Client::ready)?.node.as_deref()
    }

    /// Work for the store thread: the files as they are now, changed, on disk again; then the core takes over what is there.
    /// A change that fails, or is refused, leaves everything as it was.
    pub fn changed_nodes<T: Send + 'static, R>(
        &mut self,
        change: impl FnOnce(&mut store::Nodes) -> RpcResult<T> + Send + 'static,
        then: impl FnOnce(&mut Core, T, Now) -> RpcResult<R> + Send + 'static,
    ) -> StoreWork<R> {
        self.nodes.asked += 1;
        let (number, dir) = (self.nodes.asked, store::dir(&self.world.paths.state));
        let work = move || {
            let before = store::Nodes::load(&dir).map_err(RpcError::unavailable)?;
            let mut nodes = before.clone();
            let told = change(&mut nodes)?;
            nodes.save(&dir, &before).map_err(RpcError::unavailable)?;
            Ok((nodes, told))
        };
        Box::new(move |_: &mut Stores| {
            let done: RpcResult<(store::Nodes, T)> = work();
            Box::new(move |core: &mut Core, now: Now| {
                let (stored, told) = done?;
                if number > core.nodes.applied {
                    (core.nodes.applied, core.nodes.stored) = (number, stored);
                }
                then(core, told, now)
            })
        })
    }
    /// As [`Core::changed_nodes`], when nobody waits for an answer.
    fn change_nodes<T: Send + 'static>(
        &mut self,
        change: impl FnOnce(&mut store::Nodes) -> RpcResult<T> + Send + 'static,
        then: impl FnOnce(&mut Core, T, Now) + Send + 'static,
    ) {
        let work = self.changed_nodes(change, move |core, told, now| {
            then(core, told, now);
            Ok(())
        });
        self.store(work, |core, finish, now| {
            if let Err(err) = finish(core, now) {
                log::error!(target: "nodes", "{}", err.message);
            }
        });
    }
}

/// A node is here: what it may do, and what must be written of it.
pub(super) fn on_connected(core: &mut Core, conn: ConnId, now: Now) {
    let Some(node) = core.node_at(conn) else { return };
    let (node_id, has_device) = (node.node_id.clone(), node.has_device);
    core.nodes.here.insert(node_id.clone(), conn);
    let about = about(core, conn);
    settle(core, &node_id);
    if !has_device {
        return;
    }
    match core.nodes.stored.paired.get(&node_id) {
        Some(it) if exceeds(&about, it) => ask_for_more(core, node_id, about, now),
        Some(it) if is_news(&about, it, now) => {
            let change = move |nodes: &mut store::Nodes| {
                if let Some(it) = nodes.paired.get_mut(&node_id) {
                    pairing::note(it, about, now.unix_ms);
                }
                Ok(())
            };
            core.change_nodes(change, |_, (), _| {});
        }
        Some(_) => {}
        // Its device was paired: what it declares first is what that pairing was for.
        None => pin(core, node_id, about, now),
    }
}

/// Whether the node wants more than it was paired with.
fn exceeds(about: &About, paired: &PairedNode) -> bool {
    let more = |new: &Option<Vec<String>>, old: &Option<Vec<String>>| {
        old.as_ref().is_some_and(|old| new.iter().flatten().any(|it| !old.contains(it)))
    };
    let other = |new: &Option<String>, old: &Option<String>| old.is_some() && new.is_some() && new != old;
    more(&about.caps, &paired.about.caps)
        || more(&about.commands, &paired.about.commands)
        // Another platform may have other commands.
        || other(&about.platform, &paired.about.platform)
        || other(&about.device_family, &paired.about.device_family)
}

/// Whether what is stored of the node should be written anew.
fn is_news(about: &About, paired: &PairedNode, now: Now) -> bool {
    let seen = paired.last_connected_at_ms.is_some_and(|it| now.unix_ms - it < NODE_SEEN_MS);
    let named = paired.renamed || about.display_name == paired.about.display_name;
    !seen || !named || about.version != paired.about.version || paired.about.commands.is_none()
}

fn pin(core: &mut Core, node_id: String, about: About, now: Now) {
    let token = ids::token(&mut core.entropy);
    let id = node_id.clone();
    let change = move |nodes: &mut store::Nodes| {
        if !nodes.paired.contains_key(&id) {
            pairing::insert(nodes, &id, token, about.clone(), now.unix_ms)?;
        }
        if let Some(it) = nodes.paired.get_mut(&id) {
            pairing::note(it, about, now.unix_ms);
        }
        Ok(())
    };
    core.change_nodes(change, move |core, (), _| settle(core, &node_id));
}

fn ask_for_more(core: &mut Core, node_id: String, about: About, now: Now) {
    let request =
        PendingNode { request_id: ids::uuid(&mut core.entropy), node_id, about, ..PendingNode::default() };
    let change = move |nodes: &mut store::Nodes| Ok(pairing::request(nodes, request, now.unix_ms));
    core.change_nodes(change, |core, (request, is_new), _| {
        log::warn!(target: "nodes", "node {} wants more than it was paired with, and keeps what it had until: gatewayd nodes approve {}",
            request.node_id, request.request_id);
        pairing::announce(core, &request, is_new);
    });
}

/// What the node at a connection declares, as it is stored.
fn about(core: &Core, conn: ConnId) -> About {
    let Some(node) = core.node_at(conn) else { return About::default() };
    let rules = &core.world.config.config.gateway.node_commands;
    let may = |it: &&String| allow::allows(rules, &node.platform, node.device_family.as_deref(), it);
    About {
        display_name: node.display_name.clone(),
        platform: Some(node.platform.clone()),
        version: Some(node.version.clone()),
        device_family: node.device_family.clone(),
        model_identifier: node.model_identifier.clone(),
        caps: Some(node.declared_caps.clone()),
        commands: Some(node.declared_commands.iter().filter(may).cloned().collect()),
        remote_ip: node.remote_ip.clone(),
        ..About::default()
    }
}

/// Sets what a connected node may be called for, from what it declared and what it was paired with.
fn settle(core: &mut Core, node_id: &str) {
    let Some(conn) = core.nodes.here.get(node_id) else { return };
    let paired = core.nodes.stored.paired.get(node_id).map(|it| &it.about);
    let rules = &core.world.config.config.gateway.node_commands;
    let ready = core.clients.get_mut(conn).and_then(Client::ready_mut);
    let Some(node) = ready.and_then(|it| it.node.as_deref_mut()) else { return };
    let paired = paired.filter(|_| node.has_device);
    // What it says of itself now does not widen what it was approved for.
    let platform = paired.and_then(|it| it.platform.as_ref()).unwrap_or(&node.platform);
    let family = match paired.filter(|it| it.platform.is_some()) {
        Some(it) => it.device_family.as_deref(),
        None => node.device_family.as_deref(),
    };
    let pinned = |list: Option<&Vec<String>>, it: &String| list.is_none_or(|list| list.contains(it));
    let may = |it: &&String| {
        allow::allows(rules, platform, family, it) && pinned(paired.and_then(|it| it.commands.as_ref()), it)
    };
    let commands = node.declared_commands.iter().filter(may).cloned().collect();
    let may = |it: &&String| pinned(paired.and_then(|it| it.caps.as_ref()), it);
    let caps = node.declared_caps.iter().filter(may).cloned().collect();
    (node.commands, node.caps) = (commands, caps);
}

/// A connection is gone: what it did for others, and others for it.
pub(super) fn on_gone(core: &mut Core, conn: ConnId, node: Option<&Node>, now: Now) {
    core.nodes.subscriptions.forget(conn);
    invoke::forget_caller(core, conn);
    let Some(node) = node else { return };
    if core.nodes.here.get(&node.node_id) == Some(&conn) {
        core.nodes.here.remove(&node.node_id);
        // The same node may have been here twice.
        let same = |it: &Client| {
            it.ready().and_then(|it| it.node.as_deref()).is_some_and(|it| it.node_id == node.node_id)
        };
        if let Some(other) = core.clients.iter().find(|it| same(it.1)).map(|it| *it.0) {
            core.nodes.here.insert(node.node_id.clone(), other);
            settle(core, &node.node_id);
        }
    }
    invoke::on_node_gone(core, conn, now);
}

/// The names that a node declares: sorted, each once, as many and as long as real ones are.
pub(super) fn names<'a>(all: impl Iterator<Item = &'a str>) -> Vec<String> {
    let fits = |it: &&str| !it.is_empty() && it.len() <= NODE_TEXT_BYTES_MAX;
    let mut all: Vec<String> = all.filter(fits).map(str::to_owned).collect();
    all.sort();
    all.dedup();
    all.truncate(NODE_NAMES_MAX);
    all
}

/// A text that a node says of itself, as much of it as anybody needs.
pub(super) fn text(text: &str) -> String {
    text[..text.floor_char_boundary(NODE_TEXT_BYTES_MAX)].to_owned()
}
