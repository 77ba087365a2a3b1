//! Requests to delete lines: made, listed, cancelled.

#![no_main]

use fuzz::ask::{ask, begin};
use libfuzzer_sys::fuzz_target;

const PATH: &str = "/loki/api/v1/delete";
const FORM: &str = "application/x-www-form-urlencoded";

fuzz_target!(|params: &[u8]| {
    begin();
    ask("POST", PATH, FORM, params);
    if let Ok(params) = std::str::from_utf8(params) {
        ask("PUT", &format!("{PATH}?{params}"), "", b"");
        ask("DELETE", &format!("{PATH}?{params}"), "", b"");
    }
    assert_eq!(ask("GET", PATH, "", b""), Some(200));
    ask(
        "GET",
        "/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D",
        "",
        b"",
    );
});
