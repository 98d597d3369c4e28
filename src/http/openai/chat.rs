//! `POST /v1/chat/completions`: what is asked.
//!
//! Names that nobody knows are left alone, as OpenAI's own clients send new ones every month; what is known and wrong is refused.
use super::prompt::{Ask, Turn};
use super::shape::{Checked, Field};
use super::tools;
use crate::agent::conversation::Image;
use crate::agent::model::ToolCall;
use crate::config::Endpoints;
use crate::http::body;

/// # Errors
/// The text of a 400.
pub(super) fn read(body: &[u8], limits: &Endpoints) -> Result<Ask, String> {
    let body = body::json(body)?;
    let mut ask = Ask::default();
    let turns = options(&Field::root(&body), &mut ask)?;
    let mut heard = vec![];
    for message in turns {
        heard.extend(turn(&message, &mut ask, limits)?);
    }
    match ask.hear(heard) {
        true => Ok(ask),
        false => Err("Missing user message in `messages`.".into()),
    }
}

/// All but the messages, which are given back.
fn options<'a>(at: &Field<'a>, ask: &mut Ask) -> Result<Vec<Field<'a>>, String> {
    let told = |it: super::shape::Wrong| it.to_string();
    ask.model = at.at("model").string().unwrap_or("openclaw").to_owned();
    ask.user = at.at("user").string().ok().map(str::to_owned);
    ask.stream = at.at("stream").given(Field::boolean).map_err(told)?.unwrap_or(false);
    let usage = at.at("stream_options").at("include_usage").given(Field::boolean);
    ask.include_usage = usage.map_err(told)?.unwrap_or(false);
    if at.at("n").given(Field::count).map_err(told)?.is_some_and(|it| it > 1) {
        return Err("n: one choice is made here, not more".into());
    }
    let max = at.at("max_completion_tokens").given(Field::count).map_err(told)?;
    ask.brought.max_tokens = max.or(at.at("max_tokens").given(Field::count).map_err(told)?);
    ask.brought.temperature = at.at("temperature").given(Field::number).map_err(told)?;
    ask.system.extend(at.at("response_format").given(tools::format).map_err(told)?.flatten());
    let theirs = at.at("tools").given(tools::tools).map_err(told)?.unwrap_or_default();
    let choice = at.at("tool_choice").given(tools::choice).map_err(told)?;
    tools::apply(ask, theirs, choice).map_err(|it| format!("Error: {it}"))?;
    // No array is no message (reference).
    Ok(at.at("messages").items().unwrap_or_default())
}

/// None for what says nothing, and for a role that nobody knows (reference).
fn turn(at: &Field, ask: &mut Ask, limits: &Endpoints) -> Result<Option<Turn>, String> {
    let role = at.at("role").string().unwrap_or_default().trim();
    let (text, images) = content(&at.at("content"), role == "user", ask, limits)?;
    let word = |name: &str| at.at(name).string().unwrap_or_default().trim().to_owned();
    Ok(match role {
        "system" | "developer" => {
            ask.system.extend(Some(text).filter(|it| !it.is_empty()));
            None
        }
        "user" => Some(Turn::User { text, images }).filter(|it| !is_empty(it)),
        "assistant" => {
            let calls = at.at("tool_calls").given(calls).map_err(|it| it.to_string())?;
            Some(Turn::Assistant { text, calls: calls.unwrap_or_default() }).filter(|it| !is_empty(it))
        }
        "tool" | "function" => Some(Turn::Result { id: word("tool_call_id"), name: word("name"), text }),
        _ => None,
    })
}

fn is_empty(turn: &Turn) -> bool {
    match turn {
        // A picture that is still to be fetched joins the question, wherever it stood.
        Turn::User { text, images } => text.is_empty() && images.is_empty(),
        Turn::Assistant { text, calls } => text.is_empty() && calls.is_empty(),
        Turn::Result { .. } => false,
    }
}

fn calls(field: &Field) -> Checked<Vec<ToolCall>> {
    let call = |it: Field| {
        let function = it.at("function");
        let (id, name) = (it.at("id").string()?.to_owned(), function.at("name").string()?.to_owned());
        Ok(ToolCall { id, name, arguments: function.at("arguments").string()?.to_owned() })
    };
    field.items()?.into_iter().map(call).collect()
}

