//! Images: a name that stands for a program of this machine. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The program behind an image.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// What runs, unless the container names a `command`.
    pub program: PathBuf,
    /// Arguments before those of the container; left out when it names a `command`.
    pub arguments: Vec<String>,
    /// Variables that every container of the image gets; the container's own win.
    pub env: BTreeMap<String, String>,
}

/// What a pull came to.
#[derive(Clone, Debug)]
pub(super) enum Pull<'a> {
    /// The image is there.
    Found(&'a Image),
    /// The image is there, behind a slow registry.
    Slow(&'a Image),
    /// The registry refused; the message of `ErrImagePull`.
    Refused(String),
}

/// The name without tag and digest.
pub(super) fn name(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        // A colon before a slash belongs to the registry's port.
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

/// The tag; `latest` where there is none.
pub(super) fn tag(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    image[name(image).len()..].strip_prefix(':').unwrap_or("latest")
}

/// Looks an image up: by its whole name, else by the last part of it. A name that begins with
/// `busy/` is refused with the answer of a registry that limits its rate; one that begins with
/// `slow/` is found late.
pub(super) fn pull<'a>(images: &'a BTreeMap<String, Image>, image: &str) -> Pull<'a> {
    let full = full_reference(image);
    let failed = |cause: String| format!("failed to pull and unpack image \"{full}\": {cause}");
    if image.starts_with("busy/") {
        return Pull::Refused(failed(format!(
            "failed to resolve reference \"{full}\": unexpected status code 429 Too Many \
             Requests - Server message: toomanyrequests: You have reached your pull rate limit."
        )));
    }
    let (slow, wanted) = match image.strip_prefix("slow/") {
        Some(rest) => (true, name(rest)),
        None => (false, name(image)),
    };
    let last = wanted.rsplit('/').next().unwrap_or(wanted);
    match images.get(wanted).or_else(|| images.get(last)) {
        Some(found) if slow => Pull::Slow(found),
        Some(found) => Pull::Found(found),
        None => Pull::Refused(format!(
            "rpc error: code = NotFound desc = {}",
            failed(format!("failed to resolve reference \"{full}\": {full}: not found"))
        )),
    }
}

/// The reference with registry and tag, as a container runtime completes it.
fn full_reference(image: &str) -> String {
    let host = image.split('/').next().unwrap_or_default();
    let registry = image.contains('/') && (host.contains(['.', ':']) || host == "localhost");
    let prefix = match (registry, image.contains('/')) {
        (true, _) => "",
        (false, true) => "docker.io/",
        (false, false) => "docker.io/library/",
    };
    let bare = name(image).len() == image.len();
    format!("{prefix}{image}{}", if bare { ":latest" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_just_a_tag() {
        assert_eq!((name("app:1.2"), tag("app:1.2")), ("app", "1.2"));
        assert_eq!((name("app"), tag("app")), ("app", "latest"));
        let full = "registry:5000/team/app:2@sha256:00";
        assert_eq!((name(full), tag(full)), ("registry:5000/team/app", "2"));
        assert_eq!(
            (name("registry:5000/app"), tag("registry:5000/app")),
            ("registry:5000/app", "latest")
        );
    }

    #[test]
    fn an_image_is_found_by_its_whole_name_or_the_last_part() {
        let images = BTreeMap::from([("app".to_owned(), Image::default())]);
        assert!(matches!(pull(&images, "app:1"), Pull::Found(_)));
        assert!(matches!(pull(&images, "registry.example.com/team/app:1"), Pull::Found(_)));
        assert!(matches!(pull(&images, "slow/app:1"), Pull::Slow(_)));
    }

    #[test]
    fn refusals_read_as_those_of_a_registry() {
        let images = BTreeMap::new();
        let Pull::Refused(message) = pull(&images, "absent") else { panic!("absent is found") };
        assert_eq!(
            message,
            "rpc error: code = NotFound desc = failed to pull and unpack image \
             \"docker.io/library/absent:latest\": failed to resolve reference \
             \"docker.io/library/absent:latest\": docker.io/library/absent:latest: not found"
        );
        let Pull::Refused(message) = pull(&images, "busy/app:1") else { panic!("busy is found") };
        assert!(message.contains("429") && message.contains("toomanyrequests"), "{message}");
    }
}
