//! `/avatar/<agent>`: the picture of an agent that lies in its workspace; with `?meta=1` where it is.
//!
//! The reference shows it to everybody. Here whoever is on another machine must be the owner.
use super::{Asker, Exchange, guard};
use crate::base::beneath::Root;
use crate::base::clock::Now;
use crate::base::limits::{AVATAR_BYTES_MAX, BODY_UNUSED_BYTES_MAX};
use crate::config::{normal_id, paths::expand_home};
use crate::conn::answer::Answer;
use crate::gateway::methods::agents::own_avatar;
use crate::gateway::{Core, World, sessions};
use serde_json::json;
use std::path::Path;

const BELOW: &str = "/avatar/";

pub(super) fn admit(core: &mut Core, asker: &Asker, now: Now) -> Result<u64, Answer> {
    if !asker.peer.is_local() {
        guard::owner(core, asker, now)?;
    }
    Ok(BODY_UNUSED_BYTES_MAX)
}

pub(super) fn answer(core: &mut Core, it: Exchange, _: Now) {
    let (head, world) = (it.request.head, core.world.clone());
    let id = head.path.trim_start_matches(BELOW).to_owned();
    let wants_meta = head.query_pairs().iter().any(|it| it.0 == "meta" && it.1 == "1");
    // Only as agents are called: no other spelling of a name.
    if normal_id(&id) != id {
        return core.respond(it.conn, Answer::text(404, "Not Found"));
    }
    core.respond_later(it.conn, move || {
        let known = sessions::agent_ids(&world).contains(&id);
        let found = if known { find(&world, &id) } else { None };
        match (wants_meta, found) {
            (true, None) => meta(None),
            (true, Some(Avatar::Elsewhere(url))) => meta(Some(&url)),
            (true, Some(Avatar::File { .. })) => meta(Some(&format!("{BELOW}{id}"))),
            (false, Some(Avatar::File { content_type, bytes })) => {
                Answer::new(200, content_type, bytes).with("Cache-Control", "no-cache")
            }
            (false, _) => Answer::text(404, "Not Found"),
        }
    });
}

fn meta(url: Option<&str>) -> Answer {
    Answer::json(200, &json!({ "avatarUrl": url }))
}

enum Avatar {
    /// At an address that the client fetches.
    Elsewhere(String),
    File {
        content_type: &'static str,
        bytes: Vec<u8>,
    },
}

fn find(world: &World, agent_id: &str) -> Option<Avatar> {
    let named = own_avatar(world, agent_id)?;
    let scheme = named.split(':').next().unwrap_or_default().to_ascii_lowercase();
    if named.contains(':') && matches!(scheme.as_str(), "http" | "https" | "data") {
        return Some(Avatar::Elsewhere(named));
    }
    let workspace = sessions::workspace(world, agent_id);
    let path = expand_home(&named, &world.paths.home);
    // Written from the root, it must still be in the workspace.
    let path = if path.is_absolute() { path.strip_prefix(&workspace).ok()? } else { &path };
    let content_type = content_type(path)?;
    let bytes = Root::open(&workspace).ok()??.read_sole(path.to_str()?, AVATAR_BYTES_MAX).ok()??;
    Some(Avatar::File { content_type, bytes })
}

fn content_type(path: &Path) -> Option<&'static str> {
    Some(match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        _ => return None,
    })
}
