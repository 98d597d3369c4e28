//! Writes through the methods, on files of every layout: what was not meant to change does not, and what was reads back.
use super::*;
use crate::base::clock::Clock;
use crate::base::testing::Seed;
use crate::base::testing::TempDir;
use crate::config::generate::{Writer, object, value};
use crate::config::{Env, Paths};

/// Whatever anybody may put there is kept: `mine` and `other` mean nothing to the gateway.
fn document(seed: &mut Seed) -> Value {
    json!({
        "gateway": { "mode": "local", "auth": { "token": "${TOKEN}", "mode": "token" } },
        "mine": object(seed, 3),
        "messages": { "responsePrefix": "a" },
        "other": object(seed, 2),
        // So much that the guard against a vanishing file has no say.
        "rest": (0..200).collect::<Vec<_>>(),
    })
}

struct Home {
    dir: TempDir,
    world: World,
    clock: Clock,
}

impl Home {
    fn new() -> Home {
        let dir = TempDir::new();
        let env = Env::from([("HOME", dir.path().to_str().unwrap()), ("TOKEN", "s3cret"), ("VAR", "v")]);
        let paths = Paths::resolve(&env, None);
        let file = File::load(&paths, &env);
        Home { dir, world: World::new(file, paths, env, 1), clock: Clock::start() }
    }
    fn save(&self, text: &str) {
        crate::base::files::write_atomic(&self.world.paths.config, text.as_bytes()).unwrap();
    }
    fn load(&self) -> File {
        File::load(&self.world.paths, &self.world.env)
    }
    fn write(&self, how: How, raw: &Value) -> RpcResult<File> {
        let write = Write {
            method: if how == How::Merge { "config.patch" } else { "config.set" },
            how,
            raw: raw.to_string(),
            base_hash: Some(Text(self.load().hash)),
            who: "test".to_owned(),
            protocol: 4,
            unix_ms: self.clock.now().unix_ms,
        };
        write.run(&self.world).map(|it| it.0.file)
    }
}

/// The text of a member of the root, key and all.
fn span(text: &str, key: &str) -> std::ops::Range<usize> {
    let document = json5::parse(text).unwrap();
    let crate::config::document::Kind::Object(entries) = &document.root.kind else { panic!("an object") };
    let it = entries.iter().find(|it| it.key == key).unwrap_or_else(|| panic!("{key} in {text}"));
    it.key_span.start..it.node.span.end
}

fn comments(text: &str) -> Vec<String> {
    text.split('#').skip(1).step_by(2).map(str::to_owned).collect()
}

/// What clients do: they take the masked `config.get`, change a member, and send all of it back; or they send the change alone.
#[test]
fn random_edits_keep_every_byte_that_they_do_not_mean() {
    let home = Home::new();
    assert!(home.dir.path().is_dir());
    let mut kept = 0;
    for n in 0..400 {
        let seed = &mut Seed(n);
        let old = document(seed);
        let text = Writer::new(seed).document(&old);
        home.save(&text);
        let before = home.load();
        assert!(before.valid(), "seed {n}: {:?}", before.issues);
        assert_eq!(*before.parsed, old, "seed {n}");
        let (how, mut want) = (if seed.one_in(2) { How::Merge } else { How::Replace }, old.clone());
        let new = if how == How::Merge { json!(format!("new {n}")) } else { value(seed, 2) };
        want["mine"] = new.clone();
        let raw = match how {
            How::Merge => json!({ "mine": new }),
            How::Replace => {
                let mut raw = merge::mask(&before.parsed);
                raw["mine"] = new.clone();
                raw
            }
        };
        let after = home.write(how, &raw).unwrap_or_else(|err| panic!("seed {n}: {err:?}"));
        let out = after.raw.as_deref().unwrap();
        assert_eq!(*after.parsed, want, "seed {n}");
        assert_eq!(*home.load().parsed, want, "seed {n}: and on disk");
        let (was, is) = (span(&text, "mine"), span(out, "mine"));
        assert_eq!(out[..is.start], text[..was.start], "seed {n}: before it");
        assert_eq!(out[is.end..], text[was.end..], "seed {n}: behind it");
        let outside = |text: &str, it: std::ops::Range<usize>| {
            comments(&text[..it.start]).len() + comments(&text[it.end..]).len()
        };
        kept += outside(out, is);
    }
    assert!(kept > 400, "there are comments to keep: {kept}");
}

/// What is sent back as it came changes no byte, whatever of it is masked.
#[test]
fn a_round_trip_leaves_the_file_alone() {
    let home = Home::new();
    for n in 0..100 {
        let seed = &mut Seed(n);
        let mut old = document(seed);
        old["env"] = json!({ "vars": { "A": "secret one", "B": "${VAR}" } });
        old["channels"] = json!({ "telegram": { "botToken": "secret two", "accounts": { "x": { "botToken": "secret three" } } } });
        let text = Writer::new(seed).document(&old);
        home.save(&text);
        let shown = merge::mask(&home.load().parsed);
        assert!(!shown.to_string().contains("secret "), "{shown}");
        let raw = if seed.one_in(2) { shown } else { json!({}) };
        let how = if raw == json!({}) { How::Merge } else { How::Replace };
        let after = home.write(how, &raw).unwrap_or_else(|err| panic!("seed {n}: {err:?}"));
        assert_eq!(after.raw.as_deref(), Some(text.as_str()), "seed {n}");
    }
}
