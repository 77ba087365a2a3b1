//! Where things lie in the store.
//!
//! ```text
//! data/<tenant>/<yyyy-mm-dd>/<ulid>.lgob           data objects
//! index/<tenant>/<yyyy-mm-dd>/<ulid>.lgix          label index files
//! manifest/<tenant>/<yyyy-mm-dd>/<20 digits>.lgmf  manifest entries, numbered from 1 without gaps
//! manifest/<tenant>/<yyyy-mm-dd>/<20 digits>.ckpt  the state after the entry of that number
//! manifest/<tenant>/<yyyy-mm-dd>/….damaged         what lay there of a file before a repair
//! claims/<tenant>/<yyyy-mm-dd>/<20 digits>.lgcl    who compacts a partition now
//! rules/<tenant>/<namespace>/<group>               rule groups, names escaped
//! deletes/<tenant>/<ulid>.lgdr                     requests to delete lines
//! deletes/<tenant>/<ulid>.done                     those of them that were carried out
//! ```
//!
//! Days are UTC. In code a day is an `i64`, days since the Unix epoch, and an object's id a `u128`,
//! printed as a ULID.

use jiff::civil::Date;
use model::TenantId;
use ulid::Ulid;

/// Root of data objects.
pub const DATA_ROOT: &str = "data";
/// Root of label index files.
pub const INDEX_ROOT: &str = "index";
/// Root of manifests.
pub const MANIFEST_ROOT: &str = "manifest";

/// Root of claims.
pub const CLAIMS_ROOT: &str = "claims";
/// Root of requests to delete lines.
pub const DELETES_ROOT: &str = "deletes";
/// Root of rule groups.
pub const RULES_ROOT: &str = "rules";

const EPOCH: Date = Date::constant(1970, 1, 1);

/// The text of a day: `yyyy-mm-dd`. Days that no `i64` of nanoseconds reaches print as the epoch.
#[must_use]
pub fn day_text(day: i64) -> String {
    let span = jiff::Span::new().try_days(day);
    let date = span.and_then(|span| EPOCH.checked_add(span));
    date.unwrap_or(EPOCH).to_string()
}

/// The day of a text `yyyy-mm-dd`.
#[must_use]
pub fn parse_day(text: &str) -> Option<i64> {
    let date: Date = text.parse().ok()?;
    let days = i64::from(EPOCH.until(date).ok()?.get_days());
    (day_text(days) == text).then_some(days)
}

/// The text of an object's id, a ULID.
#[must_use]
pub fn id_text(id: u128) -> String {
    Ulid::from(id).to_string()
}

/// The id of a ULID's text.
#[must_use]
pub fn parse_id(text: &str) -> Option<u128> {
    let ulid = Ulid::from_string(text).ok()?;
    (ulid.to_string() == text).then(|| ulid.into())
}

/// When an id was made, in nanoseconds since the Unix epoch, as far as its maker's clock was right.
#[must_use]
pub fn id_time_ns(id: u128) -> i64 {
    i64::try_from(Ulid::from(id).timestamp_ms())
        .unwrap_or(0)
        .saturating_mul(1_000_000)
}

/// A fresh id for an object made at `now_ns`.
#[must_use]
pub fn new_id(now_ns: i64) -> u128 {
    let ms = u64::try_from(now_ns / 1_000_000).unwrap_or(0);
    Ulid::from_parts(ms, rand::random()).into()
}

/// The key of a data object.
#[must_use]
pub fn data_key(tenant: &TenantId, day: i64, id: u128) -> String {
    format!("{}/{}.lgob", partition(DATA_ROOT, tenant, day), id_text(id))
}

/// The key of a label index file.
#[must_use]
pub fn index_key(tenant: &TenantId, day: i64, id: u128) -> String {
    format!(
        "{}/{}.lgix",
        partition(INDEX_ROOT, tenant, day),
        id_text(id)
    )
}

/// The key of a manifest entry.
#[must_use]
pub fn entry_key(tenant: &TenantId, day: i64, seq: u64) -> String {
    format!("{}/{seq:020}.lgmf", partition(MANIFEST_ROOT, tenant, day))
}

