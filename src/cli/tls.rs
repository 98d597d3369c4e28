//! The client's side of TLS: which certificate of a gateway is believed.
//!
//! * A pinned fingerprint decides alone: neither name nor date nor issuer matter then (reference).
//! * Without one: the certificate of this machine's own gateway by its file, `gateway.tls.caPath`, and the roots that browsers trust.
use crate::server::certificate::{self, provider};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, Error, OtherError,
    RootCertStore, SignatureScheme,
};
use std::path::PathBuf;
use std::sync::Arc;

/// Whom to believe.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Lower-case hex SHA-256: this certificate and no other.
    pub pinned: Option<String>,
    /// Of this machine's gateway.
    pub own: Option<String>,
    /// Further roots, in a PEM file.
    pub ca: Option<PathBuf>,
}

/// `AB:CD…`, `sha256:abcd…` and plain hex mean the same (reference).
///
/// # Errors
/// What it is, when it is no SHA-256 fingerprint.
pub fn fingerprint(text: &str) -> Result<String, String> {
    let low = text.trim().to_ascii_lowercase();
    let bare = ["sha256:", "sha-256:", "sha256=", "sha256/"].iter().find_map(|it| low.strip_prefix(it));
    let hex: String = bare.unwrap_or(&low).chars().filter(|it| !matches!(it, ':' | ' ')).collect();
    match hex.len() == 64 && hex.bytes().all(|it| it.is_ascii_hexdigit()) {
        true => Ok(hex),
        false => Err(format!(
            "{text:?} is no SHA-256 fingerprint: 64 hex digits, as `gatewayd gateway status` shows them on the gateway's machine"
        )),
    }
}

impl Trust {
    /// A session that has not begun, with the host of that name.
    ///
    /// # Errors
    /// A sentence.
    pub fn session(self, host: &str) -> Result<ClientConnection, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("{host:?} is no name that a certificate can be for"))?;
        let roots = self.pinned.is_none().then(|| self.roots()).transpose()?;
        let verifier = Verifier { pinned: self.pinned, own: self.own, roots };
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|err| err.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        ClientConnection::new(Arc::new(config), name).map_err(|err| err.to_string())
    }

    fn roots(&self) -> Result<Arc<WebPkiServerVerifier>, String> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = &self.ca {
            let all = certificate::certificates(path)?;
            let (_, unusable) = roots.add_parsable_certificates(all);
            if unusable > 0 {
                return Err(format!(
                    "gateway.tls.caPath: {unusable} certificates of {} cannot be used",
                    path.display()
                ));
            }
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider()).build();
        verifier.map_err(|err| err.to_string())
    }
}

/// Another certificate than the pinned one.
#[derive(Debug, thiserror::Error)]
#[error("gateway tls fingerprint mismatch: its certificate has {seen}, and {pinned} is pinned")]
struct Mismatch {
    seen: String,
    pinned: String,
}

#[derive(Debug)]
struct Verifier {
    pinned: Option<String>,
    own: Option<String>,
    /// None: the pin decides.
    roots: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let seen = certificate::fingerprint(end_entity);
        if let Some(pinned) = &self.pinned {
            if seen == *pinned {
                return Ok(ServerCertVerified::assertion());
            }
            let why = OtherError(Arc::new(Mismatch { seen, pinned: pinned.clone() }));
            return Err(CertificateError::Other(why).into());
        }
        if self.own.as_ref() == Some(&seen) {
            return Ok(ServerCertVerified::assertion());
        }
        match &self.roots {
            Some(it) => it.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    // That the other side has the certificate's key is proven in any case.

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, &algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Why there is no TLS, and what to do.
pub fn explain(err: &Error) -> String {
    match err {
        Error::InvalidCertificate(CertificateError::Other(it)) => it.0.to_string(),
        Error::InvalidCertificate(it) => format!(
            "the gateway's certificate is not to be trusted: {it}\n\
             If it is your gateway, pin it: --tls-fingerprint, or gateway.remote.tlsFingerprint, with what `gatewayd gateway status` shows on its machine."
        ),
        Error::InvalidMessage(_) => "it does not speak TLS there: write ws:// instead of wss://".to_owned(),
        err => format!("TLS failed: {err}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn fingerprints() {
        let hex = "d1a114556f433fe32fb70345a991b8b226ea13dcfe53d412830ee80867cc48e5";
        let colons: Vec<String> = hex
            .to_uppercase()
            .as_bytes()
            .chunks(2)
            .map(|it| String::from_utf8_lossy(it).into_owned())
            .collect();
        for text in [hex.to_owned(), format!("sha256:{hex}"), colons.join(":"), format!(" SHA256={hex} ")] {
            assert_eq!(fingerprint(&text).as_deref(), Ok(hex), "{text}");
        }
        for text in ["", "deadbeef", &hex[1..], "sha1:00", &format!("{hex}0"), &"g".repeat(64)] {
            assert!(fingerprint(text).unwrap_err().contains("64 hex digits"), "{text}");
        }
    }
}
