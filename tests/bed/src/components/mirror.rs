//! Pinned files from a place of the user's, for hosts that lack a client or the network.

use std::env;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::blocking::Client;

use super::recipe::Pinned;
use super::run::Teller;
use super::unpack;

/// Names a folder, or an address that ends in `/`, in which pinned files lie under their names.
pub(super) const VARIABLE: &str = "TIDEGATE_TESTBED_MIRROR";

/// How often a download is tried.
const TRIES: u32 = 3;

/// Looks for a pinned file in the user's mirror; none if there is no mirror or it lacks the file.
pub(super) fn find(
    pinned: &Pinned,
    work: &Path,
    teller: &mut Teller,
) -> anyhow::Result<Option<PathBuf>> {
    match env::var(VARIABLE) {
        Ok(mirror) if !mirror.is_empty() => look(&mirror, pinned, work, teller),
        _ => Ok(None),
    }
}

pub(super) fn look(
    mirror: &str,
    pinned: &Pinned,
    work: &Path,
    teller: &mut Teller,
) -> anyhow::Result<Option<PathBuf>> {
    let file = if mirror.starts_with("http://") || mirror.starts_with("https://") {
        let address = format!("{}/{}", mirror.trim_end_matches('/'), pinned.name);
        let file = work.join(pinned.name);
        if !download(&address, &file, teller)? {
            return Ok(None);
        }
        file
    } else {
        Path::new(mirror).join(pinned.name)
    };
    if !file.is_file() {
        return Ok(None);
    }
    unpack::check(&file, pinned)?;
    Ok(Some(file))
}

/// Downloads a file; false if the server says that it has none.
fn download(address: &str, to: &Path, teller: &mut Teller) -> anyhow::Result<bool> {
    static TLS: Once = Once::new();
    TLS.call_once(|| {
        // The only failure is that another part of the process was first, with the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let client = Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .timeout(Duration::from_mins(10))
        .build()
        .context("cannot set up HTTP")?;
    let mut last = None;
    for attempt in 1..=TRIES {
        match fetch(&client, address, to, teller) {
            Ok(found) => return Ok(found),
            Err(error) => last = Some(error),
        }
        if attempt < TRIES {
            teller.say(&format!("{address} failed, trying again"));
            std::thread::sleep(Duration::from_millis(500) * attempt);
        }
    }
    let error = last.unwrap_or_else(|| anyhow::anyhow!("never tried"));
    Err(error.context(format!("cannot download {address}, {TRIES} times tried")))
}

fn fetch(client: &Client, address: &str, to: &Path, teller: &mut Teller) -> anyhow::Result<bool> {
    let mut response = client.get(address).send()?;
    if response.status() == reqwest::StatusCode::NOT_FOUND {
        return Ok(false);
    }
    if !response.status().is_success() {
        bail!("the server answered {}", response.status());
    }
    let expected = response.content_length();
    let _ = fs::remove_file(to);
    let mut file = File::create(to)?;
    let mut buffer = vec![0; 1 << 16];
    let mut length = 0_u64;
    loop {
        let read = response.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        file.write_all(buffer.get(..read).unwrap_or_default())?;
        length += read as u64;
        teller.still(&format!("downloading {address}, {} MiB so far,", length >> 20));
    }
    match expected {
        Some(expected) if expected != length => {
            bail!("the answer ended after {length} of {expected} bytes")
        }
        _ => Ok(true),
    }
}
