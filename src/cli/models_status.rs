//! `models status`: the models that are chosen, and per provider which key would be used.
//!
//! * No key is ever printed, nor a part of one.
use super::config::Trouble;
use super::models::{Known, Named, show};
use super::text::{age, list, table, word, words};
use super::{Context, fail};
use crate::agent::keys::{Key, Source, profiles_path};
use crate::base::secret::MASK;
use argh::FromArgs;
use serde_json::{Map, Value, json};
use std::process::ExitCode;

/// the models that are chosen, and the keys that are there for them
#[derive(FromArgs, Default)]
#[argh(subcommand, name = "status", help_triggers("-h", "--help", "help"))]
pub struct Status {
    /// agent to look at
    #[argh(option, arg_name = "id")]
    agent: Option<String>,
    /// print JSON
    #[argh(switch)]
    json: bool,
    /// print the default model alone
    #[argh(switch)]
    plain: bool,
    /// exit 1 when a model that is used has no key that works, 2 when one ends within a day
    #[argh(switch)]
    check: bool,
}

/// How long before its end a key is worth a word, milliseconds. Reference: a day.
const WARN_MS: i64 = 24 * 3_600_000;

impl Status {
    /// # Errors
    /// No such agent, or flags that exclude each other.
    pub fn run(&self, context: &Context) -> Result<ExitCode, Trouble> {
        let known = Known::load(context, self.agent.as_deref())?;
        let it = Findings::of(&known);
        let names = |it: &Value| word(it, "resolvedDefault").to_owned();
        let status = show(&it.json(context), (self.json, self.plain), names, text)?;
        for it in &it.problems {
            fail(&format!("Warning: {it}"), 0);
        }
        match (self.check, it.problems.is_empty(), it.ends_soon()) {
            (true, false, _) => Ok(ExitCode::from(1)),
            (true, true, true) => Ok(ExitCode::from(2)),
            _ => Ok(status),
        }
    }
}

struct Findings<'k> {
    known: &'k Known,
    default: Named,
    fallbacks: Vec<Named>,
    image: Option<Named>,
    image_fallbacks: Vec<Named>,
    /// Of the models above, by what is wrong with them: sentences.
    problems: Vec<String>,
    /// Providers of the models above, sorted.
    in_use: Vec<String>,
    /// Those of them that cannot be asked.
    missing: Vec<String>,
}

