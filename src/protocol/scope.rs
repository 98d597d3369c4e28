//! Roles and scopes: who may call a method or see an event.
use serde::Serialize;

/// What a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Operator,
    Node,
}

impl Role {
    pub fn parse(text: &str) -> Option<Role> {
        match text {
            "operator" => Some(Role::Operator),
            "node" => Some(Role::Node),
            _ => None,
        }
    }
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Operator => "operator",
            Role::Node => "node",
        }
    }
}

/// What a method or event asks of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Any connection that has passed the handshake. Events only.
    Anyone,
    /// `operator.read` or `operator.write`.
    Read,
    Write,
    Approvals,
    Pairing,
    Admin,
    /// Connections of role node alone.
    NodeOnly,
}

impl Access {
    /// The scope named in `missing scope: …`.
    pub fn scope(self) -> &'static str {
        match self {
            Access::Anyone | Access::Read => "operator.read",
            Access::Write => "operator.write",
            Access::Approvals => "operator.approvals",
            Access::Pairing => "operator.pairing",
            Access::Admin | Access::NodeOnly => "operator.admin",
        }
    }
}

/// The scopes that mean something, as bits; the strings a client sent are kept elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u8);

const BITS: [(&str, u8); 5] = [
    ("operator.admin", 1),
    ("operator.read", 2),
    ("operator.write", 4),
    ("operator.approvals", 8),
    ("operator.pairing", 16),
];

impl Scopes {
    pub fn of<S: AsRef<str>>(names: &[S]) -> Scopes {
        let bit = |name: &S| BITS.iter().find(|it| it.0 == name.as_ref()).map_or(0, |it| it.1);
        Scopes(names.iter().map(bit).fold(0, |all, it| all | it))
    }
    /// `operator.admin` passes everything; write includes read.
    pub fn allow(self, access: Access) -> bool {
        let any_of = match access {
            Access::Anyone => return true,
            Access::Read => 1 | 2 | 4,
            Access::Write => 1 | 4,
            Access::Approvals => 1 | 8,
            Access::Pairing => 1 | 16,
            Access::Admin => 1,
            Access::NodeOnly => return false,
        };
        self.0 & any_of != 0
    }
    /// Whether whoever has these can do what that scope allows. One that means nothing here may mean something elsewhere.
    pub fn covers(self, scope: &str) -> bool {
        let any_of = match scope {
            "operator.read" => return self.allow(Access::Read),
            it => BITS.iter().find(|(name, _)| *name == it).map_or(1, |it| it.1 | 1),
        };
        self.0 & any_of != 0
    }
}

/// Those of `asked` that are not among `given`.
pub fn missing_from(asked: &[String], given: &[String]) -> Vec<String> {
    asked.iter().filter(|it| !given.contains(it)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn write_includes_read_and_admin_everything() {
        let write = Scopes::of(&["operator.write"]);
        assert!(write.allow(Access::Read) && write.allow(Access::Write) && !write.allow(Access::Admin));
        assert!(Scopes::of(&["operator.admin"]).allow(Access::Pairing));
        assert!(!Scopes::of(&["custom.scope"]).allow(Access::Read));
        assert!(!Scopes::of(&["operator.pairing"]).allow(Access::Approvals));
        assert!(write.covers("operator.read") && !write.covers("operator.admin") && !write.covers("custom"));
        assert!(Scopes::of(&["operator.admin"]).covers("custom"));
    }
}
