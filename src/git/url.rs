//! Where a repository is, checked once, and the credentials that go there and nowhere else.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use reqwest::Url;
use secrecy::SecretString;

/// Why a URL, or credentials with it, are refused. No variant repeats the text: it may hold a
/// password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Nothing there.
    #[error("the URL is empty")]
    Empty,
    /// NUL, line feed or another control character.
    #[error("the URL holds a control character")]
    ControlCharacter,
    /// A leading `-` could be taken for an option.
    #[error("the URL, its host or its path begins with `-`")]
    LeadingDash,
    /// `user@` or `user:password@`: would end up in files, logs and messages.
    #[error("the URL holds a user name or password; give credentials separately")]
    UserInfo,
    /// `?…` or `#…`.
    #[error("the URL holds a query or fragment")]
    QueryOrFragment,
    /// `ssh://…` or `user@host:path`.
    #[error("ssh is not yet supported; use https or a local path")]
    SshNotSupported,
    /// Another scheme.
    #[error("the scheme is not supported; use https or a local path")]
    Scheme,
    /// Not a URL.
    #[error("the URL cannot be parsed")]
    Syntax,
    /// Credentials in clear text over a network.
    #[error("credentials are sent over plain http to the loopback address only; use https")]
    PlainHttpCredentials,
    /// Credentials for a folder of this machine.
    #[error("a local repository takes no credentials")]
    LocalCredentials,
    /// Credentials that belong to another host.
    #[error("the credentials are bound to another host")]
    OtherHost,
}

/// The place of a repository: a folder of this machine, or `http(s)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteUrl(Place);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Local(PathBuf),
    Http(Url),
}

impl RemoteUrl {
    /// A folder of this machine: a bare repository or one with a work tree.
    pub fn local(path: impl Into<PathBuf>) -> Self {
        Self(Place::Local(path.into()))
    }

    /// The folder, when the repository is one of this machine.
    pub fn as_local(&self) -> Option<&Path> {
        match &self.0 {
            Place::Local(path) => Some(path),
            Place::Http(_) => None,
        }
    }

    /// The URL, when it is `http(s)`.
    pub(crate) fn as_http(&self) -> Option<&Url> {
        match &self.0 {
            Place::Local(_) => None,
            Place::Http(url) => Some(url),
        }
    }
}

impl FromStr for RemoteUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.is_empty() {
            return Err(UrlError::Empty);
        }
        if text.chars().any(char::is_control) {
            return Err(UrlError::ControlCharacter);
        }
        if text.starts_with('-') {
            return Err(UrlError::LeadingDash);
        }
        let Some((scheme, _)) = text.split_once("://") else {
            // As Git reads it: a colon before the first slash is `host:path`, which is ssh.
            let before_slash = text.split('/').next().unwrap_or(text);
            if before_slash.contains(':') {
                return Err(UrlError::SshNotSupported);
            }
            return Ok(Self(Place::Local(text.into())));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "http" | "https" => parse_http(text),
            "file" => parse_file(text),
            "ssh" | "git+ssh" | "ssh+git" => Err(UrlError::SshNotSupported),
            _ => Err(UrlError::Scheme),
        }
    }
}

fn parse_http(text: &str) -> Result<RemoteUrl, UrlError> {
    let url = Url::parse(text).map_err(|_| UrlError::Syntax)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError::UserInfo);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(UrlError::QueryOrFragment);
    }
    let host = url.host_str().ok_or(UrlError::Syntax)?;
    let path = url.path();
    if host.starts_with('-') || path.starts_with("/-") {
        return Err(UrlError::LeadingDash);
    }
    // Encoded control characters would come back to life in messages and headers.
    let encoded = path.to_ascii_lowercase();
    if encoded.contains("%0") || encoded.contains("%1") || encoded.contains("%7f") {
        return Err(UrlError::ControlCharacter);
    }
    Ok(RemoteUrl(Place::Http(url)))
}

fn parse_file(text: &str) -> Result<RemoteUrl, UrlError> {
    let url = Url::parse(text).map_err(|_| UrlError::Syntax)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(UrlError::UserInfo);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(UrlError::QueryOrFragment);
    }
    let path = url.to_file_path().map_err(|()| UrlError::Syntax)?;
    if path.as_os_str().as_encoded_bytes().iter().any(u8::is_ascii_control) {
        return Err(UrlError::ControlCharacter);
    }
    Ok(RemoteUrl(Place::Local(path)))
}

impl fmt::Display for RemoteUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Local(path) => path.display().fmt(f),
            Place::Http(url) => url.fmt(f),
        }
    }
}