/// The key of a checkpoint.
#[must_use]
pub fn checkpoint_key(tenant: &TenantId, day: i64, seq: u64) -> String {
    format!("{}/{seq:020}.ckpt", partition(MANIFEST_ROOT, tenant, day))
}

/// The directory of a partition under a root, without a slash at the end.
#[must_use]
pub fn partition(root: &str, tenant: &TenantId, day: i64) -> String {
    format!("{root}/{tenant}/{}", day_text(day))
}

/// The directory of a partition's claims.
#[must_use]
pub fn claims_directory(tenant: &TenantId, day: i64) -> String {
    partition(CLAIMS_ROOT, tenant, day)
}

/// The key of a claim.
#[must_use]
pub fn claim_key(tenant: &TenantId, day: i64, seq: u64) -> String {
    format!("{}/{seq:020}.lgcl", claims_directory(tenant, day))
}

/// The number in a key of a claim; `None` if it is nothing of ours.
pub(crate) fn parse_claim_key(key: &str) -> Option<u64> {
    let (number, extension) = file_name(key).split_once('.')?;
    (extension == "lgcl").then(|| parse_number(number))?
}

/// The directory of a tenant's requests to delete lines.
#[must_use]
pub fn deletes_directory(tenant: &TenantId) -> String {
    format!("{DELETES_ROOT}/{tenant}")
}

/// The key of a request to delete lines.
#[must_use]
pub fn delete_key(tenant: &TenantId, id: u128) -> String {
    format!("{}/{}.lgdr", deletes_directory(tenant), id_text(id))
}

/// The key of the note that a request to delete lines was carried out.
#[must_use]
pub fn finished_delete_key(tenant: &TenantId, id: u128) -> String {
    format!("{}/{}.done", deletes_directory(tenant), id_text(id))
}

/// The directory of a tenant's rule groups, or of those of one namespace.
#[must_use]
pub fn rules_directory(tenant: &TenantId, namespace: Option<&str>) -> String {
    match namespace {
        None => format!("{RULES_ROOT}/{tenant}"),
        Some(namespace) => format!("{RULES_ROOT}/{tenant}/{}", escaped(namespace)),
    }
}

/// The key of a rule group.
#[must_use]
pub fn rule_group_key(tenant: &TenantId, namespace: &str, group: &str) -> String {
    let directory = rules_directory(tenant, Some(namespace));
    format!("{directory}/{}", escaped(group))
}

/// Namespace and group of a rule group's key; `None` if it is nothing of ours.
#[must_use]
pub fn parse_rule_group_key(key: &str) -> Option<(String, String)> {
    let mut parts = key.strip_prefix(RULES_ROOT)?.strip_prefix('/')?.split('/');
    let (_tenant, namespace, group) = (parts.next()?, parts.next()?, parts.next()?);
    let names = (unescaped(namespace)?, unescaped(group)?);
    parts.next().is_none().then_some(names)
}

/// A name as a part of a key: all but letters, digits, `-` and `_` as `=` and two hex digits for
/// each byte.
fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => out.push(char::from(byte)),
            _ => out.push_str(&format!("={byte:02x}")),
        }
    }
    out
}

fn unescaped(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'=' {
            bytes.push(*first);
            continue;
        }
        let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        rest = tail.get(2..)?;
    }
    String::from_utf8(bytes).ok()
}

/// A file of a manifest by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ManifestFile {
    Entry(u64),
    Checkpoint(u64),
}

/// What a key of a manifest directory is; `None` if it is nothing of ours.
pub(crate) fn parse_manifest_key(key: &str) -> Option<ManifestFile> {
    let (number, extension) = file_name(key).split_once('.')?;
    let seq = parse_number(number)?;
    match extension {
        "lgmf" => Some(ManifestFile::Entry(seq)),
        "ckpt" => Some(ManifestFile::Checkpoint(seq)),
        _ => None,
    }
}

/// A file about a request to delete lines, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeleteFile {
    Request(u128),
    Finished(u128),
}

/// What a key of a directory of delete requests is; `None` if it is nothing of ours.
pub(crate) fn parse_delete_key(key: &str) -> Option<DeleteFile> {
    let (id, extension) = file_name(key).split_once('.')?;
    match extension {
        "lgdr" => parse_id(id).map(DeleteFile::Request),
        "done" => parse_id(id).map(DeleteFile::Finished),
        _ => None,
    }
}