impl Findings<'_> {
    fn of(known: &Known) -> Findings<'_> {
        let (default, fallbacks, (image, image_fallbacks)) =
            (known.default(), known.fallbacks(), known.image());
        let (mut problems, mut in_use, mut missing) = (vec![], vec![], vec![]);
        let all = std::iter::once(("default model", &default))
            .chain(fallbacks.iter().map(|it| ("fallback", it)))
            .chain(image.iter().map(|it| ("image model", it)))
            .chain(image_fallbacks.iter().map(|it| ("image fallback", it)));
        for (what, it) in all {
            let key = it.key();
            let provider = key.split('/').next().unwrap_or_default().to_owned();
            let rests = known.key(&provider).map_or(0, Key::rests_until_ms) - known.unix_ms;
            if let Some(why) = known.problem(it) {
                problems.push(format!("the {what} {key} cannot be asked: {why}"));
                missing.push(provider.clone());
            } else if rests > 0 {
                problems.push(format!(
                    "the {what} {key} cannot be asked for {}: its keys rest after failures",
                    age(rests as u64)
                ));
            }
            in_use.push(provider);
        }
        for all in [&mut in_use, &mut missing] {
            all.sort();
            all.dedup();
        }
        Findings { known, default, fallbacks, image, image_fallbacks, problems, in_use, missing }
    }

    /// Whether a key that is used ends within a day.
    fn ends_soon(&self) -> bool {
        let profiles = profiles(&self.known.profiles, self.known.unix_ms);
        let used = |provider: &String| self.known.key(provider).filter(|it| it.source == Source::Profile);
        let ids: Vec<&str> = self.in_use.iter().filter_map(used).map(|it| it.id.as_str()).collect();
        profiles.iter().any(|it| it["status"] == "expiring" && ids.contains(&word(it, "profileId")))
    }

    fn json(&self, context: &Context) -> Value {
        let known = self.known;
        let keys = |all: &[Named]| all.iter().map(Named::key).collect::<Vec<_>>();
        let listed = || known.listed().map(|(name, alias)| (known.named(name).key(), alias));
        let aliases: Map<String, Value> =
            listed().filter_map(|(key, alias)| Some((alias?.to_owned(), key.into()))).collect();
        let profiles = profiles(&known.profiles, known.unix_ms);
        let mut providers: Vec<String> = known.catalog().providers().map(str::to_owned).collect();
        providers.extend(self.in_use.iter().cloned());
        providers.sort();
        providers.dedup();
        providers.retain(|it| !known.keys.of(it).is_empty() || self.in_use.contains(it));
        let signed_in: Vec<String> = providers
            .iter()
            .map(|name| (name, of(&profiles, name).iter().filter(|it| it["type"] != "api_key").count()))
            .filter(|it| it.1 > 0)
            .map(|(name, count)| format!("{name} ({count})"))
            .collect();
        json!({
            "configPath": context.paths.config,
            "agentDir": context.paths.agent(&known.agent_id).join("agent"),
            "defaultModel": self.default.name,
            "resolvedDefault": self.default.key(),
            "fallbacks": keys(&self.fallbacks),
            "imageModel": self.image.as_ref().map(Named::key),
            "imageFallbacks": keys(&self.image_fallbacks),
            "aliases": aliases,
            "allowed": listed().map(|it| it.0).collect::<Vec<_>>(),
            "auth": {
                "storePath": profiles_path(&context.paths, &known.agent_id),
                "shellEnvFallback": { "enabled": false, "appliedKeys": [] },
                "providersWithOAuth": signed_in,
                "missingProvidersInUse": self.missing,
                "providers": providers.iter().map(|it| self.provider(it, &profiles)).collect::<Vec<_>>(),
                "unusableProfiles": self.resting_profiles(),
                "oauth": {
                    "warnAfterMs": WARN_MS,
                    "profiles": profiles,
                    "providers": providers.iter().map(|it| signed_in_at(it, &profiles)).collect::<Vec<_>>(),
                },
            },
            "problems": self.problems,
        })
    }

    fn provider(&self, name: &str, profiles: &[Value]) -> Value {
        let (keys, profiles) = (self.known.keys.of(name), of(profiles, name));
        let count = |kind: &str| profiles.iter().filter(|it| it["type"] == kind).count();
        let labels: Vec<String> =
            profiles.iter().map(|it| format!("{}={}", word(it, "label"), word(it, "type"))).collect();
        let (kind, detail) = match self.known.key(name) {
            Some(key) => place(name, key),
            None if self.missing.iter().any(|it| it == name) => ("missing", String::new()),
            None => ("none", "needs no key".to_owned()),
        };
        let mut out = json!({
            "provider": name,
            "effective": { "kind": kind, "detail": detail },
            "profiles": {
                "count": profiles.len(), "oauth": count("oauth"), "token": count("token"),
                "apiKey": count("api_key"), "labels": labels,
            },
        });
        let rests = self.known.key(name).map_or(0, Key::rests_until_ms);
        if rests > self.known.unix_ms {
            out["restsUntil"] = rests.into();
        }
        for key in keys {
            let (kind, detail) = place(name, key);
            match key.source {
                Source::Config => out[kind] = json!({ "value": MASK, "source": detail }),
                // The first is the one that is used.
                Source::Env if out[kind].is_null() => {
                    out[kind] = json!({ "value": MASK, "source": format!("env: {detail}") });
                }
                _ => {}
            }
        }
        out
    }

    fn resting_profiles(&self) -> Vec<Value> {
        let known = self.known;
        let row = |provider: &str, key: &Key| {
            let stats = &known.profiles["usageStats"][&key.id];
            let disabled = stats["disabledUntil"].as_f64().is_some_and(|it| it > known.unix_ms as f64);
            json!({
                "profileId": key.id, "provider": provider, "kind": if disabled { "disabled" } else { "cooldown" },
                "until": key.rests_until_ms(), "remainingMs": key.rests_until_ms() - known.unix_ms,
            })
        };
        let rests = |key: &&Key| key.source == Source::Profile && key.rests_until_ms() > known.unix_ms;
        let of =
            |it: &str| known.keys.of(it).iter().filter(rests).map(|key| row(it, key)).collect::<Vec<_>>();
        known.catalog().providers().flat_map(of).collect()
    }
}

/// Every profile of a profiles file, with its state: `static`, `ok`, `expiring`, `expired`; no secrets.
pub fn profiles(file: &Value, unix_ms: i64) -> Vec<Value> {
    let row = |(id, it): (&String, &Value)| {
        let ends = it["expires"].as_f64().filter(|it| *it > 0.0).map(|it| it as i64);
        let left = ends.map(|it| it - unix_ms);
        let email = it["email"].as_str().map(|it| format!(" ({it})")).unwrap_or_default();
        let mut row = json!({
            "profileId": id, "provider": word(it, "provider").to_lowercase(), "type": it["type"],
            "status": match left {
                _ if it["type"] == "api_key" => "static",
                Some(..=0) => "expired",
                Some(1..WARN_MS) => "expiring",
                _ => "ok",
            },
        });
        if let (Some(ends), Some(left)) = (ends, left) {
            (row["expiresAt"], row["remainingMs"]) = (ends.into(), left.into());
        }
        row["source"] = "store".into();
        row["label"] = format!("{id}{email}").into();
        row
    };
    file["profiles"].as_object().into_iter().flatten().map(row).collect()
}

