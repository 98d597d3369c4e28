//! The gateway's certificate and key: read from PEM files, made when there are none, and what is wrong with them said before anybody connects.
//!
//! * A key that other users of the machine can read is refused.
//! * What a person put there is never overwritten: only when both files are missing are they made.
//! * Sessions are not resumed: clients pin the certificate, which a resumed session does not show; and nothing is remembered for them.
use crate::base::files;
use crate::base::ids::{base64, sha256_hex};
use crate::base::limits::PEM_BYTES_MAX;
use crate::config::{Paths, Tls};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::{CertificateError, Error, RootCertStore, ServerConfig};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// What the gateway shows to its clients, ready to be used.
#[derive(Clone)]
pub struct Identity {
    pub config: Arc<ServerConfig>,
    /// Lower-case hex SHA-256 of the certificate.
    pub fingerprint: String,
    pub path: PathBuf,
    /// It was made just now.
    pub made: bool,
    /// For the log: it works, but perhaps not for everybody.
    pub warning: Option<String>,
}

/// What both sides of TLS are built with.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Where certificate and key are. Reference: below the state folder.
pub fn places(tls: &Tls, paths: &Paths) -> (PathBuf, PathBuf) {
    let place = |configured: &Option<String>, name: &str| match configured {
        Some(it) => files::expand_home(it, &paths.home),
        None => paths.state.join("gateway/tls").join(name),
    };
    (place(&tls.cert_path, "gateway-cert.pem"), place(&tls.key_path, "gateway-key.pem"))
}

/// Reads certificate and key, or makes them; `host` is this machine's name.
///
/// # Errors
/// A sentence that names the file, what is wrong with it and what to do.
pub fn load(tls: &Tls, paths: &Paths, host: &str, unix_ms: i64) -> Result<Identity, String> {
    let (cert_path, key_path) = places(tls, paths);
    let missing = [&cert_path, &key_path].map(|it| !it.exists());
    let made = missing == [true, true];
    if made {
        if !tls.auto_generate {
            let text = "gateway.tls is enabled, but there is no certificate: put one at";
            return Err(format!(
                "{text} {} and its key at {}, or set gateway.tls.autoGenerate",
                cert_path.display(),
                key_path.display()
            ));
        }
        make(&cert_path, &key_path, host, unix_ms)?;
    } else if let Some(at) = missing.iter().position(|it| *it) {
        let (path, other) = if at == 0 { (&cert_path, &key_path) } else { (&key_path, &cert_path) };
        return Err(format!(
            "gateway.tls: {} is missing, while {} is there: put it back, or remove both to have new ones made",
            path.display(),
            other.display()
        ));
    }
    let chain = certificates(&cert_path)?;
    let key = key(&key_path)?;
    if let Some(path) = ca_place(tls, paths) {
        certificates(&path)?;
    }
    let first = chain.first().expect("`certificates` gives one at least");
    let (fingerprint, warning) = (fingerprint(first), doubt(first, unix_ms, &cert_path));
    Ok(Identity {
        config: server(chain, key, &cert_path, &key_path)?,
        fingerprint,
        path: cert_path,
        made,
        warning,
    })
}

