//! Waiting for a state of the world by asking for it.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

/// Time between two questions.
const PAUSE: Duration = Duration::from_millis(50);

/// Asks again and again until the probe has a value.
///
/// `Ok(None)` means "not yet", an error "not yet, because"; a probe that hangs counts as asked when
/// the time is over.
///
/// # Errors
/// Fails after `within`, with the last reason.
pub async fn eventually<T>(
    what: &str,
    within: Duration,
    mut probe: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    let mut reason = None;
    loop {
        let left = within.saturating_sub(start.elapsed());
        match tokio::time::timeout(left, probe()).await {
            Ok(Ok(Some(value))) => return Ok(value),
            Ok(Ok(None)) => reason = None,
            Ok(Err(error)) => reason = Some(error),
            // The reason before this question says more than that it took long.
            Err(_) => reason = reason.or_else(|| Some(anyhow!("the last question hangs"))),
        }
        if start.elapsed() + PAUSE >= within {
            let waited = format!("{what}: not after {:.1} s", within.as_secs_f64());
            return Err(match reason {
                Some(reason) => reason.context(waited),
                None => anyhow!(waited),
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(200);

    #[tokio::test]
    async fn the_value_is_returned_as_soon_as_it_is_there() {
        let mut asked = 0;
        let value = eventually("three", Duration::from_mins(1), async || {
            asked += 1;
            Ok((asked == 3).then_some(asked))
        });
        assert_eq!(value.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn the_last_reason_is_told_when_the_time_is_over() {
        let mut asked = 0;
        let never: Result<()> = eventually("a server", SHORT, async || {
            asked += 1;
            Err(anyhow!("refused, {asked}"))
        })
        .await;
        let text = format!("{:#}", never.unwrap_err());
        assert!(text.starts_with("a server: not after 0.2 s: refused, "), "{text}");
        assert!(asked > 1);
        assert!(text.ends_with(&asked.to_string()), "{text}");
    }

    #[tokio::test]
    async fn a_question_that_hangs_ends_with_the_time() {
        let never: Result<()> = eventually("an answer", SHORT, async || {
            std::future::pending::<()>().await;
            Ok(None)
        })
        .await;
        let text = format!("{:#}", never.unwrap_err());
        assert_eq!(text, "an answer: not after 0.2 s: the last question hangs");
    }
}
