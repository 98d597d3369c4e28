//! `write`: a whole file, made or replaced.
use super::target::target;
use super::{Outcome, Place, Tool, one_line, schema, text_of};
use crate::base::cancel::Cancel;
use crate::base::limits::EDIT_FILE_BYTES_MAX;
use serde_json::Value;

pub(super) struct Write;

impl Tool for Write {
    fn name(&self) -> &'static str {
        "write"
    }
    fn description(&self) -> &'static str {
        "Makes a file of the workspace, or replaces the whole of it; missing folders are made."
    }
    fn parameters(&self) -> Value {
        let properties = [
            ("path", "string", "File, relative to the workspace"),
            ("content", "string", "The whole text of the file"),
        ];
        schema(&["path", "content"], &properties)
    }
    fn call(&self, args: &Value, place: &Place, _: &Cancel, _: &mut dyn FnMut(Value)) -> Outcome {
        write(args, place).unwrap_or_else(|text| Outcome::error("write", text))
    }
    fn meta(&self, args: &Value) -> Option<String> {
        one_line(text_of(args, &["path", "file_path"]).ok()?)
    }
}

fn write(args: &Value, place: &Place) -> Result<Outcome, String> {
    let path = text_of(args, &["path", "file_path"])?;
    let content = text_of(args, &["content"])?;
    fits(path, content.len())?;
    target(path, place)?.write(content.as_bytes())?;
    Ok(Outcome::text(format!("{path} written, {} bytes", content.len())))
}

/// # Errors
/// What to tell the model when a file would be too large.
pub(super) fn fits(path: &str, bytes: usize) -> Result<(), String> {
    match bytes as u64 > EDIT_FILE_BYTES_MAX {
        true => Err(format!("{path} would have {bytes} bytes, more than the {EDIT_FILE_BYTES_MAX} allowed")),
        false => Ok(()),
    }
}
