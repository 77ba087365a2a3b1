//! Groups of rules: kept, listed as YAML and as JSON, deleted.

#![no_main]

use fuzz::ask::{ask, begin};
use libfuzzer_sys::fuzz_target;

const NAMESPACE: &str = "/loki/api/v1/rules/team";

fuzz_target!(|group: &[u8]| {
    begin();
    if ask("POST", NAMESPACE, "application/yaml", group) != Some(202) {
        return;
    }
    assert_eq!(ask("GET", NAMESPACE, "", b""), Some(200));
    assert_eq!(ask("GET", "/prometheus/api/v1/rules", "", b""), Some(200));
    assert_eq!(ask("DELETE", NAMESPACE, "", b""), Some(202));
});
