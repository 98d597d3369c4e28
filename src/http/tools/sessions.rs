//! The tools that look at agents and their sessions, on the methods that clients have for it. They see the sessions of their own agent;
//! others where `tools.agentToAgent` says so.
use super::{done, failed};
use crate::agent::tools::listed;
use crate::base::clock::Now;
use crate::base::ids::ConnId;
use crate::config::normal_id;
use crate::gateway::routing::bare;
use crate::gateway::sessions::{Place, agent_of, place};
use crate::gateway::{Core, World};
use serde_json::{Map, Value, json};

pub(super) const NAMES: [&str; 3] = ["agents_list", "sessions_list", "sessions_history"];

pub(super) fn call(
    core: &mut Core,
    conn: ConnId,
    name: &str,
    from: &Place,
    args: &Map<String, Value>,
    now: Now,
) {
    match name {
        "agents_list" => {
            let details = agents(&core.world, &from.agent_id);
            core.respond(conn, shown(&details));
        }
        "sessions_list" => sessions(core, conn, from, args, now),
        _ => history(core, conn, from, args, now),
    }
}

fn shown(details: &Value) -> crate::conn::answer::Answer {
    done(&format!("{details:#}"), details)
}

/// Itself, and those that it may start.
fn agents(world: &World, requester: &str) -> Value {
    let agents = &world.config.config.agents;
    let list = world.config.resolved.pointer("/agents/list").and_then(Value::as_array);
    let mut own = list.into_iter().flatten();
    let own = own.find(|it| it["id"].as_str().is_some_and(|it| normal_id(it) == requester));
    let allowed = own.and_then(|it| it.pointer("/subagents/allowAgents")).and_then(Value::as_array);
    let allowed: Vec<&str> = allowed.into_iter().flatten().filter_map(Value::as_str).map(str::trim).collect();
    let any = allowed.contains(&"*");
    let mut others: Vec<String> = match any {
        true => agents.list.iter().map(|it| it.id.clone()).collect(),
        false => allowed.iter().filter(|it| !it.is_empty()).map(|it| normal_id(it)).collect(),
    };
    others.retain(|it| it != requester);
    others.sort();
    others.dedup();
    let row = |id: &str| {
        let known = agents.get(id);
        let mut row = json!({ "id": id, "configured": known.is_some() });
        if let Some(name) = known.and_then(|it| it.name.as_deref()) {
            row["name"] = json!(name);
        }
        row
    };
    let rows: Vec<Value> =
        [requester].into_iter().chain(others.iter().map(String::as_str)).map(row).collect();
    json!({ "requester": requester, "allowAny": any, "agents": rows })
}

/// Whether an agent may look at what another one has.
fn sees(world: &World, from: &str, other: &str) -> bool {
    let policy = &world.config.resolved["tools"]["agentToAgent"];
    let list = policy["allow"].as_array().into_iter().flatten();
    let list: Vec<String> = list.filter_map(Value::as_str).map(str::to_owned).collect();
    let both = || list.is_empty() || listed(&list, from) && listed(&list, other);
    from == other || policy["enabled"] == true && both()
}

fn whole(args: &Map<String, Value>, name: &str) -> Option<u64> {
    args.get(name)?.as_f64().map(|it| (it as u64).max(1))
}

