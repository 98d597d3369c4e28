//! `node.pair.*`: who may be a node, and for what. Pure decisions over what is stored; the caller makes them durable.
use super::settle;
use crate::base::limits::{NODES_PAIRED_MAX, PAIRING_PENDING_MAX, PAIRING_TTL_MS};
use crate::base::secret::Secret;
use crate::gateway::Core;
use crate::gateway::events::{Decision, NODE_PAIR_REQUESTED, NODE_PAIR_RESOLVED, NodePairResolved};
use crate::protocol::error::{RpcError, RpcResult};
use crate::store::nodes::{About, Nodes, PairedNode, PendingNode};

/// The pending request of this node: the one it has, or this one (`true`). Expired ones go, and the oldest of too many.
pub fn request(nodes: &mut Nodes, mut request: PendingNode, unix_ms: i64) -> (PendingNode, bool) {
    nodes.pending.retain(|_, it| unix_ms - it.ts <= PAIRING_TTL_MS);
    if let Some(it) = nodes.pending.values().find(|it| it.node_id == request.node_id) {
        // Nobody shall approve another request than the one that was looked at.
        if asks_the_same(&request.about, &it.about) {
            return (it.clone(), false);
        }
        let old = it.request_id.clone();
        nodes.pending.remove(&old);
    }
    while nodes.pending.len() >= PAIRING_PENDING_MAX {
        let Some(oldest) = nodes.pending.values().min_by_key(|it| it.ts).map(|it| it.request_id.clone())
        else {
            break;
        };
        nodes.pending.remove(&oldest);
    }
    request.is_repair = nodes.paired.contains_key(&request.node_id);
    request.ts = unix_ms;
    nodes.pending.insert(request.request_id.clone(), request.clone());
    (request, true)
}

/// Whether a node that asks again asks for nothing else. What it does not name now stands as it was.
fn asks_the_same(new: &About, old: &About) -> bool {
    fn same<T: PartialEq>(new: &Option<T>, old: &Option<T>) -> bool {
        new.is_none() || new == old
    }
    same(&new.caps, &old.caps)
        && same(&new.commands, &old.commands)
        && same(&new.platform, &old.platform)
        && same(&new.device_family, &old.device_family)
}

fn taken(nodes: &mut Nodes, request_id: &str, unix_ms: i64) -> RpcResult<PendingNode> {
    nodes.pending.retain(|_, it| unix_ms - it.ts <= PAIRING_TTL_MS);
    nodes.pending.remove(request_id).ok_or_else(|| RpcError::invalid("unknown requestId"))
}

/// Pairs the node, or gives it what it asked for. `token` is its own from now on.
///
/// # Errors
/// What the caller is told.
pub fn approve(nodes: &mut Nodes, request_id: &str, token: String, unix_ms: i64) -> RpcResult<PairedNode> {
    let request = taken(nodes, request_id, unix_ms)?;
    insert(nodes, &request.node_id, token, request.about, unix_ms)
}

/// # Errors
/// What the caller is told.
pub fn reject(nodes: &mut Nodes, request_id: &str, unix_ms: i64) -> RpcResult<PendingNode> {
    taken(nodes, request_id, unix_ms)
}

/// A node is paired for what it says of itself. A name that a person gave stays.
///
/// # Errors
/// Too many are paired already.
pub fn insert(
    nodes: &mut Nodes,
    node_id: &str,
    token: String,
    about: About,
    unix_ms: i64,
) -> RpcResult<PairedNode> {
    let known = nodes.paired.remove(node_id);
    if known.is_none() && nodes.paired.len() >= NODES_PAIRED_MAX {
        return Err(RpcError::unavailable(format!(
            "{NODES_PAIRED_MAX} nodes are paired: remove one from nodes/paired.json first"
        )));
    }
    let mut it = known.unwrap_or_else(|| PairedNode { created_at_ms: unix_ms, ..PairedNode::default() });
    let name = if it.renamed { it.about.display_name.take() } else { about.display_name.clone() };
    it.about = About { display_name: name, ..about };
    (it.node_id, it.token, it.approved_at_ms) = (node_id.to_owned(), token, unix_ms);
    nodes.paired.insert(node_id.to_owned(), it.clone());
    Ok(it)
}