fn server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    cert_path: &Path,
    key_path: &Path,
) -> Result<Arc<ServerConfig>, String> {
    let versions = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let mut config =
        versions.and_then(|it| it.with_no_client_auth().with_single_cert(chain, key)).map_err(|err| {
            let why = match err {
                Error::InconsistentKeys(_) => "the key does not belong to the certificate".to_owned(),
                err => err.to_string(),
            };
            format!("gateway.tls: {} and {}: {why}", cert_path.display(), key_path.display())
        })?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Lower-case hex SHA-256 of a certificate, as clients pin it.
pub fn fingerprint(cert: &CertificateDer<'_>) -> String {
    sha256_hex(cert)
}

/// The fingerprint of this machine's gateway, from its file; None when it has none yet.
pub fn own_fingerprint(tls: &Tls, paths: &Paths) -> Option<String> {
    certificates(&places(tls, paths).0).ok()?.first().map(fingerprint)
}

/// `gateway.tls.caPath`.
pub fn ca_place(tls: &Tls, paths: &Paths) -> Option<PathBuf> {
    tls.ca_path.as_ref().map(|it| files::expand_home(it, &paths.home))
}

/// The certificates of a PEM file; one at least.
///
/// # Errors
/// A sentence that names the file.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem(path)?).collect();
    match found {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err(format!("gateway.tls: {} holds no certificate in PEM form", path.display())),
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    use std::os::unix::fs::PermissionsExt;
    let bytes = pem(path)?;
    let mode = std::fs::metadata(path).map_or(0, |it| it.permissions().mode());
    if mode & 0o007 != 0 {
        let path = path.display();
        return Err(format!("gateway.tls: every user of this machine can read {path}: run chmod 600 {path}"));
    }
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        let text = "holds no private key in PEM form (one with a passphrase cannot be used)";
        format!("gateway.tls: {} {text}", path.display())
    })
}

fn pem(path: &Path) -> Result<Vec<u8>, String> {
    match files::read(path, PEM_BYTES_MAX) {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(format!("gateway.tls: {} does not exist", path.display())),
        Err(err) => Err(format!("gateway.tls: cannot read {}: {err}", path.display())),
    }
}

/// Whether it is too old or too young, as a client would see it that trusts it otherwise.
fn doubt(cert: &CertificateDer<'_>, unix_ms: i64, path: &Path) -> Option<String> {
    let mut roots = RootCertStore::empty();
    roots.add(cert.clone()).ok()?;
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider()).build().ok()?;
    let now = UnixTime::since_unix_epoch(Duration::from_millis(unix_ms.max(0) as u64));
    let name = ServerName::try_from("localhost").ok()?;
    let found = verifier.verify_server_cert(cert, &[], &name, &[], now);
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    let why = match found {
        Err(Error::InvalidCertificate(Expired | ExpiredContext { .. })) => "has expired",
        Err(Error::InvalidCertificate(NotValidYet | NotValidYetContext { .. })) => {
            "is not valid yet (or this machine's clock is wrong)"
        }
        _ => return None,
    };
    Some(format!("the certificate {} {why}: clients that do not pin it will refuse it", path.display()))
}

/// A new key, and a certificate that it signs itself, for ten years (reference).
fn make(cert_path: &Path, key_path: &Path, host: &str, unix_ms: i64) -> Result<(), String> {
    let wrong = |err: rcgen::Error| format!("gateway.tls: cannot make a certificate: {err}");
    // A name that no certificate can hold is left out.
    let plain = |it: &String| {
        !it.is_empty() && it.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
    };
    let own = [host.to_lowercase(), format!("{}.local", host.to_lowercase())].into_iter().filter(plain);
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into_iter().chain(own);
    let mut params = CertificateParams::new(names.collect::<Vec<_>>()).map_err(wrong)?;
    params.distinguished_name.push(DnType::CommonName, "openclaw-gateway");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // A board without a clock of its own may start in 1970 and learn the time later: the certificate must hold for both.
    let year = time::OffsetDateTime::from_unix_timestamp(unix_ms / 1000).map_or(0, |it| it.year());
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(year.max(YEAR_MIN) + YEARS, 12, 31);
    let key = KeyPair::generate().map_err(wrong)?;
    let cert = params.self_signed(&key).map_err(wrong)?;
    for (path, label, der) in
        [(key_path, "PRIVATE KEY", key.serialized_der()), (cert_path, "CERTIFICATE", &cert.der()[..])]
    {
        files::write_atomic(path, armour(label, der).as_bytes())
            .map_err(|err| format!("gateway.tls: cannot write {}: {err}", path.display()))?;
    }
    Ok(())
}

/// Nobody who runs this does so earlier, whatever their clock says.
const YEAR_MIN: i32 = 2026;
/// Reference: 3650 days.
const YEARS: i32 = 10;

