//! As `seconds`, for a duration that may be absent.

use chrono::TimeDelta;
use serde::{Deserialize, Deserializer, Serializer};

#[derive(Deserialize)]
struct Wire(#[serde(with = "crate::seconds")] TimeDelta);

#[expect(clippy::ref_option, reason = "the signature serde's `with` calls")]
pub(crate) fn serialize<S: Serializer>(
    delta: &Option<TimeDelta>,
    to: S,
) -> Result<S::Ok, S::Error> {
    match delta {
        Some(delta) => to.serialize_some(&crate::seconds::to_seconds(*delta)),
        None => to.serialize_none(),
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<TimeDelta>, D::Error> {
    Ok(Option::<Wire>::deserialize(from)?.map(|wire| wire.0))
}
