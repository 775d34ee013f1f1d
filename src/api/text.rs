//! Texts with a form of their own. They travel as strings; the schema has the pattern, `resolve`
//! reads the meaning.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

macro_rules! text {
    ($($(#[doc = $doc:literal])+ $name:ident: $max:literal, $pattern:expr, $form:literal;)+) => {
    /// The patterns of this module and, for people, what each asks for.
    pub const TEXT_FORMS: &[(&str, &str)] = &[$(($pattern, $form)),+];
    $(
        $(#[doc = $doc])+
        #[derive(
            Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl $name {
            /// The text as it was written.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "minLength": 1,
                    "maxLength": $max,
                    "pattern": $pattern,
                })
            }
        }
    )+};
}

text! {
    /// A time span such as `90s`, `1h30m` or `250ms`: whole numbers with a unit, one after another.
    Duration: 32,
        r"^([0-9]+(ms|s|m|h|d))+$",
        "a time span such as 90s or 1h30m";
    /// A time span, or `$(argument)`.
    DurationOrArgument: 40,
        r"^(([0-9]+(ms|s|m|h|d))+|\$\([a-z][a-zA-Z0-9]*\))$",
        "a time span such as 500ms, or $(argument)";
    /// A share of 100, such as `5%` or `0.1%`.
    Fraction: 16,
        r"^[0-9]{1,3}(\.[0-9]{1,6})?%$",
        "a share such as 5%";
    /// A share of 100, or `$(argument)`.
    FractionOrArgument: 40,
        r"^([0-9]{1,3}(\.[0-9]{1,6})?%|\$\([a-z][a-zA-Z0-9]*\))$",
        "a share such as 5%, or $(argument)";
    /// A difference of two shares in percentage points, such as `0.5pp`.
    Points: 16,
        r"^[0-9]{1,3}(\.[0-9]{1,6})?pp$",
        "percentage points such as 0.5pp";
    /// A difference in percentage points, or `$(argument)`.
    PointsOrArgument: 40,
        r"^([0-9]{1,3}(\.[0-9]{1,6})?pp|\$\([a-z][a-zA-Z0-9]*\))$",
        "percentage points such as 0.5pp, or $(argument)";
    /// A number in quotes, or `$(argument)`.
    NumberOrArgument: 40,
        r"^(-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?|\$\([a-z][a-zA-Z0-9]*\))$",
        "a number such as \"0.5\", or $(argument)";
    /// The name of an argument, such as `slo`.
    ArgumentName: 32,
        r"^[a-z][a-zA-Z0-9]*$",
        "a name such as slo or maxErrors";
    /// A name within its list: small letters, digits and dashes.
    Name: 63,
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        "a name of small letters, digits and dashes";
    /// The name of a Kubernetes object.
    ObjectName: 253,
        r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
        "a name of small letters, digits, dashes and dots";
    /// A host name with or without a port.
    Host: 253,
        r"^[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?$",
        "a host name such as git.example.com";
    /// Path and query of a URL, from the slash on.
    UrlPath: 256,
        r"^/[!$-~]*$",
        "a path such as /ready?of=web, from the slash on";
    /// A path inside a repository, without a slash at either end.
    RepositoryPath: 256,
        r"^[^/\\\s]([^\\\s]*[^/\\\s])?$",
        "a path such as apps/shop, without a slash at either end";
    /// A time of day in UTC, such as `09:30`.
    TimeOfDay: 5,
        r"^([01][0-9]|2[0-3]):[0-5][0-9]$",
        "a time of day such as 09:30";
    /// A PromQL expression.
    PromQl: 4096,
        r"^[\s\S]+$",
        "a PromQL expression";
}
