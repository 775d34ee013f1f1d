//! How many pods a Deployment may have on top while it rolls out.

use serde_json::Value;

use super::json;

/// The API server's default of `maxSurge`.
const DEFAULT: &str = "25%";

/// What a Deployment says of it, a count or a percentage.
pub fn max_surge(deployment: &Value) -> Value {
    let said = deployment.pointer("/spec/strategy/rollingUpdate/maxSurge");
    said.cloned().unwrap_or_else(|| DEFAULT.into())
}

/// The same in pods, a percentage rounded up. `None`: it is neither a count nor a percentage, which
/// the API server would not have taken.
pub fn surge(deployment: &Value) -> Option<u32> {
    let pods = match max_surge(deployment) {
        Value::String(text) => {
            let percent = text.strip_suffix('%')?.parse::<u32>().ok()?;
            (u64::from(json::replicas(deployment)) * u64::from(percent)).div_ceil(100)
        }
        other => other.as_u64()?,
    };
    u32::try_from(pods).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_surge_is_rounded_up() {
        // maxSurge, pods wanted, pods it allows.
        let cases = [
            (json!("25%"), 10, Some(3)),
            (json!("0%"), 10, Some(0)),
            (json!("100%"), 7, Some(7)),
            (json!(2), 10, Some(2)),
            (json!("two"), 10, None),
            (json!("2"), 10, None),
        ];
        for (value, desired, expected) in cases {
            let rolling = json!({"rollingUpdate": {"maxSurge": value}});
            let deployment = json!({"spec": {"replicas": desired, "strategy": rolling}});
            assert_eq!(surge(&deployment), expected, "{value}");
        }
        assert_eq!(surge(&json!({"spec": {"replicas": 10}})), Some(3));
    }
}
