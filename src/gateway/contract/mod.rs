//! The published contract, `vendor-schemas/`: JSON Schema of each protocol version and the client types made from it.
//! All of it is rendered from the Rust types, so that it says what the gateway does.
//!
//! ```text
//! Shape, JsonSchema ──► document(versions) ──► openclaw-v3.schema.json, openclaw-v4.schema.json
//!                                         └──► gatewayd.d.ts, GatewayModels.swift (both versions in one)
//! ```
mod swift;
mod typescript;

use super::{events, methods, registry::Method};
use crate::base::files;
use crate::protocol::connect::{ConnectParams, PROTOCOLS};
use crate::protocol::error::Code;
use crate::protocol::hello::HelloOk;
use crate::protocol::scope::Access;
use crate::protocol::{error, frame};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};
use std::ops::RangeInclusive;
use std::path::Path;

/// Everything that is true in at least one of `versions`.
fn document(versions: RangeInclusive<u32>) -> Value {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    frame::describe(&mut generator);
    let mut rows = vec![json!({
        "name": "connect", "role": null, "scope": null, "ignoresUnknownParams": false,
        "params": generator.subschema_for::<ConnectParams>(), "result": generator.subschema_for::<HelloOk>(),
    })];
    let families = || methods::FAMILIES.iter().copied().flatten();
    rows.extend(families().map(|it| method(&mut generator, it, *versions.end())));
    let events: Vec<Value> = events::EVENTS
        .iter()
        .zip(events::SCHEMAS)
        .map(|(name, (access, schema))| json!({ "name": name, "scope": scope(*access), "payload": schema(&mut generator) }))
        .collect();
    generator.subschema_for::<error::RpcError>();
    generator.subschema_for::<Code>();
    // A shape notices a namesake that came before it; the second round notices those that came after.
    families().for_each(|it| drop((it.schema)(&mut generator)));
    let mut defs = generator.take_definitions(true);
    for name in defs.keys() {
        let stem = name.trim_end_matches(|it: char| it.is_ascii_digit());
        assert!(stem == name || !defs.contains_key(stem), "two types are called {stem}: rename one of them");
    }
    defs.values_mut().for_each(as_on_the_wire);
    only_in(&versions, &mut defs);
    let frames =
        ["RequestFrame", "ResponseFrame", "EventFrame"].map(|it| json!({ "$ref": format!("#/$defs/{it}") }));
    defs.insert("GatewayFrame".into(), json!({ "anyOf": frames }));
    defs.sort_keys();
    let version = versions.end();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("openclaw-v{version}.schema.json"),
        "title": format!("OpenClaw Gateway protocol {version}"),
        "description": "One frame on the wire. Results and events may gain properties: a client ignores those it does not know.",
        "$ref": "#/$defs/GatewayFrame",
        "errorCodes": defs["Code"]["enum"],
        "methods": rows,
        "events": events,
        "$defs": defs,
    })
}

fn method(generator: &mut SchemaGenerator, method: &Method, version: u32) -> Value {
    let (params, result) = (method.schema)(generator);
    let access = method.access(version);
    json!({
        "name": method.name,
        "role": if access == Access::NodeOnly { "node" } else { "operator" },
        "scope": scope(access),
        "ignoresUnknownParams": method.ignores_unknown_params(version),
        "params": params,
        "result": result,
    })
}

fn scope(access: Access) -> Option<&'static str> {
    (!matches!(access, Access::Anyone | Access::NodeOnly)).then(|| access.scope())
}

/// What tells the versions apart: protocol 4 always sends `auth`, and alone has `FORBIDDEN`.
fn only_in(versions: &RangeInclusive<u32>, defs: &mut Map<String, Value>) {
    if *versions.start() >= 4 {
        defs["HelloOk"]["required"]
            .as_array_mut()
            .expect("hello-ok has required properties")
            .push("auth".into());
    }
    if *versions.end() < 4 {
        defs["Code"]["enum"].as_array_mut().expect("the codes are an enum").retain(|it| it != "FORBIDDEN");
    }
}

/// What is left out when it is `None` is never null, and a default is for who writes a store file, not for who reads the wire.
/// Params say themselves where null means something: they are closed.
fn as_on_the_wire(schema: &mut Value) {
    if schema["additionalProperties"] == false {
        return;
    }
    let required: Vec<Value> = schema["required"].as_array().cloned().unwrap_or_default();
    for (name, it) in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten() {
        it.as_object_mut().and_then(|it| it.remove("default"));
        if let Some(rest) = nullable(it).filter(|_| !required.iter().any(|it| it == name)) {
            *it = rest;
        }
    }
}

