//! `models`: the models the gateway can use.
use super::Context;
use super::args::{Calls, command};
use super::rpc::As;
use super::text::{list, table, thousands, word};
use argh::FromArgs;
use serde_json::{Value, json};
use std::process::ExitCode;

/// models of the configured providers
#[derive(FromArgs)]
#[argh(subcommand, name = "models", help_triggers("-h", "--help", "help"))]
pub struct Models {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    List(List),
}

command! {
    /// the models, the default one marked
    #[argh(subcommand, name = "list")]
    List {}
}

impl Models {
    pub fn run(&self, context: &Context) -> ExitCode {
        let Command::List(it) = &self.command;
        let link = it.link();
        let answer = context.open(&link, As::Cli).and_then(|mut client| {
            let models = client.call("models.list", Some(json!({})), false)?;
            let defaults = client.call("sessions.list", Some(json!({ "limit": 1 })), false)?;
            Ok(rows(&models, &defaults["defaults"]))
        });
        context.show(answer, it.json, text)
    }
}

/// The reference's form: `provider/id` as the key, the default tagged, also when no provider offers it (`missing`).
fn rows(answer: &Value, defaults: &Value) -> Value {
    let default = format!("{}/{}", word(defaults, "modelProvider"), word(defaults, "model"));
    let mut models: Vec<Value> = list(answer, "models")
        .iter()
        .map(|it| {
            let key = format!("{}/{}", word(it, "provider"), word(it, "id"));
            let input: Vec<&str> = list(it, "input").iter().filter_map(Value::as_str).collect();
            let tags: &[&str] = if key == default { &["default"] } else { &[] };
            json!({
                "key": key, "name": it["name"], "input": input.join("+"), "contextWindow": it["contextWindow"],
                "tags": tags, "missing": false,
            })
        })
        .collect();
    if !models.iter().any(|it| it["key"] == *default) {
        models.insert(
            0,
            json!({
                "key": default, "name": defaults["model"], "input": "-", "contextWindow": defaults["contextTokens"],
                "tags": ["default"], "missing": true,
            }),
        );
    }
    json!({ "count": models.len(), "models": models })
}

fn text(answer: &Value) -> String {
    let row = |it: &Value| {
        let mut tags: Vec<&str> = list(it, "tags").iter().filter_map(Value::as_str).collect();
        if it["missing"] == true {
            tags.push("missing");
        }
        let context = it["contextWindow"].as_u64().map_or("-".into(), thousands);
        vec![word(it, "key").to_owned(), word(it, "input").to_owned(), context, tags.join(", ")]
    };
    let rows: Vec<_> = list(answer, "models").iter().map(row).collect();
    table(&["Model", "Input", "Context", "Tags"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn the_default_is_marked_even_when_missing() {
        let models =
            json!({ "models": [{ "id": "m", "name": "M", "provider": "p", "input": ["text", "image"] }] });
        let default = |model: &str| json!({ "modelProvider": "p", "model": model });
        let all = rows(&models, &default("m"));
        assert_eq!((&all["count"], &all["models"][0]["tags"][0]), (&json!(1), &json!("default")));
        assert_eq!(all["models"][0]["input"], "text+image");
        let all = rows(&models, &default("x"));
        assert_eq!((&all["count"], &all["models"][0]["missing"]), (&json!(2), &json!(true)));
    }
}
