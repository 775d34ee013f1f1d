//! One answer of a source, read. It is not trusted: it may be cut, huge or a login page.

use prometheus_http_query::response::{Data, PromqlResult, RangeVector};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// Letters of a message that are shown.
const SHOWN: usize = 200;
/// Remarks about a query that older sources put among their warnings.
const REMARK: &str = "PromQL info";

/// What every answer looks like.
#[derive(Deserialize)]
struct Envelope {
    status: String,
    data: Option<PromqlResult>,
    #[serde(rename = "errorType")]
    error_type: Option<String>,
    error: Option<String>,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

/// Why an answer holds no series.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoSeries {
    /// No JSON of the form that is expected.
    #[error("answers with something else than series")]
    Form,
    /// The source says what is wrong.
    #[error("refuses the query ({kind}): {message}")]
    Refused {
        /// Which sort of trouble, in the source's word.
        kind: String,
        /// What it says, cleaned.
        message: String,
    },
    /// Some of the data is missing.
    #[error("warns that its answer is not whole: {message}")]
    Warned {
        /// What it says, cleaned.
        message: String,
    },
}

/// The series of an answer to a range query.
pub(super) fn series(body: &[u8], secrets: &[SecretString]) -> Result<Vec<RangeVector>, NoSeries> {
    let answer: Envelope = serde_json::from_slice(body).map_err(|_| NoSeries::Form)?;
    if answer.status != "success" {
        let kind = clean(&answer.error_type.unwrap_or_default(), secrets);
        let message = clean(&answer.error.unwrap_or_default(), secrets);
        return Err(NoSeries::Refused { kind, message });
    }
    let warnings = answer.warnings.unwrap_or_default();
    if let Some(warning) = warnings.iter().find(|warning| !warning.starts_with(REMARK)) {
        return Err(NoSeries::Warned { message: clean(warning, secrets) });
    }
    match answer.data.map(|data| data.into_inner().0) {
        Some(Data::Matrix(series)) => Ok(series),
        _ => Err(NoSeries::Form),
    }
}

/// One line that can be shown: no secret in it, no control characters, not long.
pub(super) fn clean(text: &str, secrets: &[SecretString]) -> String {
    let mut text = text.to_owned();
    for secret in secrets.iter().map(ExposeSecret::expose_secret) {
        // A secret of one letter would take the text apart.
        if secret.len() >= 4 {
            text = text.replace(secret, "(secret)");
        }
    }
    let is_cut = text.chars().nth(SHOWN).is_some();
    let shown = text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c });
    shown.chain(is_cut.then_some('…')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Vec<RangeVector>, NoSeries> {
        series(body.as_bytes(), &["t0ken".into()])
    }

    #[test]
    fn series_are_read_with_times_and_values() {
        let body = r#"{"status":"success","infos":["x"],"data":{"resultType":"matrix","result":[
            {"metric":{"pod":"a"},"values":[[1800000000,"7"],[1800000002.5,"NaN"]]}]}}"#;
        let found = read(body).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].metric()["pod"], "a");
        let samples = found[0].samples();
        assert_eq!(format!("{:.1}", samples[1].timestamp()), "1800000002.5");
        assert!(samples[1].value().is_nan());
    }

    #[test]
    fn what_is_no_answer_is_no_series() {
        for body in [
            "",
            "<html>sign in</html>",
            "{}",
            "null",
            r#"{"status":"success"}"#,
            r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
            r#"{"status":"success","data":{"resultType":"string","result":[1,"x"]}}"#,
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"x"]]}]}}"#,
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"histograms":[]}]}}"#,
        ] {
            assert_eq!(read(body).err(), Some(NoSeries::Form), "{body}");
        }
        assert_eq!(read(&"[".repeat(100_000)).err(), Some(NoSeries::Form));
    }

    #[test]
    fn what_the_source_says_is_told_without_secrets() {
        let body = r#"{"status":"error","errorType":"bad_data","error":"no\n t0ken here"}"#;
        let told = read(body).unwrap_err().to_string();
        assert_eq!(told, "refuses the query (bad_data): no  (secret) here");
    }

    #[test]
    fn a_part_of_the_data_is_no_data_and_a_remark_is_no_warning() {
        let answer = |warning: &str| {
            format!(
                r#"{{"status":"success","warnings":["{warning}"],
                "data":{{"resultType":"matrix","result":[]}}}}"#
            )
        };
        assert!(matches!(read(&answer("store b is down")), Err(NoSeries::Warned { .. })));
        assert_eq!(read(&answer("PromQL info: no counter?")).unwrap(), Vec::new());
    }

    #[test]
    fn a_long_message_is_cut() {
        assert_eq!(clean(&"é".repeat(500), &[]).chars().count(), SHOWN + 1);
    }
}