/// A number of twenty digits.
fn parse_number(text: &str) -> Option<u64> {
    let is_ours = text.len() == 20 && text.bytes().all(|b| b.is_ascii_digit());
    is_ours.then(|| text.parse().ok())?
}

/// The id in a key of a data object or an index file; `None` if it is nothing of ours.
#[must_use]
pub fn parse_file_id(key: &str) -> Option<u128> {
    match file_name(key).split_once('.')? {
        (id, "lgob" | "lgix") => parse_id(id),
        _ => None,
    }
}

/// Whether something of ours can have this key.
pub(crate) fn is_ours(key: &str) -> bool {
    let extension = file_name(key).rsplit_once('.').map(|(_, end)| end);
    match key.split_once('/').map(|(root, _)| root) {
        // Groups of rules are called as their users say.
        Some(RULES_ROOT) => true,
        Some(DATA_ROOT | INDEX_ROOT) => matches!(extension, Some("lgob" | "lgix")),
        Some(MANIFEST_ROOT) => matches!(extension, Some("lgmf" | "ckpt" | "damaged")),
        Some(CLAIMS_ROOT) => extension == Some("lgcl"),
        Some(DELETES_ROOT) => matches!(extension, Some("lgdr" | "done")),
        _ => false,
    }
}

fn file_name(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_print_and_parse() {
        for (day, text) in [
            (0, "1970-01-01"),
            (20_780, "2026-11-23"),
            (-1, "1969-12-31"),
        ] {
            assert_eq!(day_text(day), text);
            assert_eq!(parse_day(text), Some(day));
        }
        for bad in ["", "2026-13-01", "2026-1-1", "x", "2026-11-23T00:00"] {
            assert_eq!(parse_day(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_of_rules_may_be_anything() {
        let tenant = TenantId::new("team-1").unwrap();
        for name in ["g1", "with / slash", "ü=%", ".."] {
            let key = rule_group_key(&tenant, name, name);
            assert_eq!(key.split('/').count(), 4, "{key}");
            let names = parse_rule_group_key(&key);
            assert_eq!(names, Some((name.to_owned(), name.to_owned())));
        }
        assert_eq!(rule_group_key(&tenant, "a b", "c"), "rules/team-1/a=20b/c");
        for bad in ["rules/t/a", "rules/t/a/b/c", "rules/t/=2/b", "data/t/a/b"] {
            assert_eq!(parse_rule_group_key(bad), None, "{bad}");
        }
    }

    #[test]
    fn keys_say_what_they_are() {
        let tenant = TenantId::new("team-1").unwrap();
        let key = entry_key(&tenant, 0, 7);
        assert_eq!(key, "manifest/team-1/1970-01-01/00000000000000000007.lgmf");
        assert_eq!(parse_manifest_key(&key), Some(ManifestFile::Entry(7)));
        let key = checkpoint_key(&tenant, 0, 64);
        assert_eq!(parse_manifest_key(&key), Some(ManifestFile::Checkpoint(64)));
        let id = new_id(1_763_942_400_000_000_000);
        assert_eq!(id_time_ns(id), 1_763_942_400_000_000_000);
        assert_eq!(parse_file_id(&data_key(&tenant, 0, id)), Some(id));
        assert_eq!(parse_file_id(&index_key(&tenant, 0, id)), Some(id));
        assert_eq!(parse_file_id("data/x/.DS_Store"), None);
        assert_eq!(parse_claim_key(&claim_key(&tenant, 0, 7)), Some(7));
        assert_eq!(parse_claim_key("claims/t/d/7.lgcl"), None);
        let key = delete_key(&tenant, id);
        assert_eq!(parse_delete_key(&key), Some(DeleteFile::Request(id)));
        let key = finished_delete_key(&tenant, id);
        assert_eq!(parse_delete_key(&key), Some(DeleteFile::Finished(id)));
        assert_eq!(parse_delete_key("deletes/x/.DS_Store"), None);
        assert_eq!(parse_manifest_key("manifest/t/d/+7.lgmf"), None);
    }
}
