//! The accounts of this machine, as /etc/passwd has them.
use super::files;
use std::path::{Path, PathBuf};

/// One account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub home: PathBuf,
}

fn all() -> Vec<Account> {
    let text = files::read_proc(Path::new("/etc/passwd")).unwrap_or_default();
    text.lines().filter_map(account).collect()
}

fn account(line: &str) -> Option<Account> {
    let fields: Vec<&str> = line.split(':').collect();
    let (name, uid, home) = (fields.first()?, fields.get(2)?.parse().ok()?, fields.get(5)?);
    Some(Account { name: (*name).to_owned(), uid, home: PathBuf::from(home) })
}

/// The account of that name.
pub fn named(name: &str) -> Option<Account> {
    all().into_iter().find(|it| it.name == name)
}

/// The name of a user; the number where the machine knows no name.
pub fn name_of(uid: u32) -> String {
    all().into_iter().find(|it| it.uid == uid).map_or_else(|| uid.to_string(), |it| it.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn root_is_known() {
        assert_eq!(name_of(0), "root");
        assert_eq!(named("root").map(|it| it.uid), Some(0));
        assert_eq!(name_of(4_000_000_000), "4000000000");
        assert_eq!(account("broken"), None);
    }
}