/// The text of a message, its parts a line each, and its pictures.
fn content(
    at: &Field,
    is_user: bool,
    ask: &mut Ask,
    limits: &Endpoints,
) -> Result<(String, Vec<Image>), String> {
    if let Ok(text) = at.string() {
        return Ok((text.trim().to_owned(), vec![]));
    }
    let (mut texts, mut images) = (vec![], vec![]);
    for part in at.items().unwrap_or_default() {
        let text = [part.at("text"), part.at("input_text"), part.at("refusal")]
            .iter()
            .find_map(|it| it.string().ok());
        match part.at("type").string().unwrap_or_default() {
            "image_url" if is_user => {
                let url = [part.at("image_url").at("url"), part.at("image_url")];
                let url = url.iter().find_map(|it| it.string().ok()).ok_or_else(|| {
                    part.at("image_url")
                        .at("url")
                        .wrong("Invalid input: expected string, received undefined")
                        .to_string()
                })?;
                images.extend(ask.picture(url, &limits.images).map_err(|it| format!("Error: {it}"))?);
            }
            kind @ ("input_audio" | "file") if is_user => {
                return Err(part
                    .at("type")
                    .wrong(format!("{kind} is not taken here: send text or image_url"))
                    .to_string());
            }
            _ => texts.extend(text.filter(|it| !it.is_empty())),
        }
    }
    Ok((texts.join("\n").trim().to_owned(), images))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::model::ToolChoice;
    use serde_json::{Value, json};

    fn ask(body: Value) -> Result<Ask, String> {
        read(body.to_string().as_bytes(), &Endpoints::default())
    }

    #[test]
    fn a_conversation_with_tools() {
        let tool =
            json!({ "type": "function", "function": { "name": "look", "parameters": { "type": "object" } } });
        let call =
            json!({ "id": "c1", "type": "function", "function": { "name": "look", "arguments": "{}" } });
        let it = ask(json!({
            "model": "openclaw/main", "user": "ada", "max_completion_tokens": 9, "max_tokens": 5, "temperature": 0.5,
            "stream": true, "stream_options": { "include_usage": true }, "tools": [tool], "tool_choice": "required",
            "response_format": { "type": "json_object" },
            "messages": [
                { "role": "system", "content": "Be short." }, { "role": "developer", "content": [{ "type": "text", "text": "And kind." }] },
                { "role": "user", "content": "hi" }, { "role": "assistant", "content": null, "tool_calls": [call] },
                { "role": "tool", "tool_call_id": "c1", "content": "seen" },
            ],
        }))
        .unwrap();
        assert_eq!(
            (it.model.as_str(), it.user.as_deref(), it.stream, it.include_usage),
            ("openclaw/main", Some("ada"), true, true)
        );
        assert_eq!(it.system[1..], ["Be short.", "And kind."]);
        assert_eq!((it.brought.max_tokens, it.brought.temperature), (Some(9), Some(0.5)));
        assert_eq!((it.brought.tool_choice, it.brought.tools.len()), (ToolChoice::Required, 1));
        assert_eq!((it.brought.results, it.brought.history.len()), (vec![("c1".into(), "seen".into())], 2));
    }
    #[test]
    fn what_is_wrong_is_named() {
        let user = json!([{ "role": "user", "content": "hi" }]);
        let part = |it: Value| json!([{ "role": "user", "content": [it] }]);
        let none = "Missing user message in `messages`.";
        for (body, want) in [
            (json!({}), none),
            (json!(7), none),
            (json!({ "messages": "hi" }), none),
            (
                json!({ "messages": [1, null, { "role": 1, "content": "x" }, { "role": "user", "content": {} }] }),
                none,
            ),
            (json!({ "messages": [{ "role": "system", "content": "x" }] }), none),
            (
                json!({ "messages": user, "stream": "yes" }),
                "stream: Invalid input: expected boolean, received string",
            ),
            (json!({ "messages": user, "n": 2 }), "n: one choice is made here, not more"),
            (json!({ "messages": user, "max_tokens": 0 }), "max_tokens: Too small: expected number to be >0"),
            (
                json!({ "messages": user, "tools": [{}] }),
                "tools.0.type: Invalid input: expected \"function\"",
            ),
            (
                json!({ "messages": user, "tool_choice": "required" }),
                "Error: tool_choice=required but no tools were provided",
            ),
            (json!({ "messages": user, "tool_choice": 1 }), "tool_choice: Invalid input"),
            (
                json!({ "messages": part(json!({ "type": "image_url" })) }),
                "messages.0.content.0.image_url.url: Invalid input: expected string, received undefined",
            ),
            (
                json!({ "messages": part(json!({ "type": "input_audio" })) }),
                "messages.0.content.0.type: input_audio is not taken here: send text or image_url",
            ),
            (
                json!({ "messages": part(json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA" } })) }),
                "Error: the image is none: its bytes are neither PNG, JPEG, GIF nor WebP",
            ),
            (
                json!({ "messages": [{ "role": "assistant", "content": "x", "tool_calls": [{}] }] }),
                "messages.0.tool_calls.0.id: Invalid input: expected string, received undefined",
            ),
            (
                json!({ "messages": user, "response_format": { "type": "zz" } }),
                "response_format.type: Invalid option: expected one of \"text\"|\"json_object\"|\"json_schema\"",
            ),
        ] {
            assert_eq!(ask(body.clone()).map(|it| it.message).unwrap_err(), want, "{body}");
        }
        assert_eq!(read(b"", &Endpoints::default()).unwrap_err(), none);
        assert!(read(b"{x", &Endpoints::default()).unwrap_err().starts_with("SyntaxError: "));
    }
}
