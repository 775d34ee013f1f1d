//! The webhook's certificate, as the replicas share it in a Secret. Pure but for random numbers.
//!
//! An authority is made for one certificate alone: its key signs once and is forgotten. The one
//! before stays trusted, so that a replica which still serves its certificate is believed.

use std::collections::BTreeSet;
use std::fmt;

use chrono::{DateTime, Datelike as _, Days, SecondsFormat, Utc};
use k8s_openapi::ByteString;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use super::error::GateError;

/// The Secret that replicas share; `deploy/webhook` brings it, empty.
pub(super) const SECRET: &str = "tidegate-webhook";

/// Days that a certificate is good for.
const GOOD: u64 = 365;
/// Days after which a new one is made: four months are left to notice that it does not work.
const RENEWED: u64 = 240;
/// Clocks that are late by less than this believe a new certificate.
const SLOW: u64 = 1;
/// What begins a certificate in PEM.
const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// A certificate with its key, and the authorities that are trusted.
#[derive(Clone)]
pub(super) struct Identity {
    certificate: String,
    key: SecretString,
    /// In PEM, the newest first.
    pub(super) authorities: String,
    issued: DateTime<Utc>,
    names: BTreeSet<String>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Identity");
        debug.field("names", &self.names).field("issued", &self.issued).finish_non_exhaustive()
    }
}

impl Identity {
    /// A new one for these names, after the one that was there before.
    pub(super) fn make(
        names: &BTreeSet<String>,
        before: Option<&Self>,
        now: DateTime<Utc>,
    ) -> Result<Self, GateError> {
        let made = issue(names, now);
        let (certificate, key, authority) = made.map_err(|source| GateError::Certificate {
            names: names.iter().cloned().collect::<Vec<_>>().join(", "),
            source,
        })?;
        // More than two would only grow.
        let old = before.and_then(|before| before.authorities.split(BEGIN).nth(1));
        let old = old.map(|rest| format!("{BEGIN}{rest}")).unwrap_or_default();
        Ok(Self {
            certificate,
            key,
            authorities: format!("{authority}{old}"),
            issued: now,
            names: names.clone(),
        })
    }

    /// The one in a Secret. `None`: there is none, or none that can be read.
    pub(super) fn read(secret: &Value) -> Option<Self> {
        let text = |key: &str| {
            let encoded = secret.get("data")?.get(key)?.clone();
            let bytes: ByteString = serde_json::from_value(encoded).ok()?;
            String::from_utf8(bytes.0).ok()
        };
        Some(Self {
            certificate: text("tls.crt")?,
            key: SecretString::from(text("tls.key")?),
            authorities: text("ca.crt")?,
            issued: DateTime::parse_from_rfc3339(&text("issued")?).ok()?.to_utc(),
            names: text("names")?.split(',').map(str::to_owned).collect(),
        })
    }

    /// What the Secret holds of it.
    pub(super) fn data(&self) -> Value {
        let names = self.names.iter().cloned().collect::<Vec<_>>().join(",");
        let issued = self.issued.to_rfc3339_opts(SecondsFormat::Secs, true);
        let encoded = |text: &str| json!(ByteString(text.as_bytes().to_vec()));
        json!({
            "tls.crt": encoded(&self.certificate),
            "tls.key": encoded(self.key.expose_secret()),
            "ca.crt": encoded(&self.authorities),
            "issued": encoded(&issued),
            "names": encoded(&names),
        })
    }

    /// It is believed for these names, for some while yet.
    pub(super) fn is_good(&self, names: &BTreeSet<String>, now: DateTime<Utc>) -> bool {
        let renewed = self.issued.checked_add_days(Days::new(RENEWED));
        let is_young = self.issued <= now && renewed.is_some_and(|renewed| now < renewed);
        is_young && names.is_subset(&self.names) && self.server().is_ok()
    }

