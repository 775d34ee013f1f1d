//! The end of the process, as the system asks for it.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Becomes true with the first SIGTERM or SIGINT. A second one ends the process as it is.
pub(super) fn stop() -> std::io::Result<watch::Receiver<bool>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (say, said) = watch::channel(false);
    tokio::spawn(async move {
        let mut again = false;
        loop {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            if again {
                std::process::exit(1);
            }
            again = true;
            tracing::info!("stops");
            let _ = say.send(true);
        }
    });
    Ok(said)
}
