//! Parameters of every endpoint that answers questions, in the address and as a form.

#![no_main]

use fuzz::ask::{ask, begin};
use libfuzzer_sys::fuzz_target;

const PATHS: [&str; 20] = [
    "/loki/api/v1/query_range",
    "/loki/api/v1/query",
    "/loki/api/v1/labels",
    "/loki/api/v1/label/app/values",
    "/loki/api/v1/series",
    "/loki/api/v1/index/stats",
    "/loki/api/v1/index/shards",
    "/loki/api/v1/index/volume",
    "/loki/api/v1/index/volume_range",
    "/loki/api/v1/detected_labels",
    "/loki/api/v1/detected_fields",
    "/loki/api/v1/detected_field/app/values",
    "/loki/api/v1/patterns",
    "/loki/api/v1/tail",
    "/loki/api/v1/format_query",
    "/api/prom/query",
    "/api/prom/label",
    "/api/prom/tail",
    "/prometheus/api/v1/rules",
    "/prometheus/api/v1/alerts",
];
const FORM: &str = "application/x-www-form-urlencoded";

fuzz_target!(|input: &[u8]| {
    let Some(([first], params)) = input.split_first_chunk() else {
        return;
    };
    let path = PATHS[usize::from(*first) % PATHS.len()];
    begin();
    ask("POST", path, FORM, params);
    if let Ok(params) = std::str::from_utf8(params) {
        ask("GET", &format!("{path}?{params}"), "", b"");
    }
});
