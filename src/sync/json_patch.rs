//! JSON patch, RFC 6902.

use serde_json::Value;

/// Carries out the operations in order; at the first that fails, says which and why.
pub(crate) fn apply(target: &mut Value, operations: &Value) -> Result<(), String> {
    let Value::Array(operations) = operations else {
        return Err("a JSON patch is a list of operations".to_owned());
    };
    for (index, operation) in operations.iter().enumerate() {
        step(target, operation).map_err(|text| format!("operation {index}: {text}"))?;
    }
    Ok(())
}

fn step(target: &mut Value, operation: &Value) -> Result<(), String> {
    let text = |key: &str| {
        let value = operation.get(key).and_then(Value::as_str);
        value.ok_or_else(|| format!("`{key}` is missing"))
    };
    let value = || operation.get("value").cloned().ok_or_else(|| "`value` is missing".to_owned());
    let path = text("path")?;
    match text("op")? {
        "add" => add(target, path, value()?),
        "remove" => remove(target, path).map(|_| ()),
        "replace" => {
            let slot = target.pointer_mut(checked(path)?);
            *slot.ok_or_else(|| nothing_at(path))? = value()?;
            Ok(())
        }
        "move" => {
            let from = text("from")?;
            if path.strip_prefix(from).is_some_and(|rest| rest.starts_with('/')) {
                return Err("a value cannot move into itself".to_owned());
            }
            let moved = remove(target, from)?;
            add(target, path, moved)
        }
        "copy" => {
            let from = text("from")?;
            let copied = target.pointer(checked(from)?).cloned();
            add(target, path, copied.ok_or_else(|| nothing_at(from))?)
        }
        "test" => {
            let found = target.pointer(checked(path)?).ok_or_else(|| nothing_at(path))?;
            if *found == value()? { Ok(()) } else { Err(format!("the test of `{path}` fails")) }
        }
        other => Err(format!("`op: {other}` is unknown")),
    }
}

fn add(target: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let Some((parent, key)) = split(path)? else {
        *target = value;
        return Ok(());
    };
    match target.pointer_mut(parent).ok_or_else(|| nothing_at(parent))? {
        Value::Object(map) => {
            map.insert(key, value);
            Ok(())
        }
        Value::Array(items) => {
            let at = if key == "-" { items.len() } else { index(&key, path)? };
            if at > items.len() {
                return Err(nothing_at(path));
            }
            items.insert(at, value);
            Ok(())
        }
        _ => Err(format!("`{parent}` is neither a map nor a list")),
    }
}

fn remove(target: &mut Value, path: &str) -> Result<Value, String> {
    let Some((parent, key)) = split(path)? else { return Ok(target.take()) };
    match target.pointer_mut(parent).ok_or_else(|| nothing_at(parent))? {
        Value::Object(map) => map.remove(&key).ok_or_else(|| nothing_at(path)),
        Value::Array(items) => {
            let at = index(&key, path)?;
            if at < items.len() { Ok(items.remove(at)) } else { Err(nothing_at(path)) }
        }
        _ => Err(nothing_at(path)),
    }
}

/// The pointer to the parent, and the last name unescaped; none for the root.
fn split(path: &str) -> Result<Option<(&str, String)>, String> {
    let parts = checked(path)?.rsplit_once('/');
    Ok(parts.map(|(parent, key)| (parent, key.replace("~1", "/").replace("~0", "~"))))
}

fn checked(path: &str) -> Result<&str, String> {
    if path.is_empty() || path.starts_with('/') {
        return Ok(path);
    }
    Err(format!("the path `{path}` does not begin with `/`"))
}

/// An array index as RFC 6901 has it: digits without a leading zero.
fn index(key: &str, path: &str) -> Result<usize, String> {
    let plain = key == "0" || (!key.starts_with(['0', '+']) && !key.is_empty());
    let parsed = key.parse().ok().filter(|_| plain);
    parsed.ok_or_else(|| format!("`{path}` does not end in an index"))
}

fn nothing_at(path: &str) -> String {
    format!("there is nothing at `{path}`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_operations_follow_rfc_6902() {
        // Document, operations, expected: the examples of appendix A.
        let cases = [
            (
                json!({"foo": "bar"}),
                json!([{"op": "add", "path": "/baz", "value": "q"}]),
                Some(json!({"baz": "q", "foo": "bar"})),
            ),
            (
                json!({"foo": ["bar", "baz"]}),
                json!([{"op": "add", "path": "/foo/1", "value": "q"}]),
                Some(json!({"foo": ["bar", "q", "baz"]})),
            ),
            (
                json!({"foo": [1]}),
                json!([{"op": "add", "path": "/foo/-", "value": [2]}]),
                Some(json!({"foo": [1, [2]]})),
            ),
            (
                json!({"baz": 1, "foo": 2}),
                json!([{"op": "remove", "path": "/baz"}]),
                Some(json!({"foo": 2})),
            ),
            (
                json!({"a": [1, 2, 3]}),
                json!([{"op": "remove", "path": "/a/1"}]),
                Some(json!({"a": [1, 3]})),
            ),
            (
                json!({"a": {"b": 1}, "c": {}}),
                json!([{"op": "move", "from": "/a/b", "path": "/c/d"}]),
                Some(json!({"a": {}, "c": {"d": 1}})),
            ),
            (
                json!({"a": [1, 2]}),
                json!([{"op": "copy", "from": "/a/0", "path": "/a/2"}]),
                Some(json!({"a": [1, 2, 1]})),
            ),
            (
                json!({"/": 9, "~1": 10}),
                json!([{"op": "test", "path": "/~01", "value": 10}]),
                Some(json!({"/": 9, "~1": 10})),
            ),
            (json!({"a": 1}), json!([{"op": "replace", "path": "/b", "value": 1}]), None),
            (json!({"a": 1}), json!([{"op": "add", "path": "/b/c", "value": 1}]), None),
            (json!({"a": [1]}), json!([{"op": "add", "path": "/a/01", "value": 1}]), None),
            (json!({"a": 1}), json!([{"op": "test", "path": "/a", "value": 2}]), None),
            (json!({"a": {}}), json!([{"op": "move", "from": "/a", "path": "/a/b"}]), None),
        ];
        for (mut document, operations, expected) in cases {
            let outcome = apply(&mut document, &operations);
            assert_eq!(outcome.ok().map(|()| document), expected, "{operations}");
        }
    }
}
