//! The folder of an agent when it is new: the pages that it reads, and that its person fills in.
use crate::base::files;
use std::path::Path;

/// The pages of a new workspace; the last is for the first conversation only.
const PAGES: [(&str, &str); 7] = [
    ("AGENTS.md", include_str!("pages/AGENTS.md")),
    ("SOUL.md", include_str!("pages/SOUL.md")),
    ("TOOLS.md", include_str!("pages/TOOLS.md")),
    ("IDENTITY.md", include_str!("pages/IDENTITY.md")),
    ("USER.md", include_str!("pages/USER.md")),
    ("HEARTBEAT.md", include_str!("pages/HEARTBEAT.md")),
    ("BOOTSTRAP.md", include_str!("pages/BOOTSTRAP.md")),
];

/// Writes the pages that are missing; answers their names. The first conversation is only for a folder that has none of the others.
///
/// # Errors
/// What the system says.
pub fn make(workspace: &Path) -> std::io::Result<Vec<&'static str>> {
    let there = |name: &str| workspace.join(name).symlink_metadata().is_ok();
    let is_new = !PAGES.iter().any(|it| there(it.0));
    let mut made = vec![];
    for (name, text) in PAGES {
        if !there(name) && (is_new || name != "BOOTSTRAP.md") {
            files::write_atomic(&workspace.join(name), text.as_bytes())?;
            made.push(name);
        }
    }
    Ok(made)
}