fn of(profiles: &[Value], provider: &str) -> Vec<Value> {
    profiles.iter().filter(|it| it["provider"] == *provider).cloned().collect()
}

/// Where a key stands, in a word and in full.
fn place(provider: &str, key: &Key) -> (&'static str, String) {
    match key.source {
        Source::Config => ("config", format!("models.providers.{provider}.apiKey")),
        Source::Profile => ("profiles", key.id.clone()),
        Source::Env => ("env", key.id.clone()),
    }
}

/// How it stands with the sign-ins of a provider: as with the one that ends first.
fn signed_in_at(provider: &str, profiles: &[Value]) -> Value {
    let own = of(profiles, provider);
    let first = own.iter().filter(|it| it["expiresAt"].is_i64()).min_by_key(|it| it["expiresAt"].as_i64());
    let lasting = || own.iter().find(|it| it["type"] != "api_key").or(own.first());
    let status = first.or_else(lasting).map_or("missing", |it| word(it, "status"));
    let mut out = json!({ "provider": provider, "status": status, "profiles": own });
    if let Some(first) = first {
        (out["expiresAt"], out["remainingMs"]) = (first["expiresAt"].clone(), first["remainingMs"].clone());
    }
    out
}

fn text(it: &Value) -> String {
    let default = match (word(it, "defaultModel"), word(it, "resolvedDefault")) {
        (name, key) if name == key => key.to_owned(),
        (name, key) => format!("{key} (written as {name})"),
    };
    let aliases = it["aliases"].as_object().into_iter().flatten();
    let aliases: Vec<String> =
        aliases.map(|(alias, key)| format!("{alias} = {}", key.as_str().unwrap_or("-"))).collect();
    let allowed = match list(it, "allowed") {
        [] => "every model".to_owned(),
        _ => format!("{}; besides them the default model and its fallbacks", words(it, "allowed")),
    };
    let rows = [
        ("Config", word(it, "configPath").to_owned()),
        ("Agent", word(it, "agentDir").to_owned()),
        ("Default", default),
        ("Fallbacks", words(it, "fallbacks")),
        ("Images", word(it, "imageModel").to_owned()),
        ("  fallbacks", words(it, "imageFallbacks")),
        ("Aliases", if aliases.is_empty() { "-".to_owned() } else { aliases.join(", ") }),
        ("Allowed", allowed),
    ];
    let lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name:<11}  {value}")).collect();
    let keys: Vec<_> = list(&it["auth"], "providers").iter().map(|row| provider_cells(row, it)).collect();
    format!("{}\n\n{}", lines.join("\n"), table(&["Provider", "Key", "State"], &keys))
}

