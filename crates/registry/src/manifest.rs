//! Reads what the registry must know of a manifest. The bytes themselves are kept as they came.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::digest::Digest;
use crate::error::{Code, Error};

/// An index as the Distribution Specification's lists of referrers are.
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// What manifests there are.
pub(crate) const MEDIA_TYPES: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST];

/// Layers whose bytes are somewhere else.
const FOREIGN_LAYERS: [&str; 2] = [
    "application/vnd.oci.image.layer.nondistributable.",
    "application/vnd.docker.image.rootfs.foreign.",
];

/// A reference to content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Descriptor {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// What the registry knows of a manifest.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manifest {
    /// Blobs that must be there: configuration and layers, each once.
    pub(crate) blobs: Vec<Descriptor>,
    /// Layers whose bytes are somewhere else, each once; some clients push them all the same.
    pub(crate) foreign: Vec<Descriptor>,
    /// What an index names, each once: manifests, but some clients name blobs there.
    pub(crate) manifests: Vec<Descriptor>,
    /// The manifest that this one is about.
    pub(crate) subject: Option<Digest>,
    /// What kind of artifact it is; of an image, the media type of its configuration.
    pub(crate) artifact_type: Option<String>,
    pub(crate) annotations: Option<Annotations>,
}

/// Texts by their names, which is all that annotations can be.
pub(crate) type Annotations = BTreeMap<String, String>;

/// A JSON object. What is read into a structure could be an array of its fields otherwise.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Object<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read {
    schema_version: Option<i64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Object<ReadDescriptor>>,
    layers: Option<Vec<Object<ReadDescriptor>>>,
    manifests: Option<Vec<Object<ReadDescriptor>>>,
    subject: Option<Object<ReadDescriptor>>,
    annotations: Option<Annotations>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadDescriptor {
    media_type: Option<String>,
    digest: String,
    size: i64,
}

impl ReadDescriptor {
    fn descriptor(&self) -> Result<Descriptor, Error> {
        let size = u64::try_from(self.size).map_err(|_| {
            let message = format!("{} has a size below zero", self.digest);
            Error::new(Code::ManifestInvalid, message)
        })?;
        Ok(Descriptor {
            digest: Digest::parse(&self.digest)?,
            size,
        })
    }

    fn is_foreign(&self) -> bool {
        let media_type = self.media_type.as_deref().unwrap_or_default();
        FOREIGN_LAYERS
            .iter()
            .any(|prefix| media_type.starts_with(prefix))
    }
}

/// The media type of a pushed manifest, from its header, or if that is missing from itself, and
/// what the registry must know of it. It may name so many blobs or manifests.
///
/// # Errors
/// `MANIFEST_INVALID` or `DIGEST_INVALID`, saying which part is wrong.
pub(crate) fn read(
    content_type: Option<&str>,
    bytes: &[u8],
    descriptors_max: usize,
) -> Result<(String, Manifest), Error> {
    let invalid = |message: String| Error::new(Code::ManifestInvalid, message);
    let Object(read): Object<Read> = serde_json::from_slice(bytes)
        .map_err(|error| invalid(format!("the manifest cannot be read: {error}")))?;
    let said = content_type.map(|value| value.split(';').next().unwrap_or(value).trim());
    let media_type = match (said, &read.media_type) {
        (Some(said), Some(inside)) if said != inside => {
            return Err(invalid(format!(
                "Content-Type is {said} and the manifest's own mediaType {inside}"
            )));
        }
        (Some(said), _) => said.to_owned(),
        (None, Some(inside)) => inside.clone(),
        (None, None) => return Err(invalid("Content-Type says no media type".to_owned())),
    };
    if read.schema_version != Some(2) {
        return Err(invalid("schemaVersion must be 2".to_owned()));
    }
    let manifest = match media_type.as_str() {
        OCI_MANIFEST | DOCKER_MANIFEST => image(&read)?,
        OCI_INDEX | DOCKER_LIST => index(&read)?,
        _ => {
            return Err(invalid(format!(
                "`{media_type}` is not a media type of manifests here; there are {OCI_MANIFEST}, {OCI_INDEX}, {DOCKER_MANIFEST} and {DOCKER_LIST}"
            )));
        }
    };
    let subject = read.subject.as_ref().map(|subject| subject.0.descriptor());
    let manifest = Manifest {
        subject: subject.transpose()?.map(|descriptor| descriptor.digest),
        annotations: read.annotations,
        blobs: once(manifest.blobs),
        foreign: once(manifest.foreign),
        manifests: once(manifest.manifests),
        ..manifest
    };
    let named = manifest.blobs.len() + manifest.foreign.len() + manifest.manifests.len();
    if named > descriptors_max {
        return Err(invalid(format!(
            "registry.limits.descriptors_max: a manifest names at most {descriptors_max} blobs or \
             manifests, this one {named}"
        )));
    }
    Ok((media_type, manifest))
}

fn once(mut descriptors: Vec<Descriptor>) -> Vec<Descriptor> {
    descriptors.sort_unstable();
    descriptors.dedup();
    descriptors
}

