//! Arguments of templates. A value is always a literal: it can stand for the value of a label or
//! for a number, never for a piece of PromQL, so a Rollout cannot ask for what its template does
//! not.

use std::collections::BTreeMap;

use super::invalid::quoted;
use super::nearest::{nearest, one_of};
use super::units;

/// What `$(name)` stands for when a query is asked, by the arm that is asked about.
pub(crate) const AT_QUERY: [&str; 2] = ["pods", "backend"];

/// What the names of a template stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// `None`: declared, and not known yet, as when a template is looked at by itself.
    values: BTreeMap<String, Option<String>>,
}

/// Stands for a value that is not known yet: right within quotes and as a number.
const ANY: &str = "1";

/// Why a text cannot be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unfilled {
    pub(crate) found: String,
    pub(crate) expected: String,
}

impl Unfilled {
    fn new(found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { found: found.into(), expected: expected.into() }
    }
}

impl FromIterator<(String, Option<String>)> for Arguments {
    fn from_iter<T: IntoIterator<Item = (String, Option<String>)>>(values: T) -> Self {
        Self { values: values.into_iter().collect() }
    }
}

impl Arguments {
    fn get(&self, name: &str) -> Result<Option<&str>, Unfilled> {
        if let Some(value) = self.values.get(name) {
            return Ok(value.as_deref());
        }
        let known = self.values.keys().map(String::as_str);
        let expected = nearest(name, known.clone()).map_or_else(
            || format!("one of the arguments {}", one_of(known)),
            |near| format!("$({near}) (did you mean it?)"),
        );
        Err(Unfilled::new(format!("$({name})"), expected))
    }

    /// A field that is a value or `$(name)` as a whole. `None`: the value is not known yet.
    pub(crate) fn fill<'a>(&'a self, text: &'a str) -> Result<Option<&'a str>, Unfilled> {
        match text.strip_prefix("$(").and_then(|rest| rest.strip_suffix(')')) {
            Some(name) => self.get(name),
            None => Ok(Some(text)),
        }
    }

    /// PromQL with its arguments filled in; `$(pods)` and `$(backend)` stay for later.
    pub(crate) fn fill_promql(&self, text: &str) -> Result<String, Unfilled> {
        let mut filled = String::with_capacity(text.len());
        let mut place = Place::Code;
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let name = (!matches!(place, Place::Comment)).then(|| placeholder(rest)).flatten();
            if let Some(name) = name {
                filled.push_str(&self.value(name, place)?);
                rest = rest.get(name.len() + 3..).unwrap_or_default();
                continue;
            }
            let taken = match (place, next) {
                // An escaped character never ends a string.
                (Place::Text { .. }, '\\') => 1 + rest.chars().nth(1).map_or(0, char::len_utf8),
                _ => next.len_utf8(),
            };
            place = place.after(next, &filled);
            filled.push_str(rest.get(..taken).unwrap_or_default());
            rest = rest.get(taken..).unwrap_or_default();
        }
        Ok(filled)
    }

    fn value(&self, name: &str, place: Place) -> Result<String, Unfilled> {
        if AT_QUERY.contains(&name) {
            return match place {
                Place::Text { .. } => Ok(format!("$({name})")),
                _ => Err(Unfilled::new(format!("$({name})"), "it within a label's value")),
            };
        }
        let value = self.get(name)?.unwrap_or(ANY);
        match place {
            Place::Text { quote, regex } => {
                let literal = if regex { regex_literal(value) } else { value.to_owned() };
                Ok(string_literal(&literal, quote))
            }
            Place::Raw => {
                Err(Unfilled::new(format!("$({name}) between backticks"), "other quotes"))
            }
            Place::Code | Place::Comment => match units::number(value) {
                Some(_) => Ok(value.to_owned()),
                None => Err(Unfilled::new(
                    format!("{} for $({name})", quoted(value)),
                    "a number, as it does not stand within a label's value",
                )),
            },
        }
    }
}

