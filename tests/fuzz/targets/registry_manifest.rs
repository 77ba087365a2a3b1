//! Manifests that are pushed: what is taken is taken the same way when it says its own media type,
//! and names digests only.

#![no_main]

use libfuzzer_sys::fuzz_target;
use registry::fuzz::manifest;

const TYPES: [&str; 4] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json; charset=utf-8",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

fuzz_target!(|bytes: &[u8]| {
    for content_type in TYPES.map(Some).into_iter().chain([None]) {
        let Some((media_type, digests)) = manifest(content_type, bytes) else {
            continue;
        };
        let again = manifest(Some(&media_type), bytes);
        assert_eq!(again, Some((media_type, digests.clone())));
        for digest in digests {
            let (algorithm, hex) = digest.split_once(':').unwrap_or_default();
            let length = match algorithm {
                "sha256" => 64,
                "sha512" => 128,
                other => panic!("{other}"),
            };
            let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            assert!(hex.len() == length && hex.bytes().all(is_hex), "{digest}");
        }
    }
});