fn provider_cells(row: &Value, answer: &Value) -> Vec<String> {
    let effective = &row["effective"];
    let (kind, detail) = (word(effective, "kind"), word(effective, "detail"));
    let key = match kind {
        "config" => format!("config {detail}"),
        "profiles" => format!("profile {detail}"),
        "env" => format!("env {detail}"),
        "missing" => "-".to_owned(),
        _ => detail.to_owned(),
    };
    let missing = list(&answer["auth"], "missingProvidersInUse").contains(&row["provider"]);
    let until = list(&answer["auth"], "unusableProfiles").iter().find(|it| it["profileId"] == *detail);
    let state = match until.and_then(|it| it["remainingMs"].as_u64()).filter(|_| kind == "profiles") {
        _ if kind == "missing" => "no key".to_owned(),
        _ if missing => "cannot be asked".to_owned(),
        Some(ms) => format!("rests for {}", age(ms)),
        None => "ready".to_owned(),
    };
    vec![word(row, "provider").to_owned(), key, state]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::files;
    use crate::base::testing::TempDir;
    use crate::cli::models::tests::{CONFIG, configured};

    fn profiles(now: i64) -> Value {
        json!({ "version": 1, "profiles": {
            "openai:a": { "type": "api_key", "provider": "openai", "key": "key-openai-a" },
            "anthropic:o": { "type": "oauth", "provider": "anthropic", "access": "key-access", "email": "a@b.c",
                "expires": now + 1_000_000 },
            "anthropic:old": { "type": "token", "provider": "anthropic", "token": "key-token", "expires": 1000 },
        }, "usageStats": { "openai:a": { "cooldownUntil": now + 90_000 } } })
    }
    fn with<T>(
        config: &str,
        profiles: Option<Value>,
        env: &[(&str, &str)],
        look: impl FnOnce(&Findings<'_>, &Value) -> T,
    ) -> T {
        let home = TempDir::new();
        let mut context = configured(home.path(), config);
        env.iter().for_each(|(name, value)| context.env.set(name, value));
        if let Some(it) = profiles {
            let path = profiles_path(&context.paths, "main");
            files::write_atomic(&path, it.to_string().as_bytes()).unwrap();
        }
        let known = Known::load(&context, None).unwrap();
        let it = Findings::of(&known);
        let json = it.json(&context);
        look(&it, &json)
    }
    fn now() -> i64 {
        crate::base::clock::Clock::start().now().unix_ms
    }

    #[test]
    fn which_key_would_be_used() {
        let env = [
            ("OPENAI_API_KEY", "key-env-1"),
            ("GROQ_API_KEY", "key-env-2"),
            ("ANTHROPIC_API_KEY", "key-env-3"),
        ];
        with(CONFIG, Some(profiles(now())), &env, |it, json| {
            let shown = text(json);
            let row = |name: &str| {
                shown
                    .lines()
                    .find(|it| it.starts_with(name))
                    .unwrap()
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ")
            };
            assert_eq!(row("mock"), "mock config models.providers.mock.apiKey ready");
            assert_eq!(row("openai"), "openai env OPENAI_API_KEY ready");
            assert_eq!(row("groq"), "groq env GROQ_API_KEY ready");
            assert_eq!(row("anthropic"), "anthropic profile anthropic:o ready");
            assert_eq!(row("nosuch"), "nosuch - no key");
            let all = format!("{shown}{json}");
            assert!(
                !all.contains("key-env") && !all.contains("key-mock") && !all.contains("key-access"),
                "{all}"
            );
            let openai =
                list(&json["auth"], "providers").iter().find(|it| it["provider"] == "openai").unwrap();
            assert_eq!(
                openai.to_string(),
                r#"{"provider":"openai","effective":{"kind":"env","detail":"OPENAI_API_KEY"},"profiles":{"count":1,"oauth":0,"token":0,"apiKey":1,"labels":["openai:a=api_key"]},"env":{"value":"***","source":"env: OPENAI_API_KEY"}}"#
            );
            assert_eq!(json["auth"]["providersWithOAuth"], json!(["anthropic (2)"]));
            assert_eq!(json["auth"]["unusableProfiles"][0]["kind"], "cooldown");
            let states: Vec<&Value> =
                list(&json["auth"]["oauth"], "profiles").iter().map(|it| &it["status"]).collect();
            assert_eq!(states, ["static", "expiring", "expired"]);
            assert_eq!(it.problems.len(), 1, "{:?}", it.problems);
            assert!(it.problems[0].contains("nosuch/x") && !it.ends_soon());
        });
        with(CONFIG, Some(profiles(now())), &[], |it, json| {
            assert!(text(json).contains("rests for"), "{}", text(json));
            assert!(
                it.problems.iter().any(|it| it.contains("openai/gpt-5 cannot be asked for 1m")),
                "{:?}",
                it.problems
            );
        });
    }
    /// The keys of the reference's answer, which scripts read.
    #[test]
    fn the_shape_is_the_references() {
        with(CONFIG, None, &[], |_, json| {
            let keys = |it: &Value| it.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
            assert_eq!(
                keys(json),
                "configPath agentDir defaultModel resolvedDefault fallbacks imageModel imageFallbacks aliases allowed auth problems"
            );
            assert_eq!(
                keys(&json["auth"]),
                "storePath shellEnvFallback providersWithOAuth missingProvidersInUse providers unusableProfiles oauth"
            );
            assert_eq!(json["aliases"], json!({ "m1": "mock/mock-1" }));
            assert_eq!(json["allowed"], json!(["mock/mock-1", "openai/gpt-5"]));
            assert_eq!(json["imageModel"], "mock/mock-1");
            assert_eq!(json["auth"]["missingProvidersInUse"], json!(["nosuch", "openai"]));
        });
    }
    #[test]
    fn a_default_without_a_key_says_what_to_do() {
        with("{}", None, &[], |it, json| {
            assert_eq!(json["resolvedDefault"], "anthropic/claude-opus-4-5");
            assert!(it.problems[0].contains("set ANTHROPIC_API_KEY"), "{:?}", it.problems);
            assert!(text(json).contains("every model"));
        });
        with("{}", Some(profiles(now())), &[], |it, _| {
            assert!(it.problems.is_empty() && it.ends_soon());
        });
        let ollama = r#"{"agents": {"defaults": {"model": {"primary": "ollama/llama3"}}}}"#;
        with(ollama, None, &[], |it, json| {
            assert!(it.problems.is_empty() && text(json).contains("needs no key"), "{}", text(json));
        });
    }
}