/// The last word of `#/$defs/Name`.
fn ref_name(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix("#/$defs/")
}

/// The words of a closed set: `enum`, or `anyOf` of constants.
fn words(schema: &Value) -> Option<Vec<&str>> {
    let branches = schema["anyOf"].as_array().or(schema["oneOf"].as_array());
    let all: Option<Vec<&str>> = match (schema["enum"].as_array(), branches) {
        (Some(words), _) => words.iter().map(Value::as_str).collect(),
        (None, Some(branches)) => branches.iter().map(|it| it["const"].as_str()).collect(),
        (None, None) => None,
    };
    all.filter(|it| !it.is_empty())
}

/// The branches of a schema that may also be null, without the null; None when null is no choice.
fn nullable(schema: &Value) -> Option<Value> {
    if let Some(types) = schema["type"].as_array() {
        let mut rest: Vec<Value> = types.iter().filter(|it| *it != "null").cloned().collect();
        let mut out = schema.clone();
        out["type"] = if rest.len() == 1 { rest.remove(0) } else { rest.clone().into() };
        return types.iter().any(|it| it == "null").then_some(out);
    }
    let branches = schema["anyOf"].as_array()?;
    let mut rest: Vec<Value> = branches.iter().filter(|it| it["type"] != "null").cloned().collect();
    let is_nullable = rest.len() < branches.len();
    let mut out = if rest.len() == 1 { rest.remove(0) } else { json!({ "anyOf": rest }) };
    if let Some(text) = schema.get("description") {
        out["description"] = text.clone();
    }
    is_nullable.then_some(out)
}

/// Name, schema and whether it must be there, in the order of the type.
fn properties(schema: &Value) -> impl Iterator<Item = (&str, &Value, bool)> {
    let is_required =
        |name: &str| schema["required"].as_array().is_some_and(|it| it.iter().any(|it| it == name));
    schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(move |(name, it)| (name.as_str(), it, is_required(name)))
}

fn rows(document: &Value, list: &str) -> Vec<Value> {
    document[list].as_array().cloned().expect("the document lists its methods and events")
}

#[test]
fn vendor_schemas_are_current() {
    let json = |version| serde_json::to_string_pretty(&document(version..=version)).unwrap() + "\n";
    let both = document(PROTOCOLS);
    let rendered = [
        ("openclaw-v3.schema.json", json(3)),
        ("openclaw-v4.schema.json", json(4)),
        ("gatewayd.d.ts", typescript::render(&both)),
        ("GatewayModels.swift", swift::render(&both)),
    ];
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("vendor-schemas");
    let mut stale = vec![];
    for (name, text) in rendered {
        let path = dir.join(name);
        let on_disk = files::read_text(&path, u64::MAX).unwrap();
        if on_disk.as_deref() == Some(text.as_str()) {
            continue;
        }
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            files::write_atomic(&path, text.as_bytes()).unwrap();
        } else {
            stale.push(name);
        }
    }
    assert!(
        stale.is_empty(),
        "vendor-schemas/ differs from the types: {stale:?}; run scripts/protocol-gen and commit what it changes"
    );
}

#[test]
fn versions_differ_where_the_gateway_does() {
    let (three, four) = (document(3..=3), document(4..=4));
    let requires_auth = |it: &Value| properties(&it["$defs"]["HelloOk"]).any(|it| it.0 == "auth" && it.2);
    assert_eq!((requires_auth(&three), requires_auth(&four)), (false, true));
    let forbidden = |it: &Value| it["errorCodes"].as_array().unwrap().iter().any(|it| it == "FORBIDDEN");
    assert_eq!((forbidden(&three), forbidden(&four)), (false, true));
    let row = |it: &Value| rows(it, "methods").into_iter().find(|it| it["name"] == "config.get").unwrap();
    assert_eq!(
        (&row(&three)["scope"], &row(&four)["scope"]),
        (&json!("operator.admin"), &json!("operator.read"))
    );
}

#[test]
fn params_keep_the_null_that_clears() {
    let document = document(3..=3);
    let of = |name: &str| document["$defs"]["SessionsPatchParams"]["properties"][name].clone();
    assert!(nullable(&of("label")).is_some() && nullable(&of("sendPolicy")).is_some());
    assert!(nullable(&of("key")).is_none());
}