    /// How it is served.
    pub(super) fn server(&self) -> Result<ServerConfig, GateError> {
        let failed = |source| GateError::Unusable { name: SECRET, source };
        let unread = |what: &str| failed(rustls::Error::General(what.to_owned()));
        let chain = CertificateDer::pem_slice_iter(self.certificate.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(|_| unread("not PEM"))?;
        let key = PrivateKeyDer::from_pem_slice(self.key.expose_secret().as_bytes());
        let key = key.map_err(|_| unread("the key is not PEM"))?;
        ServerConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(failed)
    }
}

/// A certificate, its key, and its authority.
fn issue(
    names: &BTreeSet<String>,
    now: DateTime<Utc>,
) -> Result<(String, SecretString, String), rcgen::Error> {
    let mut authority = params(Vec::new(), now)?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    let date = now.format("%Y-%m-%d");
    authority.distinguished_name.push(DnType::CommonName, format!("tidegate webhook {date}"));
    let authority_key = KeyPair::generate()?;
    let trusted = authority.self_signed(&authority_key)?.pem();

    let mut server = params(names.iter().cloned().collect(), now)?;
    server.distinguished_name.push(DnType::CommonName, "tidegate-webhook");
    server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let issuer = Issuer::new(authority, authority_key);
    let certificate = server.signed_by(&key, &issuer)?.pem();
    Ok((certificate, SecretString::from(key.serialize_pem()), trusted))
}

fn params(names: Vec<String>, now: DateTime<Utc>) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    let day = |at: Option<DateTime<Utc>>| {
        let at = at.unwrap_or(now);
        let [month, day] = [at.month(), at.day()].map(|part| u8::try_from(part).unwrap_or(1));
        date_time_ymd(at.year(), month, day)
    };
    params.not_before = day(now.checked_sub_days(Days::new(SLOW)));
    params.not_after = day(now.checked_add_days(Days::new(GOOD)));
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_the_key_is_never_shown() {
        let (names, now) = (names(&["a.b.svc", "127.0.0.1"]), at("2026-02-28T12:00:00Z"));
        let made = Identity::make(&names, None, now).unwrap();
        let read = Identity::read(&json!({"data": made.data()})).unwrap();
        assert!(read.is_good(&names, now));
        assert_eq!(read.authorities, made.authorities);
        assert!(!format!("{read:?}").contains("PRIVATE"));
        assert!(read.key.expose_secret().contains("PRIVATE"));
        assert!(Identity::read(&json!({"type": "Opaque"})).is_none());
    }

    #[test]
    fn it_is_renewed_in_time_for_other_names_and_when_it_cannot_serve() {
        let (one, now) = (names(&["a.b.svc"]), at("2026-01-01T00:00:00Z"));
        let made = Identity::make(&one, None, now).unwrap();
        assert!(made.is_good(&one, at("2026-08-28T00:00:00Z")));
        assert!(!made.is_good(&one, at("2026-08-29T00:00:00Z")));
        assert!(!made.is_good(&one, at("2025-12-31T00:00:00Z")), "from the future");
        assert!(!made.is_good(&names(&["a.b.svc", "c"]), now));
        let other = Identity::make(&one, None, now).unwrap();
        let mixed = Identity { key: other.key, ..made };
        assert!(!mixed.is_good(&one, now), "another's key");
    }

    #[test]
    fn the_authority_before_stays_trusted_and_no_older_one() {
        let one = names(&["a.b.svc"]);
        let mut last = Identity::make(&one, None, at("2026-01-01T00:00:00Z")).unwrap();
        for month in 1..=4 {
            let now = at(&format!("2026-0{month}-02T00:00:00Z"));
            let next = Identity::make(&one, Some(&last), now).unwrap();
            let blocks: Vec<_> = next.authorities.split(BEGIN).skip(1).collect();
            assert_eq!(blocks.len(), 2);
            let before = last.authorities.split(BEGIN).nth(1);
            assert_eq!(Some(blocks[1]), before);
            last = next;
        }
    }
}
