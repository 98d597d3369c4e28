//! `POST /v1/responses`: what is asked. Strict, in the reference's words; what OpenAI's own clients send besides is taken too.
use super::prompt::{Ask, Turn, data_url};
use super::shape::{Checked, Field, Wrong};
use super::tools;
use crate::agent::conversation::Image;
use crate::agent::media;
use crate::agent::model::ToolCall;
use crate::config::Endpoints;
use crate::http::body;

/// The reference's names, and those that OpenAI's clients send where the answer is the same without them.
const NAMES: [&str; 25] = [
    "model",
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "stream",
    "max_output_tokens",
    "max_tool_calls",
    "user",
    "temperature",
    "top_p",
    "metadata",
    "store",
    "previous_response_id",
    "reasoning",
    "truncation",
    "parallel_tool_calls",
    "text",
    "include",
    "service_tier",
    "stream_options",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "top_logprobs",
];

/// # Errors
/// The text of a 400.
pub(super) fn read(body: &[u8], limits: &Endpoints) -> Result<Ask, String> {
    let body = body::json(body)?;
    let at = Field::root(&body);
    let mut ask = Ask::default();
    let (theirs, choice) = options(&at, &mut ask).map_err(|it| it.to_string())?;
    let said = |it: String| format!("Error: {it}");
    let mut turns = vec![];
    match at.at("input").string() {
        Ok(text) => turns.push(Turn::User { text: text.to_owned(), images: vec![] }),
        Err(_) => {
            for it in at.at("input").items().unwrap_or_default() {
                turns.extend(turn(&it, &mut ask, limits).map_err(said)?);
            }
        }
    }
    tools::apply(&mut ask, theirs, choice).map_err(said)?;
    match ask.hear(turns) {
        true => Ok(ask),
        false => Err("Missing user message in `input`.".into()),
    }
}

type Tools = (Vec<crate::agent::model::ToolSpec>, Option<tools::Choice>);

/// Judges the whole body, in the reference's order, and reads all but the input.
fn options(at: &Field, ask: &mut Ask) -> Checked<Tools> {
    at.object()?;
    let string = |name: &str| at.at(name).maybe(Field::string).map(|it| it.map(str::to_owned));
    ask.model = at.at("model").string()?.to_owned();
    input(&at.at("input"))?;
    ask.system.extend(string("instructions")?.filter(|it| !it.is_empty()));
    let theirs = at.at("tools").maybe(tools::tools)?.unwrap_or_default();
    let choice = at.at("tool_choice").maybe(tools::choice)?;
    ask.stream = at.at("stream").maybe(Field::boolean)?.unwrap_or(false);
    ask.brought.max_tokens = at.at("max_output_tokens").maybe(Field::count)?;
    at.at("max_tool_calls").maybe(Field::count)?;
    ask.user = string("user")?;
    ask.brought.temperature = at.at("temperature").maybe(Field::number)?;
    at.at("top_p").maybe(Field::number)?;
    at.at("metadata").maybe(|it| it.record()?.keys().try_for_each(|name| it.at(name).string().map(drop)))?;
    at.at("store").maybe(Field::boolean)?;
    ask.previous = string("previous_response_id")?;
    at.at("reasoning").maybe(|it| {
        it.object()?;
        it.at("effort").given(|it| it.one_of(&["low", "medium", "high"]))?;
        it.at("summary").given(|it| it.one_of(&["auto", "concise", "detailed"]))
    })?;
    at.at("truncation").maybe(|it| it.one_of(&["auto", "disabled"]))?;
    ask.system.extend(at.at("text").given(|it| it.at("format").given(tools::format))?.flatten().flatten());
    at.only(&NAMES)?;
    Ok((theirs, choice))
}

/// A text, or items. Which item was meant is told only where its form was right (reference).
fn input(at: &Field) -> Checked<()> {
    if at.string().is_ok() {
        return Ok(());
    }
    let vague = |it: Wrong| if it.is_meant { it } else { at.wrong("Invalid input") };
    at.items().map_err(vague)?.iter().try_for_each(|it| item(it).map_err(vague))
}

fn item(at: &Field) -> Checked<()> {
    at.object()?;
    match kind(at) {
        "message" => {
            at.at("role").one_of(&["system", "developer", "user", "assistant"])?;
            let content = at.at("content");
            if content.string().is_err() {
                content.items()?.iter().try_for_each(part)?;
            }
            at.only(&["type", "role", "content", "id", "status", "phase"])
        }
        "function_call" => {
            at.at("id").maybe(Field::string)?;
            at.at("call_id").maybe(Field::string)?;
            at.at("name").string()?;
            at.at("arguments").string()?;
            at.only(&["type", "id", "call_id", "name", "arguments", "status"])
        }
        "function_call_output" => {
            at.at("call_id").string()?;
            let output = at.at("output");
            if output.string().is_err() {
                output.items()?.iter().try_for_each(|it| it.at("text").string().map(drop))?;
            }
            at.only(&["type", "id", "call_id", "output", "status"])
        }
        // Taken, and not told to the model (reference).
        "reasoning" => Ok(()),
        "item_reference" => at.at("id").string().map(drop),
        _ => Err(at.at("type").wrong("Invalid input")),
    }
}

