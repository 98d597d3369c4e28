//! `cron/jobs.json`: `{version: 1, jobs: [...]}`. Read side.
use super::read_json;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// `cron.store`, else below the state folder.
pub fn store_path(state: &Path, home: &Path, configured: Option<&str>) -> PathBuf {
    match configured {
        Some(it) => crate::base::files::expand_home(it, home),
        None => state.join("cron").join("jobs.json"),
    }
}

/// The jobs as stored; empty when there is no file.
///
/// # Errors
/// A sentence that names the file.
pub fn jobs(path: &Path) -> Result<Vec<Value>, String> {
    Ok(match read_json(path)? {
        Some(Value::Object(mut file)) => match file.remove("jobs") {
            Some(Value::Array(jobs)) => jobs,
            _ => vec![],
        },
        _ => vec![],
    })
}
