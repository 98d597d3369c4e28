//! The typed form of the mention patterns: by which words an agent is meant in a group.
//!
//! `agents.list[].groupChat.mentionPatterns`, else `messages.groupChat.mentionPatterns`, else the agent's `identity.name` and
//! `identity.emoji`; a list that is there counts also when it is empty. Patterns are regular expressions without case, matched in time
//! that is linear in the text: looking around and back references, which no such engine has, do not compile.
use super::model::normal_id;
use super::reader::{Node, Reader};
use crate::base::limits::{MENTION_PATTERN_BYTES, MENTION_PATTERN_CHARS_MAX, MENTION_PATTERNS_MAX};
use regex_lite::{Regex, RegexBuilder, escape};

#[derive(Debug, Clone, Default)]
pub struct Mentions {
    /// By agent.
    agents: Vec<(String, Vec<Regex>)>,
    /// Of agents that the list does not name.
    others: Vec<Regex>,
}

impl Mentions {
    /// Whether a text means that agent.
    pub fn mean(&self, agent_id: &str, text: &str) -> bool {
        let own = self.agents.iter().find(|it| it.0 == agent_id).map_or(&self.others, |it| &it.1);
        one_of(own, &plain(text))
    }
    /// Whether a text means any agent.
    pub fn mean_any(&self, text: &str) -> bool {
        let text = plain(text);
        self.agents.iter().map(|it| &it.1).chain([&self.others]).any(|it| one_of(it, &text))
    }
}

fn one_of(patterns: &[Regex], text: &str) -> bool {
    patterns.iter().any(|it| it.is_match(text))
}