fn image(read: &Read) -> Result<Manifest, Error> {
    let invalid = |message: &str| Error::new(Code::ManifestInvalid, message);
    if read.manifests.is_some() {
        return Err(invalid("an image manifest has no `manifests`"));
    }
    let config = read.config.as_ref().map(|config| &config.0);
    let config = config.ok_or_else(|| invalid("an image manifest has a `config`"))?;
    let layers = read.layers.as_deref();
    let layers = layers.ok_or_else(|| invalid("an image manifest has `layers`"))?;
    let (mut blobs, mut foreign) = (vec![config.descriptor()?], Vec::new());
    for Object(layer) in layers {
        match layer.is_foreign() {
            true => foreign.push(layer.descriptor()?),
            false => blobs.push(layer.descriptor()?),
        }
    }
    let kind = read.artifact_type.clone().filter(|kind| !kind.is_empty());
    Ok(Manifest {
        blobs,
        foreign,
        artifact_type: kind.or_else(|| config.media_type.clone()),
        ..Manifest::default()
    })
}

fn index(read: &Read) -> Result<Manifest, Error> {
    let invalid = |message: &str| Error::new(Code::ManifestInvalid, message);
    if read.layers.is_some() || read.config.is_some() {
        return Err(invalid("an index has neither `config` nor `layers`"));
    }
    let manifests = read.manifests.as_deref();
    let manifests = manifests.ok_or_else(|| invalid("an index has `manifests`"))?;
    Ok(Manifest {
        manifests: manifests
            .iter()
            .map(|manifest| manifest.0.descriptor())
            .collect::<Result<_, _>>()?,
        artifact_type: read.artifact_type.clone().filter(|kind| !kind.is_empty()),
        ..Manifest::default()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn descriptor(media_type: &str, digit: char) -> Value {
        let digest = format!("sha256:{}", digit.to_string().repeat(64));
        json!({"mediaType": media_type, "digest": digest, "size": 7})
    }

    fn read_value(content_type: &str, value: &Value) -> Result<Manifest, Error> {
        read(Some(content_type), value.to_string().as_bytes(), 4).map(|(_, manifest)| manifest)
    }

    #[test]
    fn an_image_needs_its_configuration_and_its_own_layers() {
        let image = json!({
            "schemaVersion": 2,
            "config": descriptor("application/x.config", 'a'),
            "layers": [
                descriptor("application/vnd.oci.image.layer.v1.tar", 'b'),
                descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar", 'c'),
            ],
            "subject": descriptor(OCI_MANIFEST, 'd'),
            "unknown": {"kept": true},
        });
        let manifest = read_value(OCI_MANIFEST, &image).unwrap();
        assert_eq!((manifest.blobs.len(), manifest.foreign.len()), (2, 1));
        assert_eq!(
            manifest.artifact_type.as_deref(),
            Some("application/x.config")
        );
        assert!(manifest.subject.unwrap().as_str().ends_with("dddd"));
    }

    #[test]
    fn what_is_named_counts_once_and_is_bounded() {
        let image = |digits: &str| {
            let layer = |digit| descriptor("application/vnd.oci.image.layer.v1.tar", digit);
            let layers: Vec<Value> = digits.chars().map(layer).collect();
            let config = descriptor("application/x.config", 'a');
            read_value(
                OCI_MANIFEST,
                &json!({"schemaVersion": 2, "config": config, "layers": layers}),
            )
        };
        assert_eq!(image("bcdbcdbcd").unwrap().blobs.len(), 4);
        let refused = image("bcde").unwrap_err().message;
        assert!(
            refused.contains("registry.limits.descriptors_max"),
            "{refused}"
        );
    }

    #[test]
    fn what_does_not_hold_together_is_refused() {
        let good = json!({"schemaVersion": 2, "manifests": []});
        assert!(read_value(OCI_INDEX, &good).is_ok());
        for (content_type, value) in [
            (OCI_MANIFEST, good.clone()),
            ("text/plain", good),
            (OCI_INDEX, json!({"schemaVersion": 1, "manifests": []})),
            (OCI_INDEX, json!({"schemaVersion": 2})),
            (
                OCI_INDEX,
                json!({"schemaVersion": 2, "manifests": [], "mediaType": DOCKER_LIST}),
            ),
            (
                OCI_INDEX,
                json!({"schemaVersion": 2, "manifests": [{"digest": "sha256:x", "size": 1}]}),
            ),
            (
                OCI_INDEX,
                json!({"schemaVersion": 2, "manifests": [], "config": descriptor("x", 'a')}),
            ),
            (OCI_INDEX, json!([])),
            // The fields one after the other are no object.
            (
                OCI_INDEX,
                json!([2, OCI_INDEX, null, null, null, [], null, null]),
            ),
            (
                OCI_INDEX,
                json!({"schemaVersion": 2, "manifests": [[null, descriptor("x", 'a')["digest"], 1]]}),
            ),
            (
                OCI_INDEX,
                json!({"schemaVersion": 2, "manifests": [], "annotations": {"k": {"x": [1]}}}),
            ),
            (
                OCI_INDEX,
                json!({"schemaVersion": 2, "manifests": [], "annotations": {"k": null}}),
            ),
        ] {
            assert!(
                read_value(content_type, &value).is_err(),
                "{content_type} {value}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_stop_the_process(bytes: Vec<u8>) {
            let _ = read(Some(OCI_MANIFEST), &bytes, 4);
        }
    }
}
