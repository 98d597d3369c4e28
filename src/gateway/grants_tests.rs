//! Who may give what to whom: rows of callers, devices and scopes.
use super::grants::*;
use crate::base::ids::{self, Entropy};
use crate::base::limits::{PAIRED_MAX, PAIRING_PENDING_MAX, PAIRING_TTL_MS};
use crate::protocol::scope::{Role, Scopes};
use crate::store::devices::{About, Devices, Pending};

fn scopes(names: &[&str]) -> Vec<String> {
    names.iter().map(|it| format!("operator.{it}")).collect()
}
fn request(id: &str, role: &str, names: &[&str], ts: i64) -> Pending {
    let about = About {
        role: Some(role.into()),
        roles: vec![role.into()],
        scopes: scopes(names),
        platform: Some("iOS 18.1".into()),
        remote_ip: Some("192.168.0.9".into()),
        ..About::default()
    };
    let (request_id, device_id) = (format!("r-{id}"), id.to_owned());
    Pending { request_id, device_id, public_key: "k".into(), about, ts, ..Pending::default() }
}
fn caller(device: Option<&str>, names: &[&str]) -> Caller {
    Caller { device_id: device.map(str::to_owned), scopes: Scopes::of(&scopes(names)) }
}
fn wanted<'a>(role: Role, scopes: &'a [String]) -> Wanted<'a> {
    Wanted { role, scopes, platform: "iOS 18.2" }
}
/// `phone` is an operator with read and write, `robot` a node.
fn home() -> (Devices, Entropy) {
    let (mut devices, mut entropy) = (Devices::default(), ids::os_entropy());
    for it in [request("phone", "operator", &["read", "write"], 1), request("robot", "node", &[], 1)] {
        let id = request_pairing(&mut devices, it, 1).0.request_id;
        approve(&mut devices, &Caller::owner(), &id, 1, &mut entropy).unwrap();
    }
    (devices, entropy)
}

