//! Streams as pushes name them: labels parsed, completed and checked once, then remembered.
//!
//! Agents push the same streams again and again, so what is made of a label text is kept by that
//! text, for each tenant, bounded by bytes. An entry holds the limits that it was checked against;
//! when a tenant's limits change they are another object, and the entry no longer counts.

use std::borrow::Cow;
use std::sync::Arc;

use cluster::stream_key;
use model::{LabelSet, LabelSetBuilder, Limits, TenantId, is_valid_label_name};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use xxhash_rust::xxh3::Xxh3;

use crate::error::Rejection;
use crate::labels;
use crate::level::{DETECTED_LEVEL, Level};
use crate::names;
use crate::policies::{self, PolicyCache};
use crate::report::Reason;

/// The label that names the service of a stream, for clients that browse by it.
const SERVICE_NAME: &str = "service_name";
/// The service of streams that do not say.
const UNKNOWN_SERVICE: &str = "unknown_service";

/// A stream that a push names.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) labels: LabelSet,
    /// Its place in the ring.
    pub(crate) key: u64,
    /// Its labels as texts for senders have them.
    pub(crate) text: String,
    /// The metadata for its rows if its labels name a level.
    pub(crate) level: Option<LabelSet>,
    /// Why none of its rows are stored, if so.
    pub(crate) fault: Option<(Reason, String)>,
    /// Until when none of its rows are stored, as text and in nanoseconds, if its policy says so.
    pub(crate) blocked_until: Option<(String, i64)>,
    origin: Origin,
}

/// What a stream was made of.
#[derive(Debug)]
struct Origin {
    source: Box<[u8]>,
    tenant: TenantId,
    limits: Arc<Limits>,
}

/// Memory of an entry besides its texts: the cache's own, label sets, the limits' share.
const ENTRY_BYTES: u64 = 512;
/// Copies of the label text that an entry has: key, labels, printed text.
const TEXT_COPIES: u64 = 4;

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<u128, Arc<Stream>> for ByBytes {
    fn weight(&self, _: &u128, stream: &Arc<Stream>) -> u64 {
        ENTRY_BYTES + TEXT_COPIES * stream.origin.source.len() as u64
    }
}

/// Streams by what they were made of.
pub(crate) struct StreamCache {
    streams: Cache<u128, Arc<Stream>, ByBytes>,
    policies: PolicyCache,
}

/// A usual number of bytes of an entry, to size the cache's tables.
const USUAL_ENTRY_BYTES: u64 = 1024;

impl StreamCache {
    pub(crate) fn new(bytes_max: u64) -> Self {
        let entries = usize::try_from(bytes_max / USUAL_ENTRY_BYTES).unwrap_or(usize::MAX);
        Self {
            streams: Cache::with_weighter(entries.max(16), bytes_max, ByBytes),
            policies: PolicyCache::default(),
        }
    }

    /// The stream that `{a="x"}` names.
    pub(crate) fn of_text(
        &self,
        tenant: &TenantId,
        limits: &Arc<Limits>,
        text: &str,
    ) -> Result<Arc<Stream>, Rejection> {
        self.get_or_make(tenant, limits, text.as_bytes(), || {
            let pairs = labels::parse(text).map_err(unparsable)?;
            let normalized = |(name, value): (String, String)| {
                let name = names::normalized(&name).map(Cow::into_owned);
                name.map(|name| (name, value))
                    .map_err(|error| Rejection::invalid(error.to_string()))
            };
            pairs.into_iter().map(normalized).collect()
        })
    }

