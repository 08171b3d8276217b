//! TLS by rustls: the system's roots, certificates of certs.d, and hosts whose certificate is not checked.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::base::{Error, Kind, Result, Step};

/// Begins TLS with `host`. `directories` are those of certs.d; `verify` is false where any certificate will do.
pub(super) fn client(host: &str, directories: &[PathBuf], verify: bool) -> Result<ClientConnection> {
    let failed = |reason: String| Error::new(Kind::Network, Step::Connect).object_is(host).reason_is(reason);
    let name =
        ServerName::try_from(host.to_owned()).map_err(|_| failed("no name that a certificate can have".to_owned()))?;
    let config = config(directories, verify)?;
    ClientConnection::new(config, name).map_err(|error| failed(error.to_string()))
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::ring::default_provider())))
}

/// The configuration without certs.d is made once: reading the system's roots takes milliseconds.
fn config(directories: &[PathBuf], verify: bool) -> Result<Arc<ClientConfig>> {
    static USUAL: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let extra = Certificates::read(directories)?;
    if extra.is_empty() && verify {
        if let Some(usual) = USUAL.get() {
            return Ok(Arc::clone(usual));
        }
        let made = make(extra, true)?;
        return Ok(Arc::clone(USUAL.get_or_init(|| made)));
    }
    make(extra, verify)
}

fn make(extra: Certificates, verify: bool) -> Result<Arc<ClientConfig>> {
    let failed = |error: rustls::Error| {
        Error::new(Kind::Unsupported, Step::Connect).object_is("TLS").reason_is(error.to_string())
    };
    let builder =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(failed)?;
    let check = if verify {
        let mut roots = RootCertStore::empty();
        // A system without roots is fine as long as certs.d has the one that is needed; the handshake tells.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for authority in &extra.authorities {
            roots.add(authority.clone()).map_err(failed)?;
        }
        match WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build() {
            Ok(verifier) => Check::Roots(verifier),
            // There is not one root.
            Err(_) => Check::Nothing,
        }
    } else {
        Check::Anything
    };
    let verifier = Verifier { check, pinned: extra.authorities };
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match extra.identity {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(failed)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// What a directory of certs.d holds: `*.crt` are authorities, `NAME.cert` and `NAME.key` our own identity.
#[derive(Default)]
struct Certificates {
    authorities: Vec<CertificateDer<'static>>,
    identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl Certificates {
    fn is_empty(&self) -> bool {
        self.authorities.is_empty() && self.identity.is_none()
    }

    fn read(directories: &[PathBuf]) -> Result<Self> {
        let mut found = Self::default();
        for directory in directories {
            let entries = match std::fs::read_dir(directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(Error::io(Step::ReadConfig, &error).object_is(directory.display().to_string()));
                }
            };
            let mut paths: Vec<_> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
            paths.sort();
            for path in paths {
                match path.extension().and_then(|ending| ending.to_str()) {
                    Some("crt") => found.authorities.extend(certificates(&path)?),
                    Some("cert") => found.identity = Some((certificates(&path)?, key(&path.with_extension("key"))?)),
                    _ => {}
                }
            }
        }
        Ok(found)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let failed = |reason: String| {
        Error::new(Kind::InvalidContent, Step::ReadConfig).object_is(path.display().to_string()).reason_is(reason)
    };
    let found = CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))?;
    found.collect::<std::result::Result<_, _>>().map_err(|error| failed(error.to_string()))
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| {
        let error = Error::new(Kind::InvalidContent, Step::ReadConfig).reason_is(error.to_string());
        error.object_is(path.display().to_string()).hint_is("a .cert of certs.d needs its .key beside it")
    })
}

/// Which certificates are taken.
#[derive(Debug)]
enum Check {
    /// Those that a root vouches for.
    Roots(Arc<WebPkiServerVerifier>),
    /// Any; signatures are checked all the same.
    Anything,
    /// None but those of certs.d.
    Nothing,
}

/// Looks at a certificate: by rustls, unless the host was called insecure.
#[derive(Debug)]
struct Verifier {
    check: Check,
    /// The certificates of certs.d for this host.
    pinned: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let verified = match &self.check {
            Check::Anything => return Ok(ServerCertVerified::assertion()),
            Check::Roots(roots) => roots.verify_server_cert(certificate, chain, name, ocsp, now),
            Check::Nothing => Err(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer)),
        };
        match verified {
            // `openssl req -x509` makes authorities of themselves, which rustls takes for no server's. One that lies in
            // certs.d, byte for byte, is meant for this host.
            Err(rustls::Error::InvalidCertificate(_)) if self.pinned.iter().any(|pinned| pinned == certificate) => {
                Ok(ServerCertVerified::assertion())
            }
            done => done,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
