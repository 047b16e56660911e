//! Identity of a pod, and strings that remember where their pieces came from.
//!
//! A piece that came from a Secret or a token is never shown: `Debug` of every type here masks it.

use std::fmt;
use std::sync::Arc;

/// One pod. A pod of the same name with another UID is another pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodKey {
    /// `metadata.uid`; the identity. All work is keyed by it.
    pub uid: Arc<str>,
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
}

impl PodKey {
    /// A key of these parts.
    pub fn new(uid: impl Into<Arc<str>>, namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { uid: uid.into(), namespace: namespace.into(), name: name.into() }
    }
}

/// `NAMESPACE/NAME`, as people write it.
impl fmt::Display for PodKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// A pod at the backend.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodRef {
    /// Which pod.
    pub key: PodKey,
    /// The attempt that is meant.
    pub attempt: u32,
    /// The backend's id of it as last reported; empty if none was.
    pub id: String,
}

impl PodRef {
    /// The first attempt of a pod, of which the backend has told nothing.
    pub const fn first(key: PodKey) -> Self {
        Self { key, attempt: 0, id: String::new() }
    }
}

/// What kind of thing a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OriginKind {
    /// A ConfigMap's key.
    ConfigMap,
    /// A Secret's key.
    Secret,
    /// A field of the pod.
    Field,
    /// A container's resource.
    ResourceField,
    /// A Service.
    Service,
    /// A ServiceAccount token.
    Token,
    /// A certificate issued for the pod.
    Certificate,
    /// A ClusterTrustBundle.
    TrustBundle,
}

impl OriginKind {
    /// The contract's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "config-map",
            Self::Secret => "secret",
            Self::Field => "field",
            Self::ResourceField => "resource-field",
            Self::Service => "service",
            Self::Token => "token",
            Self::Certificate => "certificate",
            Self::TrustBundle => "trust-bundle",
        }
    }

    /// Whether a value of this origin must not be shown or logged.
    pub const fn is_sensitive(self) -> bool {
        matches!(self, Self::Secret | Self::Token | Self::Certificate)
    }
}

/// Where a value came from, if it is not written in the pod's manifest itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// What kind of thing.
    pub kind: OriginKind,
    /// The object's name, or the field's path.
    pub name: Arc<str>,
    /// The key in it; empty where there is none.
    pub key: Arc<str>,
}

impl Origin {
    /// An origin of these parts.
    pub fn new(kind: OriginKind, name: impl Into<Arc<str>>, key: impl Into<Arc<str>>) -> Self {
        Self { kind, name: name.into(), key: key.into() }
    }
}

/// A piece of a string.
#[derive(Clone, PartialEq, Eq)]
pub enum TextValue {
    /// These characters.
    Literal(String),
    /// A field of the pod that is known after its start: `status.podIP`, `status.podIPs`, `status.hostIP`,
    /// `status.hostIPs`.
    Late(String),
}

/// A piece of a string, and where it came from.
#[derive(Clone, PartialEq, Eq)]
pub struct TextPart {
    /// The piece.
    pub value: TextValue,
    /// None: written in the manifest.
    pub origin: Option<Arc<Origin>>,
}

impl TextPart {
    /// Characters written in the manifest.
    pub fn literal(characters: impl Into<String>) -> Self {
        Self { value: TextValue::Literal(characters.into()), origin: None }
    }

    /// Whether it must not be shown.
    pub fn is_sensitive(&self) -> bool {
        self.origin.as_ref().is_some_and(|origin| origin.kind.is_sensitive())
    }
}

impl fmt::Debug for TextPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            _ if self.is_sensitive() => f.write_str("<masked>"),
            TextValue::Literal(characters) => write!(f, "{characters:?}"),
            TextValue::Late(field) => write!(f, "<{field}>"),
        }
    }
}

/// A string made of pieces.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Text(pub Vec<TextPart>);

impl Text {
    /// A string written in the manifest.
    pub fn literal(characters: impl Into<String>) -> Self {
        Self(vec![TextPart::literal(characters)])
    }

    /// Whether a piece of it must not be shown.
    pub fn is_sensitive(&self) -> bool {
        self.0.iter().any(TextPart::is_sensitive)
    }

    /// The fields of the pod that it still waits for.
    pub fn late_fields(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match &part.value {
            TextValue::Late(field) => Some(field.as_str()),
            TextValue::Literal(_) => None,
        })
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An environment variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvVar {
    /// Name.
    pub name: String,
    /// Value.
    pub value: Text,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_masks_what_came_from_a_secret() {
        let origin = Arc::new(Origin::new(OriginKind::Secret, "db", "password"));
        let url = Text(vec![
            TextPart::literal("postgres://app:"),
            TextPart { value: TextValue::Literal("canary".into()), origin: Some(origin) },
            TextPart::literal("@db"),
        ]);
        let shown = format!("{:?}", EnvVar { name: "URL".into(), value: url });
        assert!(!shown.contains("canary"), "{shown}");
        assert!(shown.contains("postgres://app:"), "{shown}");
    }
}