/// A paired node was here: what it calls itself, and when.
pub fn note(paired: &mut PairedNode, about: About, unix_ms: i64) {
    paired.last_connected_at_ms = Some(unix_ms);
    let old = &mut paired.about;
    if !paired.renamed {
        old.display_name = about.display_name;
    }
    old.version = about.version;
    old.remote_ip = about.remote_ip;
    // A record of a version that pinned nothing.
    old.caps = old.caps.take().or(about.caps);
    old.commands = old.commands.take().or(about.commands);
}

/// Whether the token is that node's own.
pub fn verify(nodes: &Nodes, node_id: &str, token: &str) -> Option<PairedNode> {
    let it = nodes.paired.get(node_id)?;
    Secret::new(it.token.clone()).is(token).then(|| it.clone())
}

/// Tells who decides about pairings; a request that was there before is not told again.
pub fn announce(core: &mut Core, request: &PendingNode, is_new: bool) {
    if is_new {
        core.broadcast(&NODE_PAIR_REQUESTED, request);
    }
}

/// Tells what was decided; a node that is here has it at once.
pub fn resolved(core: &mut Core, request_id: &str, node_id: &str, decision: Decision, unix_ms: i64) {
    settle(core, node_id);
    let (request_id, node_id) = (request_id.to_owned(), node_id.to_owned());
    core.broadcast(&NODE_PAIR_RESOLVED, &NodePairResolved { request_id, node_id, decision, ts: unix_ms });
}

#[cfg(test)]
mod tests {
    use super::*;
    fn asks(id: &str, node: &str, commands: &[&str]) -> PendingNode {
        let commands = Some(commands.iter().map(|it| (*it).to_owned()).collect());
        let about = About { commands, ..About::default() };
        PendingNode { request_id: id.into(), node_id: node.into(), about, ..PendingNode::default() }
    }
    #[test]
    fn one_request_a_node() {
        let mut nodes = Nodes::default();
        assert!(request(&mut nodes, asks("1", "n", &["a"]), 5).1);
        let (again, is_new) = request(&mut nodes, asks("2", "n", &["a"]), 6);
        assert_eq!((again.request_id.as_str(), is_new), ("1", false));
        // Whoever looks at the first request must not approve the second one by it.
        let (more, is_new) = request(&mut nodes, asks("3", "n", &["a", "b"]), 7);
        assert_eq!((more.request_id.as_str(), is_new, nodes.pending.len()), ("3", true, 1));
        assert!(approve(&mut nodes, "1", "t".into(), 8).is_err());
        assert!(!more.is_repair);
        assert_eq!(approve(&mut nodes, "3", "t".into(), 8).unwrap().about.commands.unwrap(), ["a", "b"]);
        assert!(request(&mut nodes, asks("4", "n", &["c"]), 9).0.is_repair);
        assert!(reject(&mut nodes, "4", 9 + PAIRING_TTL_MS + 1).is_err(), "too late");
        assert!(verify(&nodes, "n", "t").is_some() && verify(&nodes, "n", "u").is_none());
    }
    #[test]
    fn bounded() {
        let mut nodes = Nodes::default();
        for n in 0..PAIRING_PENDING_MAX + 5 {
            request(&mut nodes, asks(&n.to_string(), &n.to_string(), &[]), n as i64);
        }
        assert!(nodes.pending.len() == PAIRING_PENDING_MAX && !nodes.pending.contains_key("4"));
        for n in 0..NODES_PAIRED_MAX {
            insert(&mut nodes, &n.to_string(), "t".into(), About::default(), 1).unwrap();
        }
        assert!(insert(&mut nodes, "x", "t".into(), About::default(), 1).is_err());
        assert!(insert(&mut nodes, "5", "t".into(), About::default(), 1).is_ok());
    }
    #[test]
    fn a_given_name_stays() {
        let mut nodes = Nodes::default();
        let named = |it: &str| About { display_name: Some(it.into()), ..About::default() };
        insert(&mut nodes, "n", "t".into(), named("a"), 1).unwrap();
        let it = nodes.paired.get_mut("n").unwrap();
        note(it, named("b"), 2);
        assert_eq!(it.about.display_name.as_deref(), Some("b"));
        (it.renamed, it.about.display_name) = (true, Some("mine".into()));
        note(it, named("c"), 3);
        assert_eq!(it.about.display_name.as_deref(), Some("mine"));
        assert_eq!(
            insert(&mut nodes, "n", "u".into(), named("d"), 4).unwrap().about.display_name.as_deref(),
            Some("mine")
        );
    }
}
