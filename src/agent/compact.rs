//! Folding a conversation that has grown too long: a summary by the model in place of what was said first.
//!
//! ```text
//! q1 a1 q2 a2 … │ q8 a8 q9        the newest part stays as it is, from a question on
//! └── summary ──┘                 the rest becomes an entry `compaction`; nothing is removed from the transcript
//! ```
use super::conversation;
use super::model::{Message, Part};
use super::run::{Failure, Run};
use crate::store::transcript::{Context, Entry};
use serde_json::Value;

/// When to fold, in tokens: `agents.defaults.compaction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Left free for the answer and for what the estimate forgets: `reserveTokensFloor`.
    pub reserve: u64,
    /// What stays unfolded, at most.
    pub keep: u64,
}

impl Default for Rule {
    /// Reference's documentation: 20,000 each.
    fn default() -> Rule {
        Rule { reserve: 20_000, keep: 20_000 }
    }
}

impl Rule {
    /// A small window is never all reserve.
    fn reserve(&self, window: u64) -> u64 {
        self.reserve.min(window / 4)
    }
    pub fn is_full(&self, told: u64, window: u64) -> bool {
        told + self.reserve(window) > window
    }
}

const SYSTEM: &str = "You keep the memory of a conversation between a person and an assistant. You are shown what was said so far, \
    which will then be forgotten. Write down, in the language of the conversation and in as few words as it takes: what the person \
    wants and likes, what was decided and done, names, numbers, paths and commands that may be needed again, what is still open. \
    Only facts that were said. No greeting, no comment.";

/// Why a conversation is folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why<'a> {
    /// By our reckoning it is about to be too long.
    Full,
    /// The model says that it is: whatever the configuration says of its window is wrong.
    TooLong,
    /// The person wants it, with this wish.
    Asked(&'a str),
}

/// Folds all but the newest part of the session's conversation, durably, and tells the run's model only what is left.
pub(super) fn fold(run: &mut Run<'_>, why: Why<'_>) -> Result<(), Failure> {
    let context = run.context()?;
    let before = conversation::tokens(&conversation::messages(&context));
    let window = if why == Why::TooLong { run.window().min(before) } else { run.window() };
    let keep = if matches!(why, Why::Asked(_)) { 0 } else { run.rule().keep.min(window / 4) };
    let Some(cut) = cut(&context, keep) else {
        return Err(Failure::Failed("There is nothing to fold yet".into()));
    };
    let old = Context { summary: context.summary.clone(), entries: context.entries[..cut].to_vec() };
    let wish = if let Why::Asked(wish) = why { wish } else { "" };
    let summary = summarise(run, &conversation::messages(&old), window, wish)?;
    let first = context.entries[cut]["id"].as_str().unwrap_or_default().to_owned();
    run.store_now(Entry::Compaction { summary, first_kept_entry_id: first, tokens_before: before })?;
    run.messages = conversation::messages(&run.context()?);
    run.compacted = Some((before, conversation::tokens(&run.messages)));
    Ok(())
}

/// The place of the first entry that stays: a question, with at most `keep` tokens from there on; the newest one in any case.
fn cut(context: &Context, keep: u64) -> Option<usize> {
    let is_question = |it: &Value| it["type"] == "message" && it["message"]["role"] == "user";
    let mut places = context.entries.iter().enumerate().rev().filter(|it| is_question(it.1)).map(|it| it.0);
    let mut cut = places.next()?;
    for place in places {
        let kept = Context { summary: None, entries: context.entries[place..].to_vec() };
        if conversation::tokens(&conversation::messages(&kept)) > keep {
            break;
        }
        cut = place;
    }
    let something_before = context.entries[..cut].iter().any(|it| it["type"] == "message");
    something_before.then_some(cut)
}

/// As many calls as it takes: each reads the summary so far and another piece.
fn summarise(run: &mut Run<'_>, messages: &[Message], window: u64, wish: &str) -> Result<String, Failure> {
    // Four bytes a token, and half of the window left for the summary and the rest.
    let piece_bytes = (window * 2).max(4_000) as usize;
    let told: String = messages.iter().map(told).collect();
    let mut summary = String::new();
    for piece in pieces(&told, piece_bytes) {
        let mut question = String::new();
        if !summary.is_empty() {
            question.push_str(&format!("<memory>\n{summary}\n</memory>\n\nWhat was said next:\n\n"));
        }
        question.push_str(&format!("<conversation>\n{piece}</conversation>"));
        if !wish.trim().is_empty() {
            question.push_str(&format!("\n\nThe person asks for this: {}", wish.trim()));
        }
        summary = run.aside(SYSTEM, &question)?;
    }
    Ok(summary)
}

/// Characters of a tool's result that a summary is made from. Ours: what matters of it is in the answer behind it.
const RESULT_CHARS_MAX: usize = 1_000;

fn told(message: &Message) -> String {
    let who = |it: &Part| match it {
        Part::ToolResult { name, .. } => format!("[{name} answered]"),
        Part::ToolCall(call) => format!("[calls {}]", call.name),
        _ if message.role == super::model::Role::User => "Person:".to_owned(),
        _ => "Assistant:".to_owned(),
    };
    let what = |it: &Part| match it {
        Part::Text(text) => Some(text.clone()),
        Part::ToolCall(call) => Some(call.arguments.chars().take(RESULT_CHARS_MAX).collect()),
        Part::ToolResult { text, .. } => Some(text.chars().take(RESULT_CHARS_MAX).collect()),
        Part::Image { .. } => Some("(an image)".to_owned()),
        Part::Thinking { .. } => None,
    };
    message.parts.iter().filter_map(|it| Some(format!("{} {}\n\n", who(it), what(it)?))).collect()
}

/// Pieces of at most so many bytes, cut between lines where there are some.
fn pieces(text: &str, bytes_max: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = rest.floor_char_boundary(bytes_max.min(rest.len()));
        if end < rest.len() {
            end = rest[..end].rfind('\n').map_or(end, |it| it + 1);
        }
        let (piece, later) = rest.split_at(end);
        rest = later;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn context(turns: usize) -> Context {
        let message = |n: usize, role: &str, text: String| json!({ "type": "message", "id": format!("{role}{n}"), "message": { "role": role, "content": text } });
        let entries = (0..turns)
            .flat_map(|n| [message(n, "user", "q".repeat(400)), message(n, "assistant", "a".repeat(400))])
            .collect();
        Context { summary: None, entries }
    }

    #[test]
    fn the_newest_questions_stay() {
        for (turns, keep, want) in
            [(0, 100, None), (1, 100, None), (2, 0, Some("user1")), (9, 650, Some("user6"))]
        {
            let context = context(turns);
            let found = cut(&context, keep).map(|it| context.entries[it]["id"].as_str().unwrap().to_owned());
            assert_eq!(found.as_deref(), want, "{turns} {keep}");
        }
    }
    #[test]
    fn a_window_is_never_all_reserve() {
        let rule = Rule::default();
        assert!(!rule.is_full(100_000, 128_000) && rule.is_full(110_000, 128_000));
        assert!(!rule.is_full(5_000, 8_000) && rule.is_full(6_500, 8_000));
    }
    #[test]
    fn pieces_are_whole_lines() {
        let text = "one\ntwo\nthree\n";
        assert_eq!(pieces(text, 9).collect::<Vec<_>>(), ["one\ntwo\n", "three\n"]);
        assert_eq!(pieces("äöü", 3).collect::<String>(), "äöü");
        assert_eq!(pieces("", 3).count(), 0);
    }
}
