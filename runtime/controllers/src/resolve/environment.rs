//! The environment of a container, computed as the kubelet computes it.
//!
//! In this order, the later winning: Services' variables, `envFrom` in its order, `env` in its order. A value may use
//! `$(VAR)` of what stands before it. What is optional and missing is left out. Names are unique in the result.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar as ApiVar, EnvVarSource};
use provider::{EnvVar, Origin, OriginKind, PodKey, Text, TextPart, TextValue};

use super::amounts::{by_path, divided};
use super::expansion::{self, expand};
use super::fields::{Field, for_environment};
use super::{NodeFacts, Resolver, Started, Unresolved};
use crate::events::PodEvent;
use crate::record::Parsed;
use crate::references::{Content, ReferenceKind};

/// Variables in the order of their first mention.
#[derive(Default)]
pub(super) struct Environment {
    variables: Vec<EnvVar>,
    places: std::collections::HashMap<String, usize>,
}

impl Environment {
    pub fn get(&self, name: &str) -> Option<&Text> {
        self.places.get(name).and_then(|place| self.variables.get(*place)).map(|variable| &variable.value)
    }

    fn set(&mut self, name: &str, value: Text) {
        match self.places.get(name).and_then(|place| self.variables.get_mut(*place)) {
            Some(known) => known.value = value,
            None => {
                self.places.insert(name.to_owned(), self.variables.len());
                self.variables.push(EnvVar { name: name.to_owned(), value });
            }
        }
    }

    pub fn into_variables(self) -> Vec<EnvVar> {
        self.variables
    }
}

/// The part of a container that its environment follows from.
pub(super) struct Source<'a> {
    /// The list that the container is in: `containers`, `initContainers`, …
    pub field: &'a str,
    pub container: &'a str,
    pub env: &'a [ApiVar],
    pub env_from: &'a [EnvFromSource],
}

/// What an environment is resolved for.
pub(super) struct For<'a> {
    pub key: &'a PodKey,
    pub pod: &'a Parsed,
    pub node: &'a NodeFacts,
    pub started: &'a Started,
}

/// Events of references that are missing. Their reasons are those that Virtual Kubelet's users watch for.
struct Missing<'a> {
    kind: ReferenceKind,
    name: &'a str,
    key: Option<&'a str>,
    optional: bool,
}

impl Missing<'_> {
    fn event(&self, namespace: &str) -> PodEvent {
        let (kind, word) = match self.kind {
            ReferenceKind::ConfigMap => ("ConfigMap", "configmap"),
            ReferenceKind::Secret => ("Secret", "secret"),
        };
        let how = if self.optional { "Optional" } else { "Mandatory" };
        let name = self.name;
        match self.key {
            None => {
                let message = format!("{word} \"{namespace}/{name}\" not found");
                PodEvent::warning(format!("{how}{kind}NotFound"), message)
            }
            Some(key) => {
                let message = format!("key {key:?} does not exist in {word} \"{namespace}/{name}\"");
                PodEvent::warning(format!("{how}{kind}KeyNotFound"), message)
            }
        }
    }
}

impl Resolver {
    /// The environment of a container.
    pub(super) async fn environment(
        &self,
        what: &For<'_>,
        source: &Source<'_>,
        events: &mut Vec<PodEvent>,
    ) -> Result<Environment, Unresolved> {
        let mut out = Environment::default();
        let links = what.pod.spec.enable_service_links.unwrap_or(true);
        let services = self.services.variables(&what.key.namespace, links).await;
        let mut own = Environment::default();
        for from in source.env_from {
            self.add_object(what, from, &mut own, events).await?;
        }
        // `$(VAR)` may name a Service's variable too, but what the container says wins.
        for service in services {
            if own.get(&service.name).is_none() {
                out.set(&service.name, service.value);
            }
        }
        for variable in own.into_variables() {
            out.set(&variable.name, variable.value);
        }
        for variable in source.env {
            let value = match &variable.value_from {
                None => Some(expand(variable.value.as_deref().unwrap_or_default(), |name| out.get(name))),
                Some(from) => self.value(what, source, &variable.name, from, events).await?,
            };
            if let Some(value) = value {
                out.set(&variable.name, value);
            }
        }
        Ok(out)
    }

    async fn add_object(
        &self,
        what: &For<'_>,
        from: &EnvFromSource,
        out: &mut Environment,
        events: &mut Vec<PodEvent>,
    ) -> Result<(), Unresolved> {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let (kind, name, optional) = match (&from.config_map_ref, &from.secret_ref) {
            (Some(own), _) => (ReferenceKind::ConfigMap, own.name.as_str(), own.optional == Some(true)),
            (None, Some(own)) => (ReferenceKind::Secret, own.name.as_str(), own.optional == Some(true)),
            (None, None) => return Ok(()),
        };
        let Some(content) = self.object(what.key, kind, name, optional, events).await? else { return Ok(()) };
        let mut invalid = Vec::new();
        for (key, value) in &content.data {
            let full = format!("{prefix}{key}");
            match (is_name(&full), std::str::from_utf8(value)) {
                (true, Ok(value)) => out.set(&full, from_key(kind, name, key, value)),
                _ => invalid.push(key.as_str()),
            }
        }
        if !invalid.is_empty() {
            let namespace = &what.key.namespace;
            events.push(PodEvent::warning(
                "InvalidEnvironmentVariableNames",
                format!(
                    "Keys [{}] from the EnvFrom {} {namespace}/{name} were skipped since they are considered invalid environment variable names.",
                    invalid.join(", "),
                    kind.word(),
                ),
            ));
        }
        Ok(())
    }

