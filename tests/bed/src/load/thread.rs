//! A thread with a runtime of its own: a test that computes or blocks cannot slow what runs here.

use std::future::Future;
use std::thread::JoinHandle;

use anyhow::Context as _;
use tokio::sync::oneshot;

/// Work on its own thread. Dropping it ends the work and waits for the thread.
#[derive(Debug)]
pub(crate) struct OwnThread {
    stop: Option<oneshot::Sender<()>>,
    ended: Option<oneshot::Receiver<()>>,
    thread: Option<JoinHandle<()>>,
}

impl OwnThread {
    /// Runs the work, which is told by the receiver when it is to end: with a value by
    /// [`OwnThread::finish`], with an error (at once, then) by a drop. Tasks that it spawned and
    /// that are still there when it returns are dropped.
    pub(crate) fn start<W>(
        name: &str,
        work: impl FnOnce(oneshot::Receiver<()>) -> W + Send + 'static,
    ) -> anyhow::Result<Self>
    where
        W: Future<Output = ()>,
    {
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .with_context(|| format!("no runtime for the thread `{name}`"))?;
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                runtime.block_on(work(stopped));
                drop(runtime);
                // Nobody may be waiting.
                let _ = end.send(());
            })
            .with_context(|| format!("the thread `{name}` cannot be started"))?;
        Ok(Self { stop: Some(stop), ended: Some(ended), thread: Some(thread) })
    }

    /// Tells the work to end and waits, without blocking, until it has.
    pub(crate) async fn finish(&mut self) {
        if let Some(stop) = self.stop.take() {
            // An error means that the work has ended already.
            let _ = stop.send(());
        }
        if let Some(ended) = self.ended.take() {
            // An error means that the work panicked: it has ended, too.
            let _ = ended.await;
        }
    }
}

impl Drop for OwnThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the work was printed when it happened; a second one in a drop would
            // end the process and hide it.
            let _ = thread.join();
        }
    }
}