/// A user name and a password or token, bound to one scheme, host and port.
#[derive(Clone, Debug)]
pub struct Credentials {
    origin: Url,
    username: String,
    password: SecretString,
}

impl Credentials {
    /// Binds credentials to the host of `url`.
    ///
    /// Plain `http` is accepted for the loopback address only: elsewhere the password would cross
    /// a network in clear text.
    pub fn bound_to(
        url: &RemoteUrl,
        username: impl Into<String>,
        password: SecretString,
    ) -> Result<Self, UrlError> {
        let origin = url.as_http().ok_or(UrlError::LocalCredentials)?;
        if origin.scheme() != "https" && !is_loopback(origin) {
            return Err(UrlError::PlainHttpCredentials);
        }
        Ok(Self { origin: origin.clone(), username: username.into(), password })
    }

    /// Whether these may be sent to `url`.
    pub(crate) fn belong_to(&self, url: &Url) -> bool {
        self.origin.scheme() == url.scheme()
            && self.origin.host_str() == url.host_str()
            && self.origin.port_or_known_default() == url.port_or_known_default()
    }

    /// The user name.
    pub(crate) fn username(&self) -> &str {
        &self.username
    }

    /// The password or token.
    pub(crate) fn password(&self) -> &SecretString {
        &self.password
    }
}

/// Whether a URL names this machine itself.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_accepted_or_refused_with_a_reason() {
        let table: &[(&str, Result<&str, UrlError>)] = &[
            (
                "https://git.example.com/shop/fleet.git",
                Ok("https://git.example.com/shop/fleet.git"),
            ),
            ("HTTPS://Git.Example.com/x", Ok("https://git.example.com/x")),
            ("http://127.0.0.1:8080/x", Ok("http://127.0.0.1:8080/x")),
            ("/srv/fleet.git", Ok("/srv/fleet.git")),
            ("fleet.git", Ok("fleet.git")),
            ("./a:b", Ok("./a:b")),
            ("file:///srv/fleet.git", Ok("/srv/fleet.git")),
            ("", Err(UrlError::Empty)),
            ("-upload-pack=x", Err(UrlError::LeadingDash)),
            ("https://-x/y", Err(UrlError::LeadingDash)),
            ("https://h/-y", Err(UrlError::LeadingDash)),
            ("https://h/a\nb", Err(UrlError::ControlCharacter)),
            ("https://h/a\0b", Err(UrlError::ControlCharacter)),
            ("https://h/a%0Ab", Err(UrlError::ControlCharacter)),
            ("file:///a%00b", Err(UrlError::ControlCharacter)),
            ("https://bot@h/x", Err(UrlError::UserInfo)),
            ("https://bot:s3cret@h/x", Err(UrlError::UserInfo)),
            ("https://h/x?y", Err(UrlError::QueryOrFragment)),
            ("ssh://git@h/x", Err(UrlError::SshNotSupported)),
            ("git@github.com:o/r.git", Err(UrlError::SshNotSupported)),
            ("git://h/x", Err(UrlError::Scheme)),
            ("ext::sh -c id", Err(UrlError::SshNotSupported)),
            ("https://", Err(UrlError::Syntax)),
        ];
        for (text, want) in table {
            let got = text.parse::<RemoteUrl>().map(|u| u.to_string());
            assert_eq!(got, want.map(str::to_owned), "{text:?}");
        }
    }

    #[test]
    fn credentials_stay_with_their_host_and_off_plain_networks() {
        let url = |t: &str| t.parse::<RemoteUrl>().unwrap();
        let bind = |t: &str| Credentials::bound_to(&url(t), "bot", "s3cret".into());
        assert_eq!(bind("http://git.example.com/x").unwrap_err(), UrlError::PlainHttpCredentials);
        assert_eq!(bind("/srv/x").unwrap_err(), UrlError::LocalCredentials);
        for loopback in ["http://127.0.0.1:1/x", "http://localhost/x", "http://[::1]/x"] {
            assert!(bind(loopback).is_ok(), "{loopback}");
        }
        let bound = bind("https://git.example.com/x").unwrap();
        let belongs = |t: &str| bound.belong_to(url(t).as_http().unwrap());
        assert!(belongs("https://git.example.com:443/other"));
        assert!(!belongs("https://git.example.com:8443/x"));
        assert!(!belongs("http://git.example.com/x"));
        assert!(!belongs("https://evil.example.com/x"));
        assert!(!format!("{bound:?}").contains("s3cret"));
    }
}
