//! Running a client while telling people that it still works.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// How often a line is printed while something goes on.
const EVERY: Duration = Duration::from_secs(10);

/// How much of a log's end is shown when its command failed.
const TAIL: u64 = 4_000;

/// How often a command is tried whose failure looks like the network's.
const TRIES: u32 = 3;

/// Tells people what goes on.
#[derive(Debug)]
pub(super) struct Teller {
    subject: String,
    /// Such as ` (3 of 9)`.
    place: String,
    began: Instant,
    told: Instant,
}

impl Default for Teller {
    fn default() -> Self {
        Self::about("", "")
    }
}

impl Teller {
    /// A teller whose lines begin with the subject and end with its place among all.
    pub(super) fn about(subject: &str, place: &str) -> Self {
        let subject = if subject.is_empty() { String::new() } else { format!("{subject}: ") };
        let place = if place.is_empty() { String::new() } else { format!(" ({place})") };
        Self { subject, place, began: Instant::now(), told: Instant::now() }
    }

    /// Prints a line.
    pub(super) fn say(&mut self, what: &str) {
        println!("components: {}{what}{}", self.subject, self.place);
        self.told = Instant::now();
    }

    /// Prints a line if the last one is long ago.
    pub(super) fn still(&mut self, what: &str) {
        if self.told.elapsed() >= EVERY {
            let seconds = self.began.elapsed().as_secs();
            self.say(&format!("{what} for {seconds} s"));
        }
    }

    /// Seconds since this teller was made.
    pub(super) fn seconds(&self) -> u64 {
        self.began.elapsed().as_secs()
    }
}

/// Runs a command to its end; what it prints goes to the end of the log.
///
/// A failure that looks like the network's is tried again. The error shows the end of the log.
pub(super) fn to_log(
    mut command: Command,
    what: &str,
    log: &Path,
    teller: &mut Teller,
) -> anyhow::Result<()> {
    for attempt in 1.. {
        let from = fs::metadata(log).map_or(0, |metadata| metadata.len());
        let open = || File::options().create(true).append(true).open(log);
        let out = open().with_context(|| format!("cannot open the log {}", log.display()))?;
        let err = out.try_clone().context("cannot share the log")?;
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
        let status = loop {
            if let Some(status) = child.try_wait().with_context(|| format!("lost {program}"))? {
                break status;
            }
            teller.still(what);
            std::thread::sleep(Duration::from_millis(100));
        };
        if status.success() {
            return Ok(());
        }
        let said = tail(log, from)?;
        if attempt < TRIES && is_network(&said) {
            teller.say(&format!("{what}: the network failed, trying again"));
            std::thread::sleep(Duration::from_secs(2) * attempt);
            continue;
        }
        bail!("{what} failed ({status}); the log {} ends:\n{said}", log.display());
    }
    unreachable!("the loop above has no end")
}

/// Runs a short command and hands back what it prints; nothing if it cannot be run or fails.
pub(super) fn ask(mut command: Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The end of a log, from a position on.
fn tail(log: &Path, from: u64) -> anyhow::Result<String> {
    let context = || format!("cannot read the log {}", log.display());
    let mut file = File::open(log).with_context(context)?;
    let length = file.metadata().with_context(context)?.len();
    file.seek(SeekFrom::Start(from.max(length.saturating_sub(TAIL)))).with_context(context)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).with_context(context)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

/// Whether a client's last words sound like a failure that passes by itself.
pub(super) fn is_network(said: &str) -> bool {
    const SIGNS: [&str; 8] = [
        "dial tcp",
        "i/o timeout",
        "connection reset",
        "TLS handshake",
        "Client.Timeout",
        "unexpected EOF",
        "Temporary failure",
        "Read timed out",
    ];
    SIGNS.iter().any(|sign| said.contains(sign))
}