    /// The stream of pairs that must be label names and values as they are. `scratch` is where the
    /// key is put together.
    pub(crate) fn of_pairs<N: AsRef<str>, V: AsRef<str>>(
        &self,
        tenant: &TenantId,
        limits: &Arc<Limits>,
        pairs: &[(N, V)],
        scratch: &mut Vec<u8>,
    ) -> Result<Arc<Stream>, Rejection> {
        scratch.clear();
        for (name, value) in pairs {
            for text in [name.as_ref(), value.as_ref()] {
                // No label text begins with these bytes: keys of both kinds never meet.
                scratch.extend_from_slice(&[0xff]);
                scratch.extend_from_slice(&text.len().to_le_bytes());
                scratch.extend_from_slice(text.as_bytes());
            }
        }
        self.get_or_make(tenant, limits, scratch, || {
            let pairs: Vec<(String, String)> = pairs
                .iter()
                .map(|(name, value)| (name.as_ref().to_owned(), value.as_ref().to_owned()))
                .collect();
            check_names(&pairs)?;
            Ok(pairs)
        })
    }

    fn get_or_make(
        &self,
        tenant: &TenantId,
        limits: &Arc<Limits>,
        source: &[u8],
        pairs: impl FnOnce() -> Result<Vec<(String, String)>, Rejection>,
    ) -> Result<Arc<Stream>, Rejection> {
        let mut hasher = Xxh3::new();
        hasher.update(tenant.as_str().as_bytes());
        hasher.update(&[0]);
        hasher.update(source);
        let key = hasher.digest128();
        if let Some(stream) = self.streams.get(&key) {
            let origin = &stream.origin;
            if *origin.source == *source
                && origin.tenant == *tenant
                && Arc::ptr_eq(&origin.limits, limits)
            {
                return Ok(stream);
            }
        }
        let origin = Origin {
            source: source.into(),
            tenant: tenant.clone(),
            limits: Arc::clone(limits),
        };
        let stream = Arc::new(Stream::new(pairs()?, origin, &self.policies));
        self.streams.insert(key, Arc::clone(&stream));
        Ok(stream)
    }
}

fn unparsable(error: impl std::fmt::Display) -> Rejection {
    Rejection::invalid(format!("couldn't parse labels: {error}"))
}

/// Refuses names that are none, with the error that the same labels written as text have.
fn check_names(pairs: &[(String, String)]) -> Result<(), Rejection> {
    if pairs.iter().all(|(name, _)| is_valid_label_name(name)) {
        return Ok(());
    }
    let mut written: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={}", model::units::quote(value)))
        .collect();
    written.sort_unstable();
    match labels::parse(&format!("{{{}}}", written.join(", "))) {
        Err(error) => Err(unparsable(error)),
        // A name that carries the rest of a label set with it.
        Ok(_) => Err(unparsable("1:1: parse error: invalid label name")),
    }
}

impl Stream {
    fn new(pairs: Vec<(String, String)>, origin: Origin, policies: &PolicyCache) -> Self {
        let limits = Arc::clone(&origin.limits);
        let duplicate = duplicate_name(&pairs).map(str::to_owned);
        let mut builder = LabelSetBuilder::default();
        for (name, value) in pairs {
            builder.push(name, value);
        }
        let mut labels = builder.build();
        if let Some(service) = service_name(&labels, &limits) {
            let mut builder = LabelSetBuilder::default();
            for label in &labels {
                builder.push(Arc::clone(&label.name), Arc::clone(&label.value));
            }
            builder.push(SERVICE_NAME, service);
            labels = builder.build();
        }
        let text = labels.to_string();
        let policy = policies.of(&limits, &labels);
        let fault = match duplicate {
            Some(name) => Some((
                Reason::DuplicateLabelNames,
                format!("stream '{text}' has duplicate label name: '{name}'"),
            )),
            None => fault_of(&labels, &text, &limits, &origin.tenant, &policy),
        };
        let blocked_until = policies::blocked_until(&limits, &policy);
        Self {
            blocked_until: blocked_until.map(|(text, until_ns)| (text.to_owned(), until_ns)),
            key: stream_key(&origin.tenant, &labels),
            level: level_of(&labels, &limits),
            text,
            labels,
            fault,
            origin,
        }
    }
}