/// Small, and without what nobody sees. Reference.
fn plain(text: &str) -> String {
    let unseen =
        |it: &char| matches!(it, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
    text.chars().filter(|it| !unseen(it)).flat_map(char::to_lowercase).collect()
}

pub(super) fn mentions(root: &Node, r: &mut Reader) -> Mentions {
    let all = root.at("messages.groupChat.mentionPatterns");
    let others = if all.is_there() { patterns(&all, r) } else { vec![] };
    let mut agents = vec![];
    for it in root.at("agents.list").items() {
        let Some(id) = it.text("id") else { continue };
        let own = it.at("groupChat.mentionPatterns");
        let found = if own.is_there() {
            patterns(&own, r)
        } else if all.is_there() {
            others.clone()
        } else {
            derived(&it)
        };
        agents.push((normal_id(id), found));
    }
    Mentions { agents, others }
}

fn patterns(list: &Node, r: &mut Reader) -> Vec<Regex> {
    let mut out = vec![];
    for (n, it) in list.items().iter().enumerate() {
        // What is no text is said elsewhere.
        let Some(text) = it.as_text() else { continue };
        if n == MENTION_PATTERNS_MAX {
            r.warn(it, &format!("only the first {MENTION_PATTERNS_MAX} patterns are used"));
            break;
        }
        match compiled(text) {
            Ok(pattern) => out.push(pattern),
            Err(why) => r.warn(it, &format!("the pattern is ignored: {why}")),
        }
    }
    out
}

/// The words of a name, whole; and an emoji. Reference.
fn derived(agent: &Node) -> Vec<Regex> {
    let words = |text: &str| text.split_whitespace().map(escape).collect::<Vec<_>>().join("\\s+");
    let name = agent.text("identity.name").map(words).filter(|it| !it.is_empty());
    let emoji = agent.text("identity.emoji").map(str::trim).filter(|it| !it.is_empty());
    let all = name.map(|it| format!("\\b@?{it}\\b")).into_iter().chain(emoji.map(escape));
    all.filter_map(|it| compiled(&it).ok()).collect()
}

fn compiled(text: &str) -> Result<Regex, String> {
    if text.chars().count() > MENTION_PATTERN_CHARS_MAX {
        return Err(format!("it is longer than {MENTION_PATTERN_CHARS_MAX} characters"));
    }
    // What JSON makes of `\b` written with one backslash (reference), and letters that the engine does not fold.
    let small = |it: char| if it.is_ascii() { vec![it] } else { it.to_lowercase().collect() };
    let text: String = text.replace('\u{8}', "\\b").chars().flat_map(small).collect();
    let built = RegexBuilder::new(&text).case_insensitive(true).size_limit(MENTION_PATTERN_BYTES).build();
    built.map_err(|err| err.to_string().replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Issue;
    use serde_json::{Value, json};

    fn read(config: &Value) -> (Mentions, Vec<Issue>) {
        let mut issues = vec![];
        let found = mentions(&Node::root(config), &mut Reader { issues: &mut issues });
        (found, issues)
    }
    fn of(patterns: Value) -> Mentions {
        read(&json!({ "messages": { "groupChat": { "mentionPatterns": patterns } } })).0
    }

    #[test]
    fn patterns_are_regular_expressions_without_case() {
        for (pattern, text, want) in [
            ("nova", "Hey NOVA!", true),
            ("nova", "innovation", true),
            (r"\bnova\b", "supernovas", false),
            (r"\bnova\b", "hi @Nova, you", true),
            ("\u{8}nova\u{8}", "hi nova", true),
            (r"^(hey|hi)\s+bot[.!?]*$", "Hi  bot!!", true),
            (r"^(hey|hi)\s+bot[.!?]*$", "oh hi bot", false),
            (r"\+15555550123", "ask +15555550123 please", true),
            (r"bots?\d{1,3}", "BOT42", true),
            ("ÄRGER", "so ein ärger", true),
            (r"\S+bot", "MYBOT", true),
            ("nova", "no\u{200b}va", true),
            ("@openclaw", "@OpenClaw?", true),
        ] {
            assert_eq!(of(json!([pattern])).mean("main", text), want, "{pattern} {text}");
        }
    }
    #[test]
    fn an_agents_own_come_first() {
        let (it, _) = read(&json!({
            "messages": { "groupChat": { "mentionPatterns": ["everybody"] } },
            "agents": { "list": [
                { "id": "Work", "groupChat": { "mentionPatterns": ["@workbot"] } },
                { "id": "quiet", "groupChat": { "mentionPatterns": [] }, "identity": { "name": "Quiet" } },
                { "id": "plain", "identity": { "name": "Plain" } },
            ] },
        }));
        let heard = |text: &str| {
            let all = ["work", "quiet", "plain", "main"];
            all.into_iter().filter(|id| it.mean(id, text)).collect::<Vec<_>>()
        };
        assert_eq!(heard("@workbot go"), ["work"]);
        assert_eq!(heard("everybody go"), ["plain", "main"]);
        assert!(heard("quiet plain").is_empty());
        assert!(it.mean_any("@WORKBOT") && !it.mean_any("quiet"));
        let (it, _) = read(
            &json!({ "agents": { "list": [{ "id": "a", "identity": { "name": "Ada  Byte", "emoji": "🦊" } }] } }),
        );
        for (text, want) in [("@ada\nbyte?", true), ("ada bytes", false), ("oh 🦊", true), ("ada", false)] {
            assert_eq!(it.mean("a", text), want, "{text}");
        }
    }
    #[test]
    fn what_does_not_compile_is_said_once_and_ignored() {
        let long = "a".repeat(MENTION_PATTERN_CHARS_MAX + 1);
        let list = json!(["(?=x)y", "a(b", long, "(((a{99}){99}){99}){99}", "good", 7]);
        let (it, issues) = read(&json!({
            "messages": { "groupChat": { "mentionPatterns": list } }, "agents": { "list": [{ "id": "a" }, { "id": "b" }] },
        }));
        let paths: Vec<&str> = issues.iter().map(|it| it.path.as_str()).collect();
        let path = |n: usize| format!("messages.groupChat.mentionPatterns.{n}");
        assert_eq!(paths, [path(0), path(1), path(2), path(3)]);
        assert!(it.mean("a", "good") && !it.mean("b", "y"));
        let many: Vec<String> = (0..MENTION_PATTERNS_MAX + 2).map(|it| format!("x{it}x")).collect();
        let (it, issues) = read(&json!({ "messages": { "groupChat": { "mentionPatterns": many } } }));
        assert!(issues.len() == 1 && it.mean("main", "x0x") && !it.mean("main", &many[MENTION_PATTERNS_MAX]));
    }
    /// What takes other engines for ever, and with them this test.
    #[test]
    fn no_pattern_takes_for_ever() {
        let text = "a".repeat(4096);
        for pattern in ["(a+)+$b", "(a|aa)+c", "(.*)(.*)(.*)(.*)(.*)z"] {
            assert!(!of(json!([pattern])).mean("main", &text), "{pattern}");
        }
    }
}