/// Where in PromQL a character is.
#[derive(Clone, Copy)]
enum Place {
    Code,
    /// Within quotes; `regex`: of a matcher with `=~` or `!~`.
    Text {
        quote: char,
        regex: bool,
    },
    /// Within backticks, where nothing can be escaped.
    Raw,
    Comment,
}

impl Place {
    fn after(self, next: char, before: &str) -> Self {
        match (self, next) {
            (Self::Code, '"' | '\'') => {
                let before = before.trim_end();
                let regex = before.ends_with("=~") || before.ends_with("!~");
                Self::Text { quote: next, regex }
            }
            (Self::Code, '`') => Self::Raw,
            (Self::Code, '#') => Self::Comment,
            (Self::Raw, '`') | (Self::Comment, '\n') => Self::Code,
            (Self::Text { quote, .. }, next) if next == quote => Self::Code,
            (place, _) => place,
        }
    }
}

/// The name, when the text begins with `$(name)`.
fn placeholder(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix("$(")?.split_once(')')?;
    let first = name.chars().next()?;
    (first.is_ascii_lowercase() && name.chars().all(|c| c.is_ascii_alphanumeric())).then_some(name)
}

/// A regular expression (RE2) that matches the text alone.
pub(crate) fn regex_literal(text: &str) -> String {
    let mut literal = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            literal.push('\\');
        }
        literal.push(c);
    }
    literal
}

/// A text as it stands between quotes in PromQL.
pub(crate) fn string_literal(text: &str, quote: char) -> String {
    let mut literal = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => literal.push_str(r"\\"),
            '\n' => literal.push_str(r"\n"),
            '\r' => literal.push_str(r"\r"),
            c if c == quote => {
                literal.push('\\');
                literal.push(c);
            }
            c => literal.push(c),
        }
    }
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments() -> Arguments {
        [("job", "we\"b"), ("code", "5.."), ("limit", "0.5"), ("word", "up")]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), Some(value.to_owned())))
            .collect()
    }

    #[test]
    fn a_value_cannot_leave_its_quotes() {
        let filled = arguments().fill_promql(r#"a{job="$(job)"}"#);
        assert_eq!(filled.unwrap(), r#"a{job="we\"b"}"#);
        let filled = arguments().fill_promql(r"a{job='$(job)'}");
        assert_eq!(filled.unwrap(), r#"a{job='we"b'}"#);
    }

    #[test]
    fn a_value_is_a_literal_in_a_regular_expression_too() {
        let filled = arguments().fill_promql(r#"a{code=~"$(code)|x",c="$(code)"}"#);
        assert_eq!(filled.unwrap(), r#"a{code=~"5\\.\\.|x",c="5.."}"#);
    }

    #[test]
    fn outside_quotes_only_numbers_are_taken() {
        assert_eq!(arguments().fill_promql("a > $(limit)").unwrap(), "a > 0.5");
        let unfilled = arguments().fill_promql("$(word)").unwrap_err();
        assert_eq!(unfilled.found, r#""up" for $(word)"#);
        assert!(arguments().fill_promql("a{b=`$(word)`}").is_err());
    }

    #[test]
    fn an_escaped_quote_does_not_end_a_string() {
        let filled = arguments().fill_promql(r#"a{b="\"$(word)"} # $(nothing)"#);
        assert_eq!(filled.unwrap(), r#"a{b="\"up"} # $(nothing)"#);
    }

    #[test]
    fn pods_and_backend_stay_for_later_but_only_in_quotes() {
        let text = r#"a{pod=~"$(pods)",service="$(backend)"}"#;
        assert_eq!(arguments().fill_promql(text).unwrap(), text);
        assert!(arguments().fill_promql("$(pods)").is_err());
    }

    #[test]
    fn an_unknown_name_is_told_with_the_nearest() {
        let unfilled = arguments().fill("$(limti)").unwrap_err();
        assert_eq!(unfilled.expected, "$(limit) (did you mean it?)");
    }
}