fn duplicate_name(pairs: &[(String, String)]) -> Option<&str> {
    let mut names: Vec<&str> = pairs.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    let twice = |pair: &[&str]| matches!(pair, [a, b] if a == b);
    let at = names.windows(2).position(twice)?;
    names.get(at).copied()
}

/// The service name to add, if one is missing and wanted.
fn service_name(labels: &LabelSet, limits: &Limits) -> Option<Arc<str>> {
    let candidates = &limits.discover_service_name;
    if candidates.is_empty() || labels.get(SERVICE_NAME).is_some() {
        return None;
    }
    let found = candidates.iter().find_map(|name| labels.get(name));
    Some(found.unwrap_or(UNKNOWN_SERVICE).into())
}

fn level_of(labels: &LabelSet, limits: &Limits) -> Option<LabelSet> {
    let value = limits
        .log_level_fields
        .iter()
        .find_map(|name| labels.get(name))?;
    Some(match Level::of_name(value.as_bytes()) {
        Some(level) => level.metadata().clone(),
        None => LabelSet::from_pairs([(DETECTED_LEVEL, value)]),
    })
}

/// What is wrong with a label set, if anything.
fn fault_of(
    labels: &LabelSet,
    text: &str,
    limits: &Limits,
    tenant: &TenantId,
    policy: &str,
) -> Option<(Reason, String)> {
    if labels.is_empty() {
        let message = "error at least one label pair is required per stream";
        return Some((Reason::MissingLabels, message.to_owned()));
    }
    let added = usize::from(labels.get(SERVICE_NAME).is_some());
    let (count, count_max) = (labels.len() - added, limits.max_label_names_per_series);
    if count_max != 0 && count > count_max {
        return Some((
            Reason::MaxLabelNamesPerSeries,
            format!("entry for stream '{text}' has {count} label names; limit {count_max}"),
        ));
    }
    let exceeds = |len: usize, len_max: usize| len_max != 0 && len > len_max;
    for label in labels {
        if exceeds(label.name.len(), limits.max_label_name_length) {
            return Some((
                Reason::LabelNameTooLong,
                format!("stream '{text}' has label name too long: '{}'", label.name),
            ));
        }
        if exceeds(label.value.len(), limits.max_label_value_length) {
            return Some((
                Reason::LabelValueTooLong,
                format!(
                    "stream '{text}' has label value too long: '{}'",
                    label.value
                ),
            ));
        }
    }
    let is_missing = |name: &&String| labels.get(name).is_none();
    let missing: Vec<&str> = policies::enforced_labels(limits, policy)
        .filter(is_missing)
        .map(String::as_str)
        .collect();
    (!missing.is_empty()).then(|| {
        (
            Reason::MissingEnforcedLabels,
            format!(
                "missing required labels '{}' for user '{tenant}' for stream '{text}' (policy: '{policy}')",
                missing.join(",")
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(limits: Limits, text: &str) -> Arc<Stream> {
        let tenant = TenantId::new("t").unwrap();
        StreamCache::new(1 << 20)
            .of_text(&tenant, &Arc::new(limits), text)
            .unwrap()
    }

    #[test]
    fn services_are_discovered_in_order() {
        for (text, service) in [
            (r#"{name="n", service="s", app="a"}"#, "s"),
            (r#"{app="a", service_name="own"}"#, "own"),
            (r#"{app="a", service_name=""}"#, "a"),
            (
                r#"{container="c", container_name="cn", k8s_container_name="k"}"#,
                "c",
            ),
            ("{}", UNKNOWN_SERVICE),
        ] {
            let stream = made(Limits::default(), text);
            assert_eq!(stream.labels.get(SERVICE_NAME), Some(service), "{text}");
        }
        let off = Limits {
            discover_service_name: Vec::new(),
            ..Limits::default()
        };
        assert_eq!(made(off.clone(), r#"{a="b"}"#).text, r#"{a="b"}"#);
        assert!(made(off, "{}").fault.is_some());
    }

    #[test]
    fn levels_come_from_labels() {
        let level = |text: &str| {
            let level = made(Limits::default(), text).level.clone();
            level.and_then(|set| set.get(DETECTED_LEVEL).map(str::to_owned))
        };
        assert_eq!(level(r#"{level="ERROR"}"#).as_deref(), Some("error"));
        assert_eq!(level(r#"{level="verbose"}"#).as_deref(), Some("verbose"));
        assert_eq!(level(r#"{a="error"}"#), None);
    }

    #[test]
    fn faults_are_worded_as_loki_words_them() {
        let limits = Limits {
            max_label_names_per_series: 3,
            max_label_name_length: 14,
            max_label_value_length: 20,
            ..Limits::default()
        };
        let fault = |text: &str| {
            made(limits.clone(), text)
                .fault
                .clone()
                .map(|(_, text)| text)
        };
        assert_eq!(
            fault(r#"{a="xxxxxxxxxxxxxxxxxxxx", abcdefghijklmn="y"}"#),
            None
        );
        for (text, message) in [
            (
                r#"{a="1", b="2", c="3", d="4"}"#,
                r#"entry for stream '{a="1", b="2", c="3", d="4", service_name="unknown_service"}' has 4 label names; limit 3"#,
            ),
            (
                r#"{a="xxxxxxxxxxxxxxxxxxxxx"}"#,
                r#"stream '{a="xxxxxxxxxxxxxxxxxxxxx", service_name="unknown_service"}' has label value too long: 'xxxxxxxxxxxxxxxxxxxxx'"#,
            ),
            (
                r#"{a="1", a="2"}"#,
                r#"stream '{a="2", service_name="unknown_service"}' has duplicate label name: 'a'"#,
            ),
        ] {
            assert_eq!(fault(text).as_deref(), Some(message), "{text}");
        }
        let enforced = Limits {
            enforced_labels: vec!["env".to_owned(), "team".to_owned()],
            ..Limits::default()
        };
        assert_eq!(made(enforced.clone(), r#"{env="p", team="t"}"#).fault, None);
        assert_eq!(
            made(enforced, r#"{env="p"}"#).fault.clone().unwrap().1,
            r#"missing required labels 'team' for user 't' for stream '{env="p", service_name="unknown_service"}' (policy: '')"#
        );
    }

    #[test]
    fn names_that_are_none_are_refused_with_their_position() {
        let (tenant, limits) = (TenantId::new("t").unwrap(), Arc::new(Limits::default()));
        let cache = StreamCache::new(1 << 20);
        let error = |pairs: &[(&str, &str)]| {
            let made = cache.of_pairs(&tenant, &limits, pairs, &mut Vec::new());
            made.map_err(|rejection| rejection.message)
        };
        assert_eq!(
            error(&[("case", "ln"), ("é", "x")]).unwrap_err(),
            "couldn't parse labels: 1:13: parse error: unexpected character inside braces: 'é'"
        );
        assert_eq!(
            error(&[("case", "ln"), ("a:b", "x")]).unwrap_err(),
            "couldn't parse labels: 1:3: parse error: unexpected character inside braces: ':'"
        );
        assert!(error(&[(r#"a="1", b"#, "x")]).is_err());
        assert!(error(&[("__name__", "x")]).is_ok());
    }

    #[test]
    fn streams_are_remembered_until_their_limits_change() {
        let (tenant, limits) = (TenantId::new("t").unwrap(), Arc::new(Limits::default()));
        let cache = StreamCache::new(1 << 20);
        let get = |tenant: &TenantId, limits: &Arc<Limits>| {
            cache.of_text(tenant, limits, r#"{a="b"}"#).unwrap()
        };
        let first = get(&tenant, &limits);
        assert!(Arc::ptr_eq(&first, &get(&tenant, &limits)));
        assert!(!Arc::ptr_eq(
            &first,
            &get(&TenantId::new("u").unwrap(), &limits)
        ));
        let changed = Arc::new(Limits::default());
        assert!(!Arc::ptr_eq(&first, &get(&tenant, &changed)));
    }
}