/// OpenAI's clients leave the word `message` out.
fn kind<'a>(at: &Field<'a>) -> &'a str {
    match at.at("type").string() {
        Err(_) if !at.at("type").is_there() && at.at("role").is_there() => "message",
        it => it.unwrap_or_default(),
    }
}

fn part(at: &Field) -> Checked<()> {
    at.object()?;
    match at.at("type").string()? {
        "input_text" | "output_text" => {
            at.at("text").string()?;
            at.only(&["type", "text", "annotations", "logprobs"])
        }
        "refusal" => at.at("refusal").string().map(drop),
        "input_image" if at.at("image_url").is_given() => {
            url(&at.at("image_url"))?;
            at.only(&["type", "image_url", "detail", "file_id"])
        }
        "input_file" if at.at("file_data").is_given() => {
            at.at("file_data").string()?;
            at.at("filename").maybe(Field::string)?;
            at.only(&["type", "file_data", "filename", "detail"])
        }
        "input_file" if at.at("file_url").is_given() => {
            url(&at.at("file_url"))?;
            at.only(&["type", "file_url", "filename", "detail"])
        }
        "input_image" | "input_file" if at.at("file_id").is_given() => {
            Err(at.at("file_id").meant("no files are kept here: send what is in it"))
        }
        kind @ ("input_image" | "input_file") => {
            source(&at.at("source"), kind == "input_image")?;
            at.only(&["type", "source"])
        }
        _ => Err(at.at("type").wrong("Invalid input")),
    }
}

/// The reference's own form: `{type: "url", url}` or `{type: "base64", media_type, data, filename?}`.
fn source(at: &Field, is_image: bool) -> Checked<()> {
    at.object()?;
    match at.at("type").string()? {
        "url" => url(&at.at("url")),
        "base64" => {
            let media_type = at.at("media_type");
            match is_image {
                true => drop(media_type.one_of(&["image/jpeg", "image/png", "image/gif", "image/webp"])?),
                false => not_empty(&media_type)?,
            }
            not_empty(&at.at("data"))?;
            at.at("filename").maybe(Field::string).map(drop)
        }
        _ => Err(at.wrong("Invalid input")),
    }
}

fn not_empty(at: &Field) -> Checked<()> {
    match at.string()? {
        "" => Err(at.meant("Too small: expected string to have >=1 characters")),
        _ => Ok(()),
    }
}

fn url(at: &Field) -> Checked<()> {
    let scheme = at.string()?.split_once(':').map(|it| it.0).unwrap_or_default();
    let is_scheme = scheme.starts_with(|it: char| it.is_ascii_alphabetic())
        && scheme.bytes().all(|it| it.is_ascii_alphanumeric() || b"+-.".contains(&it));
    if is_scheme { Ok(()) } else { Err(at.meant("Invalid URL")) }
}

/// What an item says, once it was judged.
fn turn(at: &Field, ask: &mut Ask, limits: &Endpoints) -> Result<Option<Turn>, String> {
    let word = |name: &str| at.at(name).string().unwrap_or_default().to_owned();
    Ok(match kind(at) {
        "message" => {
            let (text, images) = content(&at.at("content"), ask, limits)?;
            match at.at("role").string().unwrap_or_default() {
                _ if text.is_empty() && images.is_empty() => None,
                "user" => Some(Turn::User { text, images }),
                "assistant" => Some(Turn::Assistant { text, calls: vec![] }),
                _ => {
                    ask.system.push(text);
                    None
                }
            }
        }
        "function_call" => {
            let id = Some(word("call_id")).filter(|it| !it.is_empty()).unwrap_or_else(|| word("id"));
            let call = ToolCall { id, name: word("name"), arguments: word("arguments") };
            Some(Turn::Assistant { text: String::new(), calls: vec![call] })
        }
        "function_call_output" => {
            let output = at.at("output");
            let texts = |it: &Field| it.at("text").string().unwrap_or_default().to_owned();
            let text = match output.string() {
                Ok(text) => text.to_owned(),
                Err(_) => output.items().unwrap_or_default().iter().map(texts).collect::<Vec<_>>().join("\n"),
            };
            Some(Turn::Result { id: word("call_id"), name: String::new(), text })
        }
        _ => None,
    })
}

