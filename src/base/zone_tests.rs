//! Zones against what another reader makes of the same files, and against broken ones.
use super::files;
use super::testing::each_seed;
use super::zone::{Instants, Zone};
use std::path::{Path, PathBuf};

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/zoneinfo")
}

fn zone(name: &str) -> Zone {
    Zone::load_from(&dir(), name).unwrap()
}

#[test]
fn as_another_reader_sees_it() {
    let table = files::read_text(&dir().with_file_name("zones.txt"), 1 << 20).unwrap().unwrap();
    let (mut seen, mut of) = (0, zone("Asia/Kolkata"));
    for line in table.lines().filter(|it| !it.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        if of.name() != words[1] {
            of = zone(words[1]);
        }
        let number = |n: usize| words[n].parse::<i64>().unwrap();
        match words[0] {
            "at" => {
                let local = of.local(number(2));
                assert_eq!(
                    (i64::from(local.kind.offset_s), &*local.kind.name),
                    (number(3), words[4]),
                    "{line}"
                );
                assert_eq!(local.wall_s, number(2) + number(3));
            }
            _ => {
                let want = match number(3) {
                    0 => Instants::None(number(4)),
                    1 => Instants::One(number(4)),
                    _ => Instants::Two(number(4), number(5)),
                };
                assert_eq!(of.instants(number(2)), want, "{line}");
                assert_eq!(of.instant(number(2)), number(4), "{line}");
            }
        }
        seen += 1;
    }
    assert!(seen > 500, "{seen}");
}

#[test]
fn fat_and_slim_files_say_the_same() {
    let (fat, slim) = (zone("Fat/Lord_Howe"), zone("Australia/Lord_Howe"));
    each_seed(200, |mut seed| {
        let at = seed.below(6_000_000_000) as i64 - 2_000_000_000;
        assert_eq!(fat.local(at), slim.local(at), "{at}");
        assert_eq!(fat.instants(at), slim.instants(at), "{at}");
    });
}

#[test]
fn changes_follow_each_other() {
    let ny = zone("America/New_York");
    // 2026: 8 March, 1 November; then the rule goes on for ever.
    let (at, kind) = ny.next_change(1_767_225_600).unwrap();
    assert_eq!((at, &*kind.name), (1_772_953_200, "EDT"));
    let (at, kind) = ny.next_change(at).unwrap();
    assert_eq!((at, &*kind.name, kind.offset_s), (1_793_512_800, "EST", -18_000));
    let (at, _) = ny.next_change(32_503_680_000).unwrap();
    assert_eq!(at, 32_509_494_000, "9 March 3000");
    assert_eq!(zone("Asia/Kolkata").next_change(1_767_225_600), None);
    assert_eq!(Zone::utc().next_change(0), None);
}

#[test]
fn every_instant_is_found_again() {
    for name in ["America/New_York", "Pacific/Apia", "Africa/Casablanca", "America/Nuuk"] {
        let zone = zone(name);
        each_seed(300, |mut seed| {
            let at = seed.below(8_000_000_000) as i64 - 2_000_000_000;
            let found = match zone.instants(zone.local(at).wall_s) {
                Instants::One(only) => only == at,
                Instants::Two(first, second) => first < second && (first == at || second == at),
                Instants::None(_) => false,
            };
            assert!(found, "{name} {at}");
        });
    }
}

#[test]
fn rules() {
    let offset = |text: &str, at: i64| Zone::of_rule(text).unwrap().kind_at(at).offset_s;
    for (text, january, july) in [
        ("UTC0", 0, 0),
        ("CET-1CEST,M3.5.0,M10.5.0/3", 3600, 7200),
        ("NZST-12NZDT,M9.5.0,M4.1.0/3", 46_800, 43_200),
        ("<-0330>3:30<-0230>,J80,J300", -12_600, -9_000),
        ("<+0545>-5:45", 20_700, 20_700),
        ("EST5EDT,0/0,J365/25", -14_400, -14_400),
        ("AAA3BBB2,59,300/-3", -10_800, -7_200),
    ] {
        assert_eq!((offset(text, 1_767_225_600), offset(text, 1_782_864_000)), (january, july), "{text}");
    }
    let always = Zone::of_rule("EST5EDT,0/0,J365/25").unwrap();
    for year in 0..50 {
        let new_year = 1_767_225_600 + year * 31_556_952;
        assert!((-90_000..90_000).step_by(1800).all(|it| always.kind_at(new_year + it).offset_s == -14_400));
    }
    for wrong in [
        "",
        "AB1",
        "CET",
        "CET-1CEST,M3.5.0",
        "CET-1CEST,M13.1.0,M10.5.0",
        "CET-1CEST,J0,J5",
        "<CET-1",
        "CET-25",
        "CET-1x",
    ] {
        assert!(Zone::of_rule(wrong).is_none(), "{wrong}");
    }
}

#[test]
fn names_stay_in_the_folder() {
    for name in [
        "",
        "/etc/passwd",
        "../zones.txt",
        "Asia/../Asia/Kolkata",
        "Asia//Kolkata",
        "Asia/Kolkata/",
        "a b",
        "Europe/Wien\0",
        "zones.txt",
    ] {
        let said = Zone::load_from(&dir(), name).unwrap_err();
        assert!(said.contains("no time zone"), "{name}: {said}");
    }
    assert_eq!(
        Zone::load_from(&dir(), "Mars/Base").unwrap_err(),
        "this machine knows no time zone Mars/Base"
    );
    assert!(Zone::load_from(&dir(), "Asia").unwrap_err().starts_with("cannot read the time zone Asia"));
    assert!(Zone::load_from(Path::new("/nowhere"), "Asia/Kolkata").unwrap_err().contains("install tzdata"));
    assert_eq!(Zone::load_from(&dir(), "etc/utc").unwrap(), Zone::utc());
}

#[test]
fn the_zone_of_the_machine() {
    assert_eq!(Zone::host(Some("CET-1CEST,M3.5.0,M10.5.0/3")).unwrap().kind_at(0).offset_s, 3600);
    assert!(Zone::host(Some(":No/Such")).is_err());
    assert!(Zone::host(None).is_ok());
}

#[test]
fn broken_files_are_no_zones() {
    for name in ["America/New_York", "Asia/Kolkata", "Fat/Lord_Howe"] {
        let whole = files::read(&dir().join(name), 1 << 20).unwrap().unwrap();
        assert!(Zone::parse(name, &whole).is_some());
        for cut in 0..whole.len() - 1 {
            assert!(Zone::parse(name, &whole[..cut]).is_none(), "{name} cut at {cut}");
        }
        each_seed(300, |mut seed| {
            let mut bytes = whole.clone();
            for _ in 0..=seed.below(4) {
                let at = seed.below(bytes.len());
                bytes[at] = seed.number() as u8;
            }
            // Any answer will do, as long as asking is safe.
            if let Some(zone) = Zone::parse(name, &bytes) {
                for at in [i64::MIN, -1, 0, 1_795_409_068, i64::MAX] {
                    assert!(zone.local(at).kind.offset_s.abs() <= 26 * 3600);
                    zone.instants(at);
                    zone.next_change(at);
                }
            }
        });
    }
}
