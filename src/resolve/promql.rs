//! PromQL, parsed before it is ever sent.

use promql_parser::label::{METRIC_NAME, MatchOp, Matcher};
use promql_parser::parser::{Expr, parse};

use super::arguments::string_literal;
use super::invalid::quoted;

/// Deeper than any query a person wrote; the parser descends as deep as the query does.
const MAX_DEPTH: usize = 32;
/// As the schema says; objects made in code have not been checked.
const MAX_LENGTH: usize = 8192;

/// Why a text is no query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoQuery {
    pub(crate) found: String,
    pub(crate) expected: String,
}

impl NoQuery {
    fn new(text: &str, expected: impl Into<String>) -> Self {
        Self { found: quoted(text), expected: expected.into() }
    }
}

/// Any PromQL.
pub(crate) fn expression(text: &str) -> Result<Expr, NoQuery> {
    if text.len() > MAX_LENGTH {
        return Err(NoQuery::new(text, format!("at most {MAX_LENGTH} characters of PromQL")));
    }
    if depth(text) > MAX_DEPTH {
        return Err(NoQuery::new(text, format!("PromQL of at most {MAX_DEPTH} levels")));
    }
    parse(text).map_err(|error| {
        let error = error.trim().replace('\n', " ");
        NoQuery::new(text, format!("PromQL ({error})"))
    })
}

/// How deep parentheses, and how long chains of operators are: both make the parser descend.
fn depth(text: &str) -> usize {
    let (mut deepest, mut open, mut signs) = (0_usize, 0_usize, 0_usize);
    for c in text.chars() {
        match c {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open = open.saturating_sub(1),
            _ => {}
        }
        match c {
            '+' | '-' => signs += 1,
            ' ' => {}
            _ => signs = 0,
        }
        deepest = deepest.max(open).max(signs);
    }
    deepest
}

/// A metric with label matchers, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    name: String,
    matchers: Vec<(String, &'static str, String)>,
}

impl Selector {
    /// Reads a metric with label matchers.
    pub(crate) fn parse(text: &str) -> Result<Self, NoQuery> {
        const FORM: &str =
            "a metric with label matchers, such as http_requests_total{code=~\"5..\"}";
        let Expr::VectorSelector(selector) = expression(text)? else {
            return Err(NoQuery::new(text, FORM));
        };
        if selector.offset.is_some()
            || selector.at.is_some()
            || !selector.matchers.or_matchers.is_empty()
        {
            return Err(NoQuery::new(text, format!("{FORM}, without offset, @ and or")));
        }
        let mut matchers = selector.matchers.matchers;
        let by_label = |matcher: &Matcher| matcher.name == METRIC_NAME;
        let name = match (selector.name, matchers.iter().position(by_label)) {
            (Some(name), None) => name,
            (None, Some(position)) if matchers[position].op == MatchOp::Equal => {
                matchers.remove(position).value
            }
            _ => return Err(NoQuery::new(text, FORM)),
        };
        if !is_metric_name(&name) || matchers.iter().any(by_label) {
            return Err(NoQuery::new(text, FORM));
        }
        let matchers = matchers
            .into_iter()
            .map(|matcher| {
                let op = match matcher.op {
                    MatchOp::Equal => "=",
                    MatchOp::NotEqual => "!=",
                    MatchOp::Re(_) => "=~",
                    MatchOp::NotRe(_) => "!~",
                };
                (matcher.name, op, matcher.value)
            })
            .collect();
        Ok(Self { name, matchers })
    }

    /// All series of a metric.
    pub(crate) fn of(name: &str) -> Self {
        Self { name: name.to_owned(), matchers: Vec::new() }
    }

    /// The metric's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a matcher's value holds the text.
    pub(crate) fn holds(&self, text: &str) -> bool {
        self.matchers.iter().any(|(_, _, value)| value.contains(text))
    }

    /// The same labels of the metric with another ending, as histograms have them.
    #[must_use]
    pub(crate) fn ending(&self, suffix: &str) -> Self {
        Self { name: format!("{}{suffix}", self.name), matchers: self.matchers.clone() }
    }

    /// The same with one more matcher. `op`: `=` or `=~`.
    #[must_use]
    pub(crate) fn with(&self, label: &str, op: &'static str, value: &str) -> Self {
        let mut more = self.clone();
        more.matchers.push((label.to_owned(), op, value.to_owned()));
        more
    }
}

fn is_metric_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == ':')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        if self.matchers.is_empty() {
            return Ok(());
        }
        f.write_str("{")?;
        for (index, (label, op, value)) in self.matchers.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{label}{op}\"{}\"", string_literal(value, '"'))?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_written_as_it_was_read() {
        let text = r#"http_requests_total{job="we\"b",code=~"5..|\\d+",a!="x",b!~"y"}"#;
        let selector = Selector::parse(text).unwrap();
        assert_eq!(selector.to_string(), text);
        assert_eq!(Selector::parse(&selector.to_string()).unwrap(), selector);
    }

    #[test]
    fn a_metric_may_be_named_by_a_label() {
        let selector = Selector::parse(r#"{__name__="a_total",code="500"}"#).unwrap();
        assert_eq!(selector.to_string(), r#"a_total{code="500"}"#);
        for text in [r#"{__name__=~"a.*"}"#, r#"{__name__="a b"}"#, r#"a{__name__="b"}"#] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_more_than_a_selector_is_refused() {
        for text in ["sum(a)", "a[5m]", "a offset 5m", "a + b", "1", r#"{job="x"}"#, "a @ 5"] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_descends_deep_is_refused_before_it_is_parsed() {
        for text in ["(".repeat(4000), "-".repeat(4000) + "1", "[".repeat(4000)] {
            assert!(expression(&text).is_err());
        }
        let chain = vec!["1"; 2000].join("+");
        assert!(expression(&chain).is_ok());
    }
}