/// RFC 7468.
fn armour(label: &str, der: &[u8]) -> String {
    let text = base64(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|it| std::str::from_utf8(it).ok()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests break files")]
mod tests {
    use super::*;
    use crate::config::Env;

    struct Place {
        paths: Paths,
    }
    impl Place {
        fn new(name: &str) -> Place {
            let home = std::env::temp_dir().join(format!("gatewayd-cert-{name}-{}", std::process::id()));
            let env = Env::from([("HOME", home.to_str().unwrap())]);
            Place { paths: Paths::resolve(&env, None) }
        }
        fn load(&self) -> Result<Identity, String> {
            load(&tls(), &self.paths, "Pi", NOW_MS)
        }
        fn files(&self) -> (PathBuf, PathBuf) {
            places(&tls(), &self.paths)
        }
    }
    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.paths.home);
        }
    }
    const NOW_MS: i64 = 1_795_000_000_000;
    fn tls() -> Tls {
        Tls { enabled: true, auto_generate: true, ..Tls::default() }
    }
    fn refusal(place: &Place) -> String {
        place.load().err().unwrap()
    }

    #[test]
    fn made_once_and_then_kept() {
        use std::os::unix::fs::PermissionsExt;
        let place = Place::new("made");
        let first = place.load().unwrap();
        assert!(first.made && first.warning.is_none());
        let (cert, key) = place.files();
        assert!(cert.ends_with(".openclaw/gateway/tls/gateway-cert.pem"), "{cert:?}");
        for path in [&cert, &key] {
            assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let second = place.load().unwrap();
        assert!(!second.made && second.fingerprint == first.fingerprint);
        assert_eq!(own_fingerprint(&tls(), &place.paths), Some(first.fingerprint));
        // In 2040 it is too old, and a clock in 1999 is before it.
        for (unix_ms, says) in [(2_208_988_800_000, "has expired"), (900_000_000_000, "not valid yet")] {
            let found = load(&tls(), &place.paths, "pi", unix_ms).unwrap().warning.unwrap();
            assert!(found.contains(says) && found.contains("gateway-cert.pem"), "{found}");
        }
    }
    #[test]
    fn what_is_wrong_is_said() {
        use std::os::unix::fs::PermissionsExt;
        let place = Place::new("wrong");
        let none = Tls { auto_generate: false, ..tls() };
        let said = load(&none, &place.paths, "pi", NOW_MS).err().unwrap();
        assert!(said.contains("there is no certificate") && said.contains("gateway-key.pem"), "{said}");
        place.load().unwrap();
        let (cert, key) = place.files();
        let (good, good_key) = (std::fs::read(&cert).unwrap(), std::fs::read(&key).unwrap());
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(refusal(&place).contains(&format!("chmod 600 {}", key.display())));
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
        place.load().unwrap();
        std::fs::write(&cert, "garbage").unwrap();
        assert!(refusal(&place).contains("gateway-cert.pem holds no certificate"));
        std::fs::write(&cert, [&good[..40], b"\n-----END CERTIFICATE-----\n"].concat()).unwrap();
        assert!(refusal(&place).contains("gateway-cert.pem"));
        std::fs::write(&cert, &good).unwrap();
        std::fs::write(&key, &good).unwrap();
        assert!(refusal(&place).contains("gateway-key.pem holds no private key"));
        std::fs::remove_file(&cert).unwrap();
        let said = refusal(&place);
        assert!(said.contains("gateway-cert.pem is missing") && said.contains("remove both"), "{said}");
        std::fs::remove_file(&key).unwrap();
        place.load().unwrap();
        // The new key with the old certificate.
        std::fs::write(&cert, &good).unwrap();
        assert!(refusal(&place).contains("does not belong"));
        std::fs::write(&key, &good_key).unwrap();
        place.load().unwrap();
        let with_ca = Tls { ca_path: Some("~/none.pem".into()), ..tls() };
        assert!(
            load(&with_ca, &place.paths, "pi", NOW_MS).err().unwrap().contains("none.pem does not exist")
        );
    }
}
