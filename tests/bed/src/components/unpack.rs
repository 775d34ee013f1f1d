//! Checking files against their pins, and taking archives apart.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::Path;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use super::recipe::Pinned;

/// Fails unless a file has the hash it is known by.
pub(super) fn check(file: &Path, pinned: &Pinned) -> anyhow::Result<()> {
    let found = sha256(file)?;
    if found == pinned.sha256 {
        return Ok(());
    }
    bail!(
        "{} is not the file that is pinned: its sha256 is {found}, expected {}; found at {}",
        pinned.name,
        pinned.sha256,
        file.display()
    );
}

/// The sha256 of a file, in hexadecimal.
pub(super) fn sha256(file: &Path) -> anyhow::Result<String> {
    use std::fmt::Write as _;
    let context = || format!("cannot read {}", file.display());
    let mut reader = File::open(file).with_context(context)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = reader.read(&mut buffer).with_context(context)?;
        if read == 0 {
            break;
        }
        hash.update(buffer.get(..read).unwrap_or_default());
    }
    let mut text = String::new();
    for byte in hash.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// Unpacks one file of a zip archive, or all files of a folder of it (`from` ends in `/`).
///
/// Archives of this kind do not carry permissions: `executable` is asked with each path below
/// `from` (the empty string for a single file).
pub(super) fn zip(
    archive: &Path,
    from: &str,
    to: &Path,
    executable: impl Fn(&str) -> bool,
) -> anyhow::Result<()> {
    let context = || format!("cannot read the archive {}", archive.display());
    let mut zip =
        ZipArchive::new(File::open(archive).with_context(context)?).with_context(context)?;
    let mut found = false;
    for index in 0..zip.len() {
        let mut member = zip.by_index(index).with_context(context)?;
        let name = member.name().to_owned();
        let Some(rest) = name.strip_prefix(from) else { continue };
        if member.is_dir() || (!from.ends_with('/') && !rest.is_empty()) {
            continue;
        }
        if member.enclosed_name().is_none() {
            bail!("the archive {} has a file outside itself: {name}", archive.display());
        }
        let path = if rest.is_empty() { to.to_path_buf() } else { to.join(rest) };
        write(&mut member, &path, executable(rest))
            .with_context(|| format!("cannot unpack {name} of {}", archive.display()))?;
        found = true;
    }
    if !found {
        bail!("the archive {} has no {from}", archive.display());
    }
    Ok(())
}

fn write(from: &mut impl io::Read, to: &Path, executable: bool) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    let mode = if executable { 0o755 } else { 0o644 };
    let mut file = File::options().create_new(true).write(true).mode(mode).open(to)?;
    io::copy(from, &mut file).map(|_| ())
}

/// Copies a file or a folder of a module with all below it.
///
/// Modules are read-only and carry no permissions: the copy may be written to, and scripts (what
/// begins with `#!`) can be run.
pub(super) fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let context = || format!("cannot copy {} to {}", from.display(), to.display());
    if fs::metadata(from).with_context(context)?.is_dir() {
        fs::create_dir_all(to).with_context(context)?;
        for file in fs::read_dir(from).with_context(context)? {
            let file = file.with_context(context)?;
            copy(&file.path(), &to.join(file.file_name()))?;
        }
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(context)?;
    }
    fs::copy(from, to).with_context(context)?;
    let mut start = Vec::new();
    let file = File::open(from).with_context(context)?;
    file.take(2).read_to_end(&mut start).with_context(context)?;
    let mode = if start == b"#!" { 0o755 } else { 0o644 };
    fs::set_permissions(to, fs::Permissions::from_mode(mode)).with_context(context)
}
