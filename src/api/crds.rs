//! The definitions the API server gets.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use kube::core::schema::{OptionalEnum, StructuralSchemaRewriter};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use schemars::transform::{AddNullable, transform_subschemas};

use crate::{
    AnalysisTemplate, ClusterAnalysisTemplate, ConfigRepository, MetricSource, Rollout,
    RolloutClass, Trial,
};

/// The definitions of all kinds, by name.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![
        crd::<AnalysisTemplate>(),
        crd::<ClusterAnalysisTemplate>(),
        crd::<ConfigRepository>(),
        crd::<MetricSource>(),
        crd::<Rollout>(),
        crd::<RolloutClass>(),
        crd::<Trial>(),
    ]
}

/// The definition kube derives, with a schema that keeps the description of every field.
fn crd<K: CustomResourceExt + JsonSchema>() -> CustomResourceDefinition {
    let mut crd = K::crd();
    let schema = SchemaSettings::openapi3()
        .with(|settings| {
            settings.inline_subschemas = true;
            settings.meta_schema = None;
        })
        .with_transform(AddNullable::default())
        .with_transform(StructuralSchemaRewriter)
        .with_transform(fields_describe_themselves)
        .with_transform(OptionalEnum)
        .into_generator()
        .into_root_schema_for::<K>();
    let mut root = to_props(schema);
    for_kubernetes(&mut root);
    for version in &mut crd.spec.versions {
        if let Some(schema) = version.schema.as_mut() {
            schema.open_api_v3_schema = Some(root.clone());
        }
    }
    crd
}

#[expect(clippy::expect_used, reason = "a schema of ours that is none would break every test")]
fn to_props(schema: schemars::Schema) -> JSONSchemaProps {
    serde_json::from_value(schema.to_value()).expect("an OpenAPI schema")
}

/// An optional field of a type with a description of its own keeps the field's.
fn fields_describe_themselves(schema: &mut schemars::Schema) {
    transform_subschemas(&mut fields_describe_themselves, schema);
    let described = schema.get("description").is_some();
    let Some(serde_json::Value::Array(choices)) = schema.get_mut("anyOf") else { return };
    for choice in choices.iter_mut().filter_map(|choice| choice.as_object_mut()) {
        if described {
            choice.remove("description");
        }
    }
}

/// Takes out what Kubernetes does not know or what would weaken a rule.
///
/// `nullable` goes: with it `null` would be stored and `has(…)` would find it; without it the API
/// server drops the field. The number formats of Rust go, as the API server warns about each.
fn for_kubernetes(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    match schema.format.as_deref() {
        Some("uint8" | "uint16" | "int8" | "int16") => schema.format = Some("int32".to_owned()),
        Some("uint32" | "uint64" | "uint") => schema.format = Some("int64".to_owned()),
        _ => {}
    }
    for property in schema.properties.iter_mut().flat_map(|all| all.values_mut()) {
        for_kubernetes(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(inner)) = schema.items.as_mut() {
        for_kubernetes(inner);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = schema.additional_properties.as_mut() {
        for_kubernetes(values);
    }
}
