//! The client's own tools, in both APIs: what they are, and whether one of them must be called.
use super::prompt::Ask;
use super::shape::{Checked, Field, Wrong};
use crate::agent::model::{ToolChoice, ToolSpec};
use serde_json::{Value, json};

/// What a client may want of its tools.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Choice {
    Auto,
    None,
    Required,
    Tool(String),
}

/// `{type: "function", function: {name, description?, parameters?}}`; the Responses API of OpenAI has the inner names outside.
pub(super) fn tools(field: &Field) -> Checked<Vec<ToolSpec>> {
    let mut out = vec![];
    for it in field.items()? {
        it.object()?;
        it.at("type").literal("function")?;
        let is_flat = !it.at("function").is_there() && it.at("name").is_there();
        let inner = if is_flat { it.clone() } else { it.at("function") };
        inner.object()?;
        let name = inner.at("name").string()?;
        if name.is_empty() {
            return Err(inner.at("name").wrong("Tool name cannot be empty"));
        }
        let description = inner.at("description").given(Field::string)?.unwrap_or_default();
        let parameters = inner.at("parameters").given(Field::record)?.cloned();
        let parameters =
            parameters.map_or_else(|| json!({ "type": "object", "properties": {} }), Value::Object);
        it.only(if is_flat {
            &["type", "name", "description", "parameters", "strict"]
        } else {
            &["type", "function"]
        })?;
        out.push(ToolSpec { name: name.to_owned(), description: description.to_owned(), parameters });
    }
    Ok(out)
}

/// `auto`, `none`, `required`, `{type: "function", function: {name}}` or, as OpenAI's Responses have it, `{type: "function", name}`.
pub(super) fn choice(field: &Field) -> Checked<Choice> {
    match field.value() {
        Value::String(it) if it == "auto" => return Ok(Choice::Auto),
        Value::String(it) if it == "none" => return Ok(Choice::None),
        Value::String(it) if it == "required" => return Ok(Choice::Required),
        _ => {}
    }
    let name = [field.at("function").at("name"), field.at("name")].iter().find_map(|it| it.string().ok());
    match name {
        Some(name) if field.at("type").value() == "function" => Ok(Choice::Tool(name.trim().to_owned())),
        _ => Err(field.wrong("Invalid input")),
    }
}

/// Puts both together. The reference's texts.
///
/// # Errors
/// A choice that the tools do not allow.
pub(super) fn apply(ask: &mut Ask, mut tools: Vec<ToolSpec>, choice: Option<Choice>) -> Result<(), String> {
    ask.brought.tool_choice = match choice {
        None | Some(Choice::Auto) => ToolChoice::Auto,
        Some(Choice::None) => {
            tools.clear();
            ToolChoice::Auto
        }
        Some(Choice::Required) if tools.is_empty() => {
            return Err("tool_choice=required but no tools were provided".into());
        }
        Some(Choice::Required) => ToolChoice::Required,
        Some(Choice::Tool(name)) if name.is_empty() => {
            return Err("tool_choice.function.name is required".into());
        }
        Some(Choice::Tool(name)) => {
            tools.retain(|it| it.name == name);
            if tools.is_empty() {
                return Err(format!("tool_choice requested unknown tool: {name}"));
            }
            ToolChoice::Tool(name)
        }
    };
    ask.brought.tools = tools;
    Ok(())
}

/// `response_format` of Chat Completions, `text.format` of Responses. No model server is told: the agent is asked for it in words.
pub(super) fn format(field: &Field) -> Checked<Option<String>> {
    let kind = field.at("type").one_of(&["text", "json_object", "json_schema"])?;
    let schema = [field.at("json_schema").at("schema"), field.at("schema")].into_iter().find(Field::is_given);
    Ok(match (kind, schema) {
        ("text", _) => None,
        ("json_schema", Some(schema)) => Some(format!(
            "Answer with one JSON value that fits this JSON Schema, and nothing around it:\n{}",
            schema.value()
        )),
        ("json_schema", None) => return Err(missing_schema(field)),
        _ => Some("Answer with one JSON object, and nothing around it.".into()),
    })
}

fn missing_schema(field: &Field) -> Wrong {
    field.at("json_schema").at("schema").wrong("Invalid input: expected record, received undefined")
}