/// The text of a message, its parts a line each, and its pictures. Files go into the prompt, where no session keeps them (reference).
fn content(at: &Field, ask: &mut Ask, limits: &Endpoints) -> Result<(String, Vec<Image>), String> {
    if let Ok(text) = at.string() {
        return Ok((text.trim().to_owned(), vec![]));
    }
    let (mut texts, mut images) = (vec![], vec![]);
    for part in at.items().unwrap_or_default() {
        let word = |name: &str| part.at(name).string().ok().filter(|it| !it.is_empty());
        let source = part.at("source");
        let of_source = |name: &str| source.at(name).string().ok();
        let text = word("text").or(word("refusal"));
        texts.extend(text);
        match part.at("type").string().unwrap_or_default() {
            "input_image" => match (word("image_url").or(of_source("url")), of_source("data")) {
                (Some(url), _) => images.extend(ask.picture(url, &limits.images)?),
                (None, data) => images.push(media::picture(data.unwrap_or_default(), &limits.images)?),
            },
            "input_file" => {
                let name = word("filename").or(of_source("filename")).unwrap_or("file");
                let of_data = word("file_data").map(|it| data_url(it).unwrap_or(("text/plain", it)));
                let of_base64 = of_source("data").map(|it| (of_source("media_type").unwrap_or_default(), it));
                match (of_data.or(of_base64), word("file_url").or(of_source("url"))) {
                    (Some((kind, data)), _) => {
                        let text = media::text_of_base64(data, kind, &limits.files)?;
                        ask.system.push(media::file(name, &text));
                    }
                    (None, url) => ask.fetch(url.unwrap_or_default(), false, &limits.files)?,
                }
            }
            _ => {}
        }
    }
    Ok((texts.join("\n").trim().to_owned(), images))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::base64;
    use serde_json::{Value, json};

    /// Bodies and what the reference answers to them: `[body, text of its 400]`.
    #[test]
    fn the_reference_refuses_in_these_words() {
        let mut seen = 0;
        for line in include_str!("../../../tests/data/responses-refused.jsonl").lines() {
            let (body, want): (String, String) = serde_json::from_str(line).unwrap();
            let told = read(body.as_bytes(), &Endpoints::default()).map(|it| it.message);
            assert_eq!(told, Err(want), "{body}");
            seen += 1;
        }
        assert!(seen > 60);
    }
    fn ask(body: Value) -> Ask {
        read(body.to_string().as_bytes(), &Endpoints::default()).unwrap()
    }
    #[test]
    fn items_in_either_form() {
        let csv = base64(b"a,b");
        let it = ask(json!({
            "model": "openclaw", "instructions": "Be short.", "max_output_tokens": 7, "previous_response_id": "resp_1",
            "parallel_tool_calls": true, "text": { "format": { "type": "text" } },
            "tools": [{ "type": "function", "name": "look", "description": null, "parameters": null, "strict": null }],
            "tool_choice": { "type": "function", "name": "look" },
            "input": [
                { "role": "user", "content": "hi" },
                { "type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
                  "content": [{ "type": "output_text", "text": "one moment", "annotations": [], "logprobs": [] }] },
                { "type": "reasoning", "id": "rs_1", "summary": [] },
                { "type": "function_call", "id": "fc_1", "call_id": "c1", "name": "look", "arguments": "{}", "status": "completed" },
                { "type": "message", "role": "developer", "content": [{ "type": "input_file", "filename": "t.csv", "file_data": format!("data:text/csv;base64,{csv}") }] },
                { "type": "message", "role": "user", "content": [{ "type": "input_file", "source": { "type": "base64", "media_type": "text/csv", "data": csv } }] },
                { "type": "function_call_output", "call_id": "c1", "output": [{ "type": "input_text", "text": "seen" }] },
            ],
        }));
        assert_eq!(
            it.system,
            ["Be short.", "<file name=\"t.csv\">\na,b\n</file>", "<file name=\"file\">\na,b\n</file>"]
        );
        assert_eq!((it.brought.results, it.brought.history.len()), (vec![("c1".into(), "seen".into())], 2));
        assert_eq!((it.brought.max_tokens, it.previous.as_deref()), (Some(7), Some("resp_1")));
    }
    #[test]
    fn pictures_and_files_by_url_are_fetched_later() {
        let part = |it: Value| json!({ "type": "message", "role": "user", "content": [it] });
        let it = ask(json!({ "model": "m", "input": [
            part(json!({ "type": "input_image", "image_url": "https://example.com/a.png", "detail": "auto" })),
            part(json!({ "type": "input_file", "source": { "type": "url", "url": "https://example.com/a.txt" } })),
        ] }));
        let kinds: Vec<bool> = it.brought.fetch.iter().map(|it| it.is_image).collect();
        assert_eq!(kinds, [true, false]);
    }
}
