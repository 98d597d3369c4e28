//! `builtin/parrot`: a model without a server, so that a first conversation needs no key and no network.
//!
//! Always the same answer to the same question: it repeats what it hears, word by word, and calls a tool when told `call TOOL {json}`.
use crate::agent::error::TurnError;
use crate::agent::model::{Delta, Done, Message, Part, Role, Stop, ToolChoice, TurnRequest, Usage};
use crate::base::cancel::Cancel;

const WHO: &str = "I am the parrot inside gatewayd, not a language model: I repeat what you say. \
    Put a key of a model provider into the configuration and somebody wiser answers.";

/// # Errors
/// Cancelled.
pub(super) fn run(
    request: &TurnRequest,
    cancel: &Cancel,
    sink: &mut dyn FnMut(Delta),
) -> Result<Done, TurnError> {
    let heard: usize = request.messages.iter().flat_map(|it| &it.parts).map(words_of).sum();
    let mut usage = Usage { input: heard as u64, ..Usage::default() };
    let parts = request.messages.iter().rfind(|it| it.role == Role::User).map_or(&[][..], |it| &it.parts);
    let said: String = parts.iter().filter_map(as_text).collect::<Vec<_>>().join(" ");
    let said = without_envelope(&said).trim();
    let result = parts.iter().rev().find_map(|it| match it {
        Part::ToolResult { name, text, .. } => Some(format!("The tool {name} says: {}", text.trim())),
        _ => None,
    });
    if let (None, Some((name, arguments))) = (&result, wanted_call(said))
        && request.tools.iter().any(|it| it.name == name)
        && request.tool_choice != ToolChoice::None
    {
        let earlier = request.messages.iter().flat_map(|it| &it.parts);
        let nth = earlier.filter(|it| matches!(it, Part::ToolCall(_))).count() + 1;
        sink(Delta::ToolStart { index: 0, id: format!("parrot_{nth}"), name: name.to_owned() });
        sink(Delta::ToolArgs { index: 0, text: arguments.to_owned() });
        sink(Delta::ToolEnd { index: 0 });
        usage.output = 1;
        return Ok(Done { stop: Stop::ToolUse, usage });
    }
    let images = parts.iter().filter(|it| matches!(it, Part::Image { .. })).count();
    let mut answer = result.unwrap_or_else(|| answer(request, said));
    if images > 0 {
        answer.push_str(&format!(" I see {images} image(s)."));
    }
    for word in answer.split_inclusive(char::is_whitespace) {
        if cancel.is_cancelled() {
            return Err(TurnError::cancelled());
        }
        usage.output += 1;
        if request.max_tokens.is_some_and(|max| usage.output > max) {
            usage.output -= 1;
            return Ok(Done { stop: Stop::Length, usage });
        }
        sink(Delta::Text(word.to_owned()));
    }
    Ok(Done { stop: Stop::Stop, usage })
}

fn answer(request: &TurnRequest, said: &str) -> String {
    let lower = said.to_lowercase();
    let asked = ["who are you", "what are you", "кто ты"].iter().any(|it| lower.contains(it));
    if asked || said.is_empty() {
        return WHO.to_owned();
    }
    if let Some((name, _)) = wanted_call(said) {
        return format!("I have no tool named {name}.");
    }
    let first = !request.messages.iter().any(|it: &Message| it.role == Role::Assistant);
    if first { format!("{WHO} You said: {said}") } else { format!("You said: {said}") }
}

/// The tool and the JSON object of `call TOOL {json}`, anywhere in the text.
fn wanted_call(said: &str) -> Option<(&str, &str)> {
    let at =
        said.match_indices("call ").find(|(at, _)| *at == 0 || said[..*at].ends_with(char::is_whitespace))?.0;
    let (name, rest) = said[at + "call ".len()..].trim_start().split_once(char::is_whitespace)?;
    let mut values =
        serde_json::Deserializer::from_str(rest.trim_start()).into_iter::<serde::de::IgnoredAny>();
    values.next()?.ok()?;
    let arguments = rest.trim_start()[..values.byte_offset()].trim();
    arguments.starts_with('{').then_some((name, arguments))
}

/// What is said to models begins with the time in brackets; that is no word of the person.
fn without_envelope(said: &str) -> &str {
    let stamp = said.strip_prefix('[').and_then(|it| it.split_once("] "));
    match stamp {
        Some((stamp, rest)) if stamp.len() < 64 && stamp.contains(':') => rest,
        _ => said,
    }
}

fn as_text(part: &Part) -> Option<&str> {
    if let Part::Text(text) = part { Some(text) } else { None }
}

fn words_of(part: &Part) -> usize {
    as_text(part).map_or(0, |it| it.split_whitespace().count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::model::{Answer, ToolCall, ToolSpec};
    fn ask(messages: Vec<Message>, tools: &[&str]) -> (Answer, Done, usize) {
        let tool = |it: &&str| ToolSpec {
            name: (*it).to_owned(),
            description: String::new(),
            parameters: serde_json::json!({}),
        };
        let request =
            TurnRequest { messages, tools: tools.iter().map(tool).collect(), ..TurnRequest::default() };
        let (mut answer, mut deltas) = (Answer::default(), 0);
        let done = run(&request, &Cancel::new(), &mut |it| {
            deltas += 1;
            answer.push(&it);
        });
        (answer, done.unwrap(), deltas)
    }
    fn user(text: &str) -> Message {
        Message { role: Role::User, parts: vec![Part::Text(text.to_owned())] }
    }
    #[test]
    fn it_says_what_it_is_and_repeats() {
        let (answer, done, deltas) = ask(vec![user("[Mon 2026-11-23 04:44 UTC] hi there")], &[]);
        assert_eq!(answer.text(), format!("{WHO} You said: hi there"));
        assert_eq!((done.stop, deltas), (Stop::Stop, done.usage.output as usize));
        let second = vec![user("a"), Message { role: Role::Assistant, parts: vec![] }, user("who are you?")];
        assert_eq!(ask(second, &[]).0.text(), WHO);
    }
    #[test]
    fn it_calls_a_tool_when_told() {
        let told = "please call exec {\"command\": \"echo {}\"} now";
        let (answer, done, _) = ask(vec![user(told)], &["exec"]);
        let call = ToolCall {
            id: "parrot_1".to_owned(),
            name: "exec".to_owned(),
            arguments: "{\"command\": \"echo {}\"}".to_owned(),
        };
        assert_eq!((answer.tool_calls().next(), done.stop), (Some(&call), Stop::ToolUse));
        let result = Part::ToolResult {
            id: "parrot_1".to_owned(),
            name: "exec".to_owned(),
            text: "{}\n".to_owned(),
            is_error: false,
        };
        let messages =
            vec![user(told), answer.into_message(), Message { role: Role::User, parts: vec![result] }];
        assert_eq!(ask(messages, &["exec"]).0.text(), "The tool exec says: {}");
        assert!(ask(vec![user(told)], &[]).0.text().contains("no tool named exec"));
        assert_eq!(wanted_call("recall x {}"), None);
        assert_eq!(wanted_call("call x not json"), None);
    }
}