#[test]
fn from_request_to_token_and_back() {
    let (mut devices, mut entropy) = home();
    let read = scopes(&["read"]);
    let of =
        |devices: &Devices, role, scopes: &[String]| standing(devices, "phone", "k", wanted(role, scopes));
    assert_eq!(of(&devices, Role::Operator, &read), Standing::Paired);
    assert_eq!(of(&devices, Role::Operator, &scopes(&["admin"])), Standing::Unpaired(Why::Scopes));
    assert_eq!(of(&devices, Role::Node, &[]), Standing::Unpaired(Why::Role));
    assert_eq!(
        standing(&devices, "phone", "other", wanted(Role::Operator, &read)),
        Standing::Unpaired(Why::Lost)
    );
    assert_eq!(standing(&devices, "who", "k", wanted(Role::Operator, &read)), Standing::Unpaired(Why::New));
    let token = ensure_token(&mut devices, "phone", "operator", &read, 5, &mut entropy).unwrap();
    assert_eq!((token.token.len(), token.rotated_at_ms), (32, None), "the one of the approval");
    assert!(token_allows(&devices, "phone", "operator", &read, &token.token));
    assert!(!token_allows(&devices, "phone", "operator", &scopes(&["admin"]), &token.token));
    assert!(!token_allows(&devices, "phone", "node", &[], &token.token));
    revoke(&mut devices, &Caller::owner(), "phone", "operator", 6).unwrap();
    assert!(!token_allows(&devices, "phone", "operator", &read, &token.token));
    assert_eq!(of(&devices, Role::Operator, &read), Standing::Unpaired(Why::Lost));
}
#[test]
fn a_node_stays_on_its_platform() {
    let (devices, _) = home();
    let on = |platform| standing(&devices, "robot", "k", Wanted { role: Role::Node, scopes: &[], platform });
    assert_eq!((on("iOS 19"), on("ios")), (Standing::Paired, Standing::Paired));
    assert_eq!(
        (on("macos 15"), on("iosx")),
        (Standing::Unpaired(Why::Platform), Standing::Unpaired(Why::Platform))
    );
}
/// GHSA-4jpw-hj22-2xmc, GHSA-2pwv-x786-56f8, GHSA-7jrw-x62h-64p8: a row is who, what, and what comes of it.
#[test]
fn nobody_gives_more_than_he_has_or_than_was_approved() {
    let beyond = |names: &[&str]| Err(Denied::Beyond(scopes(names)));
    let unknown = || Err(Denied::Unknown("deviceId/role"));
    let admin = || caller(None, &["admin"]);
    for (who, device, role, asked, want) in [
        (admin(), "phone", "operator", None, Ok(scopes(&["read", "write"]))),
        (admin(), "phone", "operator", Some(scopes(&["read"])), Ok(scopes(&["read"]))),
        (admin(), "phone", "operator", Some(scopes(&["read", "admin"])), beyond(&["admin"])),
        (admin(), "phone", "node", None, unknown()),
        (admin(), "phone", "robot", None, unknown()),
        (admin(), "nobody", "operator", None, unknown()),
        (admin(), "robot", "node", None, Ok(vec![])),
        (admin(), "robot", "node", Some(scopes(&["read"])), beyond(&["read"])),
        (
            caller(Some("phone"), &["pairing", "write"]),
            "phone",
            "operator",
            None,
            Ok(scopes(&["read", "write"])),
        ),
        (caller(Some("phone"), &["pairing", "read"]), "phone", "operator", None, unknown()),
        (
            caller(Some("phone"), &["pairing", "read"]),
            "phone",
            "operator",
            Some(scopes(&["read"])),
            Ok(scopes(&["read"])),
        ),
        (
            caller(Some("phone"), &["pairing", "write"]),
            "phone",
            "operator",
            Some(scopes(&["admin"])),
            unknown(),
        ),
        (caller(Some("phone"), &["pairing", "write"]), "robot", "node", None, unknown()),
        (caller(Some("robot"), &["pairing", "write"]), "robot", "node", None, unknown()),
        (caller(Some("robot"), &["pairing", "write"]), "phone", "operator", None, unknown()),
        (caller(None, &["pairing", "write"]), "phone", "operator", None, unknown()),
    ] {
        let (mut devices, mut entropy) = home();
        let before = devices.clone();
        let got = rotate(&mut devices, &who, device, role, asked.as_deref(), 9, &mut entropy);
        let row = format!("{who:?} {device} {role} {asked:?}");
        assert_eq!(got.clone().map(|it| it.scopes), want, "{row}");
        match got {
            Ok(it) => assert_eq!((it.created_at_ms, it.rotated_at_ms), (1, Some(9)), "{row}"),
            Err(_) => assert_eq!(devices, before, "{row}"),
        }
        // Who may not make one may not take one, either.
        let (mut devices, mut entropy) = home();
        let revoked = revoke(&mut devices, &who, device, role, 9);
        let usual = rotate(&mut devices, &who, device, role, None, 9, &mut entropy);
        assert_eq!(revoked.is_ok(), usual.is_ok(), "{row}");
    }
    let (mut devices, _) = home();
    assert_eq!(
        remove(&mut devices, &caller(Some("phone"), &["pairing"]), "robot"),
        Err(Denied::Unknown("deviceId"))
    );
    assert_eq!(remove(&mut devices, &caller(Some("phone"), &["pairing"]), "phone"), Ok(()));
    assert_eq!(remove(&mut devices, &admin(), "phone"), Err(Denied::Unknown("deviceId")));
}
/// A cut-down device asks anew for what it lost.
#[test]
fn explicit_scopes_are_the_new_baseline() {
    let (mut devices, mut entropy) = home();
    let read = scopes(&["read"]);
    rotate(&mut devices, &Caller::owner(), "phone", "operator", Some(&read), 9, &mut entropy).unwrap();
    let both = scopes(&["read", "write"]);
    let of = |scopes| standing(&devices, "phone", "k", wanted(Role::Operator, scopes));
    assert_eq!((of(&read), of(&both)), (Standing::Paired, Standing::Unpaired(Why::Scopes)));
}
#[test]
fn approving_takes_what_is_approved() {
    let mut entropy = ids::os_entropy();
    let mut done = |who: &Caller, role: &str, names: &[&str], at: i64| {
        let mut devices = Devices::default();
        request_pairing(&mut devices, request("x", role, names, 0), 0);
        let done = approve(&mut devices, who, "r-x", at, &mut entropy);
        assert_eq!(devices.paired.len(), usize::from(done.is_ok()));
        done.map(|it| it.tokens[role].scopes.clone())
    };
    let lacks = |name: &str| Err(Denied::Scope(format!("operator.{name}")));
    let pairing = caller(None, &["pairing", "read"]);
    assert_eq!(done(&Caller::owner(), "operator", &["admin"], 0), Ok(scopes(&["admin"])));
    assert_eq!(done(&pairing, "operator", &["read"], 0), Ok(scopes(&["read"])));
    assert_eq!(done(&pairing, "operator", &["read", "admin"], 0), lacks("admin"));
    assert_eq!(done(&pairing, "operator", &["approvals"], 0), lacks("approvals"));
    assert_eq!(done(&pairing, "node", &[], 0), lacks("write"));
    assert_eq!(
        done(&caller(None, &["pairing", "write"]), "node", &["admin"], 0),
        Ok(vec![]),
        "no scope by way of a node"
    );
    assert_eq!(
        done(&Caller::owner(), "operator", &[], PAIRING_TTL_MS + 1),
        Err(Denied::Unknown("requestId")),
        "too late"
    );
    assert_eq!(done(&Caller::owner(), "operator", &[], PAIRING_TTL_MS), Ok(vec![]));
}
#[test]
fn a_request_for_more_takes_the_place_of_one_for_less() {
    let mut devices = Devices::default();
    let mut ask = |id: &str, names: &[&str]| {
        let it = Pending { request_id: id.into(), ..request("x", "operator", names, 0) };
        let (known, is_new) = request_pairing(&mut devices, it, 0);
        (known.request_id, is_new, devices.pending.len())
    };
    assert_eq!(ask("1", &["read"]), ("1".into(), true, 1));
    assert_eq!(ask("2", &["read"]), ("1".into(), false, 1));
    assert_eq!(ask("3", &["read", "admin"]), ("3".into(), true, 1));
    assert_eq!(ask("4", &["read"]), ("3".into(), false, 1));
}
#[test]
fn floods_displace_themselves() {
    let mut devices = Devices::default();
    let mut first = request("owner", "operator", &[], 0);
    first.about.remote_ip = Some("192.168.0.2".into());
    request_pairing(&mut devices, first, 0);
    for n in 1..PAIRING_PENDING_MAX as i64 * 2 {
        assert!(request_pairing(&mut devices, request(&n.to_string(), "operator", &[], n), n).1);
    }
    assert_eq!(devices.pending.len(), PAIRING_PENDING_MAX);
    assert!(devices.pending.contains_key("r-owner"));
    assert_eq!(
        request_pairing(&mut devices, request("new", "operator", &[], 999_999), 999_999).0.request_id,
        "r-new"
    );
    assert_eq!(devices.pending.len(), 1, "the others have run out");
}
#[test]
fn pairings_are_bounded() {
    let mut devices = Devices::default();
    let far = About { remote_ip: Some("192.168.0.9".into()), ..About::default() };
    pair(&mut devices, "local", "k", About::default(), 0);
    for n in 1..PAIRED_MAX {
        pair(&mut devices, &n.to_string(), "k", far.clone(), 1);
    }
    assert!(make_room(&mut devices, "1") && devices.paired.len() == PAIRED_MAX, "it has its place");
    assert!(make_room(&mut devices, "new") && !devices.paired.contains_key("local"));
    pair(&mut devices, "new", "k", far, 2);
    assert!(!make_room(&mut devices, "another"));
    let request = request("another", "operator", &[], 0);
    request_pairing(&mut devices, request, 0);
    let full = approve(&mut devices, &Caller::owner(), "r-another", 0, &mut ids::os_entropy());
    assert_eq!(full, Err(Denied::Full));
    assert_eq!(devices.pending.len(), 1, "it waits for room");
}