fn sessions(core: &mut Core, conn: ConnId, from: &Place, args: &Map<String, Value>, now: Now) {
    if args.get("messageLimit").and_then(Value::as_f64).is_some_and(|it| it >= 1.0) {
        let text = "messageLimit is not supported here: call sessions_history for the messages of a session";
        return core.respond(conn, failed(text));
    }
    let mut params = json!({ "includeGlobal": true });
    for name in ["limit", "activeMinutes"] {
        if let Some(n) = whole(args, name) {
            params[name] = json!(n);
        }
    }
    let kinds = args.get("kinds").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let kinds: Vec<String> = kinds.map(|it| it.trim().to_lowercase()).collect();
    let (world, agent) = (core.world.clone(), from.agent_id.clone());
    core.consult(conn, "sessions.list", params, now, move |core, found, _| {
        let answer = match found.map(|it| serde_json::from_str::<Value>(it.get()).unwrap_or_default()) {
            Ok(found) => {
                let rows = found["sessions"].as_array().into_iter().flatten();
                let other = |key: &str| agent_of(key).map_or_else(|| agent.clone(), normal_id);
                let rows =
                    rows.filter(|it| sees(&world, &agent, &other(it["key"].as_str().unwrap_or_default())));
                let rows: Vec<Value> = rows.map(row).collect();
                let fits = |it: &Value| kinds.is_empty() || kinds.iter().any(|kind| it["kind"] == **kind);
                let rows: Vec<Value> = rows.into_iter().filter(fits).collect();
                shown(&json!({ "count": rows.len(), "sessions": rows }))
            }
            Err(err) => failed(&err.message),
        };
        core.respond(conn, answer);
    });
}

/// What the tool shows of a row of `sessions.list`.
fn row(session: &Value) -> Value {
    let key = session["key"].as_str().unwrap_or_default();
    let rest = bare(key);
    let kind = match rest.split(':').next().unwrap_or_default() {
        "main" | "global" if !rest.contains(':') => "main",
        "cron" => "cron",
        "hook" => "hook",
        it if it == "node" || it.starts_with("node-") => "node",
        _ if session["kind"] == "group" => "group",
        _ => "other",
    };
    let channel = [&session["channel"], &session["lastChannel"]].into_iter().find_map(Value::as_str);
    let channel =
        channel.unwrap_or(if matches!(kind, "cron" | "hook" | "node") { "internal" } else { "unknown" });
    let mut row = json!({ "key": key, "kind": kind, "channel": channel });
    for name in [
        "label",
        "displayName",
        "deliveryContext",
        "updatedAt",
        "sessionId",
        "model",
        "contextTokens",
        "totalTokens",
        "thinkingLevel",
        "verboseLevel",
        "systemSent",
        "abortedLastRun",
        "sendPolicy",
        "lastChannel",
        "lastTo",
        "lastAccountId",
    ] {
        if !session[name].is_null() {
            row[name] = session[name].clone();
        }
    }
    if let Some(id) = session["sessionId"].as_str() {
        row["transcriptPath"] = json!(format!("{id}.jsonl"));
    }
    row
}

fn history(core: &mut Core, conn: ConnId, from: &Place, args: &Map<String, Value>, now: Now) {
    let world = core.world.clone();
    let Some(named) = args.get("sessionKey").and_then(Value::as_str).filter(|it| !it.trim().is_empty())
    else {
        return core.respond(conn, failed("sessionKey required"));
    };
    let of = match place(&world, named) {
        Ok(it) => it,
        Err(err) => return core.respond(conn, failed(&err.message)),
    };
    if !sees(&world, &from.agent_id, &of.agent_id) {
        let error = "another agent's session: set tools.agentToAgent.enabled, and name both in its allow list if it has one";
        return core.respond(conn, shown(&json!({ "status": "forbidden", "error": error })));
    }
    let mut params = json!({ "sessionKey": of.key });
    if let Some(n) = whole(args, "limit") {
        params["limit"] = json!(n.min(1000));
    }
    let all = args.get("includeTools") == Some(&json!(true));
    core.consult(conn, "chat.history", params, now, move |core, found, _| {
        let answer = match found.map(|it| serde_json::from_str::<Value>(it.get()).unwrap_or_default()) {
            Ok(mut found) => {
                let mut messages = found["messages"].take();
                if let Some(list) = messages.as_array_mut().filter(|_| !all) {
                    list.retain(|it| it["role"] != "toolResult");
                }
                shown(&json!({ "sessionKey": of.key, "messages": messages }))
            }
            Err(err) => failed(&err.message),
        };
        core.respond(conn, answer);
    });
}
