//! Metrics of templates to criteria for the judge and queries for the sources.

use tidegate_api as api;
use tidegate_engine::defaults;
use tidegate_engine::judge::{
    Criterion, HardLimit, Kind, Margin, Op, PassMargin, Ratio, Threshold,
};

use super::arguments::{AT_QUERY, Arguments, Unfilled};
use super::invalid::{Fault, FieldPath, Told, quoted};
use super::promql::{NoQuery, Selector, expression};
use super::query::{CounterQuery, Query, ScalarQuery, Second, bucket};
use super::units;

/// A metric, ready for the judge and for its source.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ready {
    pub(crate) criterion: Criterion,
    pub(crate) query: Query,
}

/// A metric that stands at `at`, with its arguments filled in. No fault and no metric: nothing is
/// wrong, but an argument is not known yet.
pub(crate) fn ready(
    metric: &api::Metric,
    arguments: &Arguments,
    at: &FieldPath,
) -> Result<Ready, Vec<Fault>> {
    let mut reader = Reader { arguments, faults: Vec::new() };
    let made = match (&metric.ratio, &metric.latency, &metric.threshold) {
        (Some(ratio), None, None) => reader.ratio(ratio, metric.by, &at.field("ratio")),
        (None, Some(latency), None) => reader.latency(latency, metric.by, &at.field("latency")),
        (None, None, Some(threshold)) => reader.threshold(threshold, &at.field("threshold")),
        (ratio, latency, threshold) => {
            let given = [
                ratio.as_ref().map(|_| "ratio"),
                latency.as_ref().map(|_| "latency"),
                threshold.as_ref().map(|_| "threshold"),
            ];
            let given: Vec<_> = given.into_iter().flatten().collect();
            let found = if given.is_empty() { "none".to_owned() } else { given.join(" and ") };
            reader.faults.push(Fault::new(
                at,
                found,
                "exactly one of ratio, latency and threshold",
            ));
            None
        }
    };
    match made {
        Some((kind, query)) if reader.faults.is_empty() => {
            let criterion = Criterion { name: metric.name.to_string(), weight: None, kind };
            Ok(Ready { criterion, query })
        }
        _ => Err(reader.faults),
    }
}

