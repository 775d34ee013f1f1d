//! The two formats Prometheus is given: text 0.0.4, and its protocol buffers, which alone can
//! carry native histograms.

use std::fmt::Write as _;

use super::metrics::{Family, Histogram, Kind, Labels, SCHEMA, Value};

/// Media type of [`text`].
pub(super) const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Media type of [`protobuf`].
pub(super) const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// Whether the header Accept asks for protocol buffers: Prometheus names them only when it wants
/// native histograms, and then first.
pub(super) fn wants_protobuf(accept: &str) -> bool {
    let accept = accept.replace(' ', "");
    accept.split(',').any(|kind| {
        kind.starts_with("application/vnd.google.protobuf")
            && kind.contains("proto=io.prometheus.client.MetricFamily")
            && kind.contains("encoding=delimited")
    })
}

/// The text format, version 0.0.4.
pub(super) fn text(families: &[Family]) -> String {
    let mut text = String::new();
    for Family { name, help, kind, series } in families {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a String cannot fail; so it is everywhere below.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in series {
            match value {
                Value::Number(number) => line(&mut text, name, "", labels, None, *number),
                Value::Histogram(histogram) => {
                    for (bound, count) in histogram.cumulative() {
                        line(&mut text, name, "_bucket", labels, Some(bound), count as f64);
                    }
                    line(&mut text, name, "_sum", labels, None, histogram.sum());
                    line(&mut text, name, "_count", labels, None, histogram.count() as f64);
                }
            }
        }
    }
    text
}

fn line(out: &mut String, name: &str, end: &str, labels: &Labels, le: Option<f64>, value: f64) {
    let bound = |le: f64| if le.is_finite() { le.to_string() } else { "+Inf".to_owned() };
    let labels: Vec<String> = labels
        .iter()
        .cloned()
        .chain(le.map(|le| ("le", bound(le))))
        .map(|(label, value)| {
            // Methods and routes hold nothing that must be escaped but, at worst, these.
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            format!("{label}=\"{value}\"")
        })
        .collect();
    let _ = if labels.is_empty() {
        writeln!(out, "{name}{end} {value}")
    } else {
        writeln!(out, "{name}{end}{{{}}} {value}", labels.join(","))
    };
}

/// Messages `io.prometheus.client.MetricFamily` of `metrics.proto` (`client_model`), each with its
/// length before it.
pub(super) fn protobuf(families: &[Family]) -> Vec<u8> {
    let mut all = Message::default();
    for Family { name, help, kind, series } in families {
        let mut family = Message::default();
        family.string(1, name);
        family.string(2, help);
        family.number(
            3,
            match kind {
                Kind::Counter => 0,
                Kind::Gauge => 1,
                Kind::Histogram => 4,
            },
        );
        for (labels, value) in series {
            let mut metric = Message::default();
            for (name, value) in labels {
                let mut label = Message::default();
                label.string(1, name);
                label.string(2, value);
                metric.message(1, &label);
            }
            match value {
                Value::Number(value) => {
                    let mut number = Message::default();
                    number.double(1, *value);
                    metric.message(if *kind == Kind::Gauge { 2 } else { 3 }, &number);
                }
                Value::Histogram(histogram) => metric.message(7, &encode(histogram)),
            }
            family.message(4, &metric);
        }
        all.varint(family.0.len() as u64);
        all.0.extend(family.0);
    }
    all.0
}

/// The message `Histogram`, in the classic form and, where it is kept, the native one.
fn encode(histogram: &Histogram) -> Message {
    let mut message = Message::default();
    message.number(1, histogram.count());
    message.double(2, histogram.sum());
    // The last bound, infinity, is implied here.
    for (bound, count) in histogram.cumulative().filter(|(bound, _)| bound.is_finite()) {
        let mut bucket = Message::default();
        bucket.number(1, count);
        bucket.double(2, bound);
        message.message(3, &bucket);
    }
    let Some(native) = histogram.native() else { return message };
    message.number(5, zigzag(SCHEMA.into()));
    // What is closer to 0 than this counts as 0: the default of the client libraries.
    message.double(6, (-128_f64).exp2());
    message.number(7, 0);
    // Runs of neighbouring buckets: how far from the end of the one before, and how long.
    let mut spans: Vec<(i32, u64)> = Vec::new();
    let mut end = 0;
    for &index in native.keys() {
        match spans.last_mut() {
            Some((_, length)) if index == end => *length += 1,
            Some(_) | None => spans.push((index - end, 1)),
        }
        end = index + 1;
    }
    for (offset, length) in spans {
        let mut span = Message::default();
        span.number(1, zigzag(offset.into()));
        span.number(2, length);
        message.message(12, &span);
    }
    let mut before = 0;
    for &count in native.values() {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        message.number(13, zigzag(count - before));
        before = count;
    }
    message
}

/// How protocol buffers write signed numbers: 0, -1, 1, -2 … become 0, 1, 2, 3 …
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

/// The wire form of a message (protobuf.dev, Encoding).
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    #[expect(clippy::cast_possible_truncation, reason = "seven bits are taken at a time")]
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn number(&mut self, field: u64, number: u64) {
        self.varint(field << 3);
        self.varint(number);
    }

    fn double(&mut self, field: u64, number: f64) {
        self.varint(field << 3 | 1);
        self.0.extend(number.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn string(&mut self, field: u64, text: &str) {
        self.bytes(field, text.as_bytes());
    }

    fn message(&mut self, field: u64, message: &Self) {
        self.bytes(field, &message.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_encoded_as_the_format_says() {
        let mut message = Message::default();
        // The examples of protobuf.dev, Encoding: 150 in field 1, "testing" in field 2.
        message.number(1, 150);
        message.string(2, "testing");
        assert_eq!(message.0, *b"\x08\x96\x01\x12\x07testing");
        assert_eq!([0, -1, 1, -2, 2].map(zigzag), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn protocol_buffers_are_sent_only_to_who_knows_them() {
        assert!(wants_protobuf(&format!("{PROTOBUF};q=0.6,text/plain;q=0.5")));
        for accept in ["*/*", "text/plain;version=0.0.4", "application/vnd.google.protobuf"] {
            assert!(!wants_protobuf(accept), "{accept}");
        }
    }
}
