//! Keys and certificates of the control plane.

use std::{
    fs,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// Names under which clients reach the API server; the last address is the Service `kubernetes`.
const NAMES: [&str; 6] = [
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "127.0.0.1",
    "10.96.0.1",
];

/// The files, in the form the API server takes.
#[derive(Debug, Clone)]
pub(super) struct Certificates {
    /// The certificate of the authority, PEM.
    pub(super) ca_pem: String,
    pub(super) ca: PathBuf,
    pub(super) server: PathBuf,
    pub(super) server_key: PathBuf,
    /// Signs the tokens of service accounts: ECDSA P-256, PKCS #8.
    pub(super) accounts_key: PathBuf,
    pub(super) accounts_public: PathBuf,
}

impl Certificates {
    /// Makes all of them in `folder`.
    pub(super) fn make(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        authority.distinguished_name.push(DnType::CommonName, "tidegate test bed");
        let authority_key = KeyPair::generate().context("make the key of the authority")?;
        let ca_pem = authority.self_signed(&authority_key).context("sign the authority")?.pem();
        let issuer = Issuer::new(authority, authority_key);

        let mut server = CertificateParams::new(NAMES.map(str::to_owned).to_vec())
            .context("name the API server")?;
        server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let server_key = KeyPair::generate().context("make the key of the API server")?;
        let server_pem = server
            .signed_by(&server_key, &issuer)
            .context("sign the certificate of the API server")?
            .pem();
        let accounts = KeyPair::generate().context("make the key of service accounts")?;

        let public = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
            Ok::<_, anyhow::Error>(path)
        };
        Ok(Self {
            ca: public("ca.crt", &ca_pem)?,
            server: public("api.crt", &server_pem)?,
            server_key: write_secret(&folder.join("api.key"), &server_key.serialize_pem())?,
            accounts_key: write_secret(&folder.join("sa.key"), &accounts.serialize_pem())?,
            accounts_public: public("sa.pub", &accounts.public_key_pem())?,
            ca_pem,
        })
    }
}

/// Writes a file only its owner may read.
pub(super) fn write_secret(path: &Path, text: &str) -> Result<PathBuf> {
    use std::io::Write as _;
    let mut file = fs::File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("write {}", path.display()))?;
    // A file that was there keeps its mode otherwise.
    file.set_permissions(fs::Permissions::from_mode(0o600))
        .and_then(|()| file.write_all(text.as_bytes()))
        .with_context(|| format!("write {}", path.display()))?;
    Ok(path.to_owned())
}
