//! The terminal of the live view: taken, drawn on, and given back whatever happens.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::watch;

use super::snapshot::Snapshot;
use super::view;

/// Ten pictures a second: smooth for the eye, nothing for the machine.
const FRAME: Duration = Duration::from_millis(100);

/// Draws on the terminal from a thread of its own until it is closed or dropped. The terminal is
/// restored then, and on a panic of any thread.
#[derive(Debug)]
pub struct LiveView {
    shared: Arc<Shared>,
    closed: watch::Receiver<bool>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    snapshot: Mutex<Snapshot>,
    stop: AtomicBool,
}

impl LiveView {
    /// Takes the terminal: alternate screen, raw mode.
    ///
    /// # Errors
    /// Standard output is no terminal that can be taken.
    pub fn start(snapshot: Snapshot) -> io::Result<Self> {
        let terminal = ratatui::try_init().inspect_err(|_| give_back())?;
        let snapshot = Mutex::new(snapshot);
        let shared = Arc::new(Shared { snapshot, stop: AtomicBool::new(false) });
        stop_on_panic(shared.clone());
        let (sender, closed) = watch::channel(false);
        let drawing = shared.clone();
        let thread = std::thread::Builder::new()
            .name("view".to_owned())
            .spawn(move || {
                let ended = drawing.draw(terminal);
                give_back();
                // An error means that nobody waits.
                let _ = sender.send(true);
                ended
            })
            .inspect_err(|_| give_back())?;
        Ok(Self { shared, closed, thread: Some(thread) })
    }

    /// Changes what is shown.
    pub fn change(&self, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.shared.snapshot.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Resolves when a person closes the view (`q`, Escape, Ctrl-C) or the terminal is gone.
    pub async fn closed(&self) {
        // An error means that the thread is gone, and the view with it.
        let _ = self.closed.clone().wait_for(|closed| *closed).await;
    }

    /// Gives the terminal back.
    ///
    /// # Errors
    /// The terminal broke while it was drawn on.
    pub fn close(mut self) -> io::Result<()> {
        self.stop()
    }

    fn stop(&mut self) -> io::Result<()> {
        self.shared.stop.store(true, Ordering::Release);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(ended)) => ended,
            // A panic has been told by the hook, which gave the terminal back before.
            Some(Err(_)) | None => Ok(()),
        }
    }
}

impl Drop for LiveView {
    fn drop(&mut self) {
        // Who drops it does not want to know; `close` tells.
        let _ = self.stop();
    }
}

impl Shared {
    fn draw(&self, mut terminal: DefaultTerminal) -> io::Result<()> {
        let began = Instant::now();
        while !self.stop.load(Ordering::Acquire) {
            let mut snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone();
            // Time goes on between events, too.
            snapshot.elapsed = snapshot.elapsed.max(began.elapsed());
            terminal.draw(|frame| view::draw(frame, &snapshot))?;
            if event::poll(FRAME)? && is_quit(&event::read()?) {
                break;
            }
        }
        Ok(())
    }
}

/// A panic of any thread gives the terminal back and is told on it: nothing may be drawn over it.
fn stop_on_panic(shared: Arc<Shared>) {
    let next = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        shared.stop.store(true, Ordering::Release);
        next(panic);
    }));
}

fn give_back() {
    // When the terminal is gone there is nothing to give back.
    let _ = ratatui::try_restore();
}

fn is_quit(event: &Event) -> bool {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else {
        return false;
    };
    match code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        KeyCode::Char('c') => modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_escape_and_ctrl_c_close_the_view() {
        let key = |code, modifiers| Event::Key(KeyEvent::new(code, modifiers));
        assert!(is_quit(&key(KeyCode::Char('q'), KeyModifiers::NONE)));
        assert!(is_quit(&key(KeyCode::Esc, KeyModifiers::NONE)));
        assert!(is_quit(&key(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(!is_quit(&key(KeyCode::Char('c'), KeyModifiers::NONE)));
        assert!(!is_quit(&Event::Resize(80, 24)));
    }
}
