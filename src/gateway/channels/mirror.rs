//! What was sent to a chat is repeated in the session of that chat, so that its next run knows of it. Reference.
use crate::base::ids;
use crate::channels::{Action, Key, Target, named};
use crate::config::PeerKind;
use crate::gateway::routing::{self, Origin, Thread};
use crate::gateway::{Core, sessions};
use crate::store::agent_sessions::{Behind, Trouble};
use crate::store::history::mirrored;
use crate::store::stores::Stores;
use crate::store::transcript::Entry;
use serde_json::{Map, Value, json};

#[derive(Debug, Clone)]
pub struct Mirror {
    place: sessions::Place,
    text: String,
    /// Of a session that does not exist yet; None where it must.
    entry: Option<Map<String, Value>>,
}

/// In a session that somebody has named.
pub fn in_session(core: &Core, key: &str, action: &Action) -> Option<Mirror> {
    Some(Mirror { place: sessions::place(&core.world, key).ok()?, text: text(action)?, entry: None })
}

/// In the session which that agent has with the chat.
pub fn in_chat(core: &Core, agent_id: &str, account: &Key, action: &Action) -> Option<Mirror> {
    let Action::Send(words) = action else { return None };
    let (target, text) = (&words.target, text(action)?);
    let kind = named(account.0)?.kind(target);
    let origin = Origin {
        channel: account.0,
        account: Some(&account.1),
        peer: Some((kind, &target.to)),
        thread: target.thread.as_deref().map(Thread::Topic),
        ..Origin::default()
    };
    let key = routing::conversation(agent_id, &origin, &core.world.config.config);
    let place = sessions::place(&core.world, &key).ok()?;
    Some(Mirror { place, text, entry: Some(entry(account, kind, target)) })
}

/// What is shown of it: words, and what the files are called.
fn text(action: &Action) -> Option<String> {
    let Action::Send(words) = action else { return None };
    let name = |it: &String| {
        let bare = it.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
        Some(bare.rsplit(['/', ':']).next()?.to_owned()).filter(|it| !it.is_empty())
    };
    let files: Vec<String> = words.media.iter().filter_map(name).collect();
    let parts = [words.text.trim().to_owned(), files.join(", ")];
    let parts: Vec<String> = parts.into_iter().filter(|it| !it.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join("\n"))
}

fn entry(account: &Key, kind: PeerKind, target: &Target) -> Map<String, Value> {
    let to = format!("{}:{}", account.0, target.to);
    let (word, from) = match kind {
        PeerKind::Direct => ("direct", to.clone()),
        _ => {
            let topic = target.thread.as_ref().map_or(String::new(), |it| format!(":topic:{it}"));
            ("group", format!("{}:group:{}{topic}", account.0, target.to))
        }
    };
    let mut origin = json!({ "provider": account.0, "surface": account.0, "chatType": word, "from": from, "to": to, "accountId": account.1 });
    if let Some(thread) = &target.thread {
        origin["threadId"] = thread.as_str().into();
    }
    let mut all = json!({ "origin": origin });
    if kind != PeerKind::Direct {
        all["chatType"] = word.into();
        all["channel"] = account.0.into();
        all["groupId"] = target.to.as_str().into();
    }
    all.as_object().cloned().unwrap_or_default()
}

impl Mirror {
    pub fn key(&self) -> &str {
        &self.place.key
    }
    /// Nobody waits for it: it was sent, whatever comes of this.
    pub fn keep(self, core: &mut Core) {
        let cwd = sessions::workspace(&core.world, &self.place.agent_id).display().to_string();
        core.store(
            move |stores| {
                if let Err(err) = self.write(stores, &cwd) {
                    log::warn!(target: "channels", "{}: what was sent could not be repeated in it: {err}", self.place.key);
                }
            },
            |_, (), _| {},
        );
    }
    fn write(&self, stores: &mut Stores, cwd: &str) -> Result<(), Trouble> {
        let sessions::Place { key, agent_id, store } = &self.place;
        let (all, now, entropy) = stores.open(store, agent_id)?;
        match (all.index().get(key).is_some(), &self.entry) {
            (true, _) => all.note(key, |it| drop(it.insert("updatedAt".into(), now.unix_ms.into())), now),
            // What is named and not there is nobody's conversation.
            (false, None) => return Ok(()),
            (false, Some(entry)) => {
                let mut entry = entry.clone();
                entry.insert("sessionId".into(), ids::uuid(entropy).into());
                entry.insert("updatedAt".into(), now.unix_ms.into());
                all.change(key, |_, _| Ok(entry), now)?;
            }
        }
        let message = mirrored(&self.text, now.unix_ms);
        all.append(key, cwd, Behind::Leaf, &[Entry::Message { message }], now, entropy).map(drop)
    }
}