/// Reads fields and remembers what is wrong with them. `None` comes with a fault, unless it is for
/// an argument that is not known yet.
struct Reader<'a> {
    arguments: &'a Arguments,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn ratio(
        &mut self,
        ratio: &api::Ratio,
        by: api::MeasuredBy,
        at: &FieldPath,
    ) -> Option<(Kind, Query)> {
        let total = self.selector(&ratio.total, by, &at.field("total"));
        let bad = self.selector(&ratio.bad, by, &at.field("bad"));
        let standard = Ratio::ERRORS;
        let slo = self.slo(ratio.slo.as_ref(), &at.field("slo"));
        let pass = PassMargin::Auto { slo: slo.ok()? };
        let kind = self.comparison(
            &Asked {
                fail: ratio.fail_if_worse_than.as_ref(),
                pass: ratio.pass_if_not_worse_than.as_ref(),
                guard: ratio.hard_limit.as_ref(),
            },
            Ratio { pass, ..standard },
            at,
        )?;
        let second = Second::Bad(bad?);
        let counters = CounterQuery { by, total: total?, second, slower_than: None };
        Some((kind, Query::Counters(counters)))
    }

    fn latency(
        &mut self,
        latency: &api::Latency,
        by: api::MeasuredBy,
        at: &FieldPath,
    ) -> Option<(Kind, Query)> {
        let histogram = self.selector(&latency.histogram, by, &at.field("histogram"));
        let bound = self.bound(latency, &at.field("slo"));
        let kind = self.comparison(
            &Asked {
                fail: latency.fail_if_worse_than.as_ref(),
                pass: latency.pass_if_not_worse_than.as_ref(),
                guard: latency.hard_limit.as_ref(),
            },
            Ratio::SLOW,
            at,
        )?;
        let histogram = histogram?;
        if histogram.name().ends_with("_bucket") {
            let expected = "the histogram without _bucket";
            let at = at.field("histogram");
            self.faults.push(Fault::new(&at, quoted(histogram.name()), expected));
            return None;
        }
        let bound = bound?;
        let fast = histogram.ending("_bucket").with("le", "=~", &bucket(bound));
        let total = histogram.ending("_count");
        let slower_than = Some(match latency.unit {
            api::TimeUnit::Seconds => bound,
            api::TimeUnit::Milliseconds => bound / 1000.0,
        });
        let counters = CounterQuery { by, total, second: Second::Fast(fast), slower_than };
        Some((kind, Query::Counters(counters)))
    }

    fn threshold(&mut self, threshold: &api::Threshold, at: &FieldPath) -> Option<(Kind, Query)> {
        let text = self.promql(&threshold.query, &at.field("query"));
        let limit_at = at.field("limit");
        let limit = self.filled(threshold.limit.as_str(), &limit_at)?;
        let form = "a number such as \"0.5\"";
        let number =
            self.known(units::number(&limit), threshold.limit.as_str(), form, &limit_at)?;
        let op = match threshold.op {
            api::Comparison::Below => Op::Below,
            api::Comparison::AtMost => Op::AtMost,
            api::Comparison::Above => Op::Above,
            api::Comparison::AtLeast => Op::AtLeast,
        };
        let count = |given: Option<u32>, default| given.map_or(default, |given| given as usize);
        let failures = count(threshold.failures, defaults::THRESHOLD_FAILURES);
        let of = count(threshold.of, defaults::THRESHOLD_OF);
        let samples = count(threshold.min_samples, defaults::THRESHOLD_SAMPLES);
        let Ok(threshold) = Threshold::new(op, number, failures, of, samples) else {
            let expected = format!("1 to {of}, the number of samples looked at");
            self.faults.push(Fault::new(&at.field("failures"), failures.to_string(), expected));
            return None;
        };
        Some((Kind::Threshold(threshold), Query::Scalar(ScalarQuery::new(text?))))
    }

    /// Margins and limit, the given ones instead of the standard's.
    fn comparison(&mut self, asked: &Asked<'_>, standard: Ratio, at: &FieldPath) -> Option<Kind> {
        let fail = match asked.fail {
            Some(margin) => self.margin(margin, &at.field("failIfWorseThan"))?,
            None => standard.fail,
        };
        let pass_at = at.field("passIfNotWorseThan");
        let pass = match asked.pass {
            Some(margin) => PassMargin::Fixed(self.margin(margin, &pass_at)?),
            None => standard.pass,
        };
        let guard = match asked.guard {
            Some(text) => Some(self.hard_limit(text, &at.field("hardLimit"))?),
            None => standard.guard,
        };
        Some(Kind::Ratio(Ratio { fail, pass, guard }))
    }

    fn margin(&mut self, margin: &api::Margin, at: &FieldPath) -> Option<Margin> {
        if margin.relative.is_none() && margin.absolute.is_none() {
            self.faults.push(Fault::new(at, "nothing", "relative, absolute or both"));
            return None;
        }
        let relative = match &margin.relative {
            Some(text) => self.fraction(text.as_str(), &at.field("relative"))?,
            None => 0.0,
        };
        let absolute = match &margin.absolute {
            Some(text) => {
                let at = at.field("absolute");
                let filled = self.filled(text.as_str(), &at)?;
                let points = units::points(&filled);
                self.known(points, text.as_str(), "percentage points such as 0.5pp", &at)?
            }
            None => 0.0,
        };
        // The engine's margin is a factor on stable's rate: 50 % worse is 1.5 times.
        match Margin::new(1.0 + relative, absolute) {
            Ok(margin) => Some(margin),
            Err(error) => {
                self.faults.push(Fault::new(at, error.to_string(), "a smaller margin"));
                None
            }
        }
    }

    fn hard_limit(&mut self, text: &api::FractionOrArgument, at: &FieldPath) -> Option<HardLimit> {
        let rate = self.fraction(text.as_str(), at)?;
        let limit = HardLimit::new(rate, defaults::HARD_TIMES).ok();
        self.known(limit, text.as_str(), "0.01% to 80%", at)
    }

    /// `None`: none is given.
    fn slo(
        &mut self,
        text: Option<&api::FractionOrArgument>,
        at: &FieldPath,
    ) -> Result<Option<f64>, Told> {
        let Some(text) = text else { return Ok(None) };
        let slo = self.fraction(text.as_str(), at).ok_or(Told)?;
        let slo = Some(slo).filter(|slo| *slo > 0.0 && *slo < 1.0);
        self.known(slo, text.as_str(), "a share above 0% and below 100%, such as 99.9%", at)
            .map(Some)
            .ok_or(Told)
    }

    fn bound(&mut self, latency: &api::Latency, at: &FieldPath) -> Option<f64> {
        let filled = self.filled(latency.slo.as_str(), at)?;
        let milliseconds = units::duration(&filled)
            .map(|slo| slo.num_milliseconds() as f64)
            .filter(|milliseconds| *milliseconds > 0.0);
        let milliseconds = self.known(
            milliseconds,
            latency.slo.as_str(),
            "a time span above 0s, such as 500ms",
            at,
        )?;
        Some(match latency.unit {
            api::TimeUnit::Seconds => milliseconds / 1000.0,
            api::TimeUnit::Milliseconds => milliseconds,
        })
    }

    fn fraction(&mut self, text: &str, at: &FieldPath) -> Option<f64> {
        let filled = self.filled(text, at)?;
        self.known(units::fraction(&filled), text, "a share such as 5%, at most 100%", at)
    }

    fn selector(
        &mut self,
        text: &api::PromQl,
        by: api::MeasuredBy,
        at: &FieldPath,
    ) -> Option<Selector> {
        let filled = self.promql(text, at)?;
        let selector = match Selector::parse(&filled) {
            Ok(selector) => selector,
            Err(error) => {
                self.no_query(error, at);
                return None;
            }
        };
        if by == api::MeasuredBy::Backend && !selector.holds("$(backend)") {
            let expected = "$(backend) within a label's value, as the gateway counts by backend";
            self.faults.push(Fault::new(at, quoted(text.as_str()), expected));
            return None;
        }
        let other = match by {
            api::MeasuredBy::Pod => AT_QUERY.as_slice(),
            api::MeasuredBy::Backend => &["pods"],
        };
        if let Some(name) = other.iter().find(|name| selector.holds(&format!("$({name})"))) {
            let expected = "it left out: the pods are added, a backend needs by: backend";
            self.faults.push(Fault::new(at, format!("$({name})"), expected));
            return None;
        }
        Some(selector)
    }

    fn promql(&mut self, text: &api::PromQl, at: &FieldPath) -> Option<String> {
        let filled = match self.arguments.fill_promql(text.as_str()) {
            Ok(filled) => filled,
            Err(error) => {
                self.unfilled(error, at);
                return None;
            }
        };
        match expression(&filled) {
            Ok(_) => Some(filled),
            Err(error) => {
                self.no_query(error, at);
                None
            }
        }
    }

    fn filled(&mut self, text: &str, at: &FieldPath) -> Option<String> {
        match self.arguments.fill(text) {
            Ok(filled) => filled.map(str::to_owned),
            Err(error) => {
                self.unfilled(error, at);
                None
            }
        }
    }

    /// A value that was read, or the fault that it is not of its form. `text`: as it was written.
    fn known<T>(&mut self, value: Option<T>, text: &str, form: &str, at: &FieldPath) -> Option<T> {
        if value.is_none() {
            let found = match self.arguments.fill(text) {
                Ok(Some(filled)) if filled != text => format!("{} for {text}", quoted(filled)),
                _ => quoted(text),
            };
            self.faults.push(Fault::new(at, found, form));
        }
        value
    }

    fn unfilled(&mut self, error: Unfilled, at: &FieldPath) {
        self.faults.push(Fault::new(at, error.found, error.expected));
    }

    fn no_query(&mut self, error: NoQuery, at: &FieldPath) {
        self.faults.push(Fault::new(at, error.found, error.expected));
    }
}

/// What a metric says about margins and limit.
struct Asked<'a> {
    fail: Option<&'a api::Margin>,
    pass: Option<&'a api::Margin>,
    guard: Option<&'a api::FractionOrArgument>,
}