    async fn value(
        &self,
        what: &For<'_>,
        source: &Source<'_>,
        variable: &str,
        from: &EnvVarSource,
        events: &mut Vec<PodEvent>,
    ) -> Result<Option<Text>, Unresolved> {
        if let Some(field) = &from.field_ref {
            let found = for_environment(&field.field_path, what.pod, what.node, &what.started.ips);
            let origin = Arc::new(Origin::new(OriginKind::Field, field.field_path.as_str(), ""));
            return Ok(Some(match found.map_err(Unresolved::config)? {
                Field::Value(value) => expansion::from(origin, value),
                Field::Late(path) => {
                    Text(vec![TextPart { value: TextValue::Late(path.to_owned()), origin: Some(origin) }])
                }
            }));
        }
        if let Some(field) = &from.resource_field_ref {
            let name = field.container_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(source.container);
            let nanos = by_path(&what.pod.spec, name, &field.resource, &what.node.allocatable);
            let value = divided(nanos.map_err(Unresolved::config)?, field.divisor.as_ref());
            let origin = Arc::new(Origin::new(OriginKind::ResourceField, field.resource.as_str(), name));
            return Ok(Some(expansion::from(origin, value)));
        }
        let (kind, name, key, optional) = match (&from.config_map_key_ref, &from.secret_key_ref) {
            (Some(own), _) => {
                (ReferenceKind::ConfigMap, own.name.as_str(), own.key.as_str(), own.optional == Some(true))
            }
            (None, Some(own)) => {
                (ReferenceKind::Secret, own.name.as_str(), own.key.as_str(), own.optional == Some(true))
            }
            (None, None) if from.file_key_ref.is_some() => {
                let Source { field, container, .. } = source;
                let field = format!("spec.{field}{{{container}}}.env{{{variable}}}.valueFrom.fileKeyRef");
                return Err(Unresolved::unsupported(&field, "a variable from a file"));
            }
            (None, None) => return Ok(None),
        };
        let Some(content) = self.object(what.key, kind, name, optional, events).await? else { return Ok(None) };
        let missing = Missing { kind, name, key: Some(key), optional };
        let namespace = &what.key.namespace;
        let word = match kind {
            ReferenceKind::ConfigMap => "ConfigMap",
            ReferenceKind::Secret => "Secret",
        };
        match content.data.get(key) {
            Some(value) => match std::str::from_utf8(value) {
                Ok(value) => Ok(Some(from_key(kind, name, key, value))),
                Err(_) => Err(Unresolved::config(format!("key {key} in {word} {namespace}/{name} is not valid UTF-8"))),
            },
            None if optional => {
                events.push(missing.event(namespace));
                Ok(None)
            }
            None => {
                events.push(missing.event(namespace));
                Err(Unresolved::config(format!("couldn't find key {key} in {word} {namespace}/{name}")))
            }
        }
    }

    /// An object that a container refers to; none if it is optional and not there.
    async fn object(
        &self,
        pod: &PodKey,
        kind: ReferenceKind,
        name: &str,
        optional: bool,
        events: &mut Vec<PodEvent>,
    ) -> Result<Option<Arc<Content>>, Unresolved> {
        match self.references.get(pod, kind, name).await {
            Ok(Some(content)) => Ok(Some(content)),
            Ok(None) => {
                events.push(Missing { kind, name, key: None, optional }.event(&pod.namespace));
                if optional { Ok(None) } else { Err(Unresolved::config(format!("{} {name:?} not found", kind.word()))) }
            }
            Err(reason) => Err(Unresolved::config(reason)),
        }
    }
}

fn from_key(kind: ReferenceKind, name: &str, key: &str, value: &str) -> Text {
    let kind = match kind {
        ReferenceKind::ConfigMap => OriginKind::ConfigMap,
        ReferenceKind::Secret => OriginKind::Secret,
    };
    expansion::from(Arc::new(Origin::new(kind, name, key)), value)
}

/// Any printable ASCII character but `=` may stand in a variable's name.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_stay_in_the_order_of_their_first_mention() {
        let names: Vec<String> = (0..50).map(|n| format!("V{}", (n * 37) % 50)).collect();
        let mut own = Environment::default();
        for name in &names {
            own.set(name, Text::literal(name.as_str()));
        }
        // A later word changes the value, and not the place.
        own.set(&names[3], Text::literal("other"));
        assert_eq!(own.get(&names[3]), Some(&Text::literal("other")));
        let found: Vec<String> = own.into_variables().into_iter().map(|variable| variable.name).collect();
        assert_eq!(found, names);
    }
}
