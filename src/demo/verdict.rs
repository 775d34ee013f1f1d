//! What the judge said, for the view and for lines: as often as people can read it.

use chrono::{DateTime, TimeDelta, Utc};
use tidegate_engine::judge::{self, Judgement, MetricView, Verdict};
use tidegate_engine::report::VerdictWord;

use super::report::{Evidence, VerdictView};

/// The judgement for people, every so often while the verdict stays the same; `last` is when one
/// was told before.
pub(super) fn worth_telling(
    judgement: &Judgement,
    last: &mut Option<DateTime<Utc>>,
    now: DateTime<Utc>,
    every: TimeDelta,
) -> Option<VerdictView> {
    let certain = matches!(judgement.verdict, Verdict::Fail(_));
    if !certain && last.is_some_and(|last| now - last < every) {
        return None;
    }
    *last = Some(now);
    let (verdict, message) = words(judgement);
    // The view has room for one metric: the first, errors.
    let first = judgement.metrics.first();
    let evidence = |of: fn(&MetricView) -> Option<judge::Evidence>| {
        let judge::Evidence { log_e, limit } = first.and_then(of)?;
        Some(Evidence { log_e, limit })
    };
    Some(VerdictView {
        verdict: verdict.to_owned(),
        message,
        regression: evidence(|view| view.regression),
        safety: evidence(|view| view.safety),
        guard: evidence(|view| view.guard),
    })
}

/// The verdict in the word that a status has for it, and one line with the numbers.
fn words(judgement: &Judgement) -> (&'static str, String) {
    let first = judgement.metrics.first().map_or_else(String::new, |view| view.text.clone());
    let message = match &judgement.verdict {
        Verdict::Fail(failure) => failure.message.clone(),
        Verdict::Error { message, .. } => message.clone(),
        Verdict::Pass | Verdict::NeedMoreData { .. } | Verdict::Inconclusive { .. } => first,
    };
    (VerdictWord::from(&judgement.verdict).as_str(), message)
}
