//! Paths of requests to the image registry: what one asks for has a name without tricks, and is what
//! its own words ask for.

#![no_main]

use libfuzzer_sys::fuzz_target;
use registry::fuzz::path;

fuzz_target!(|text: &str| {
    for text in [text.to_owned(), format!("/v2/{text}")] {
        let Some(plain) = path(&text) else { continue };
        assert_eq!(path(&plain).as_ref(), Some(&plain), "{text}");
        // A tag may have two dots, and has no slash.
        let kinds = ["/blobs/", "/manifests/", "/referrers/", "/tags/"];
        let end = kinds.iter().filter_map(|kind| plain.rfind(kind)).max();
        let repo = &plain[..end.unwrap_or_default()];
        assert!(!repo.contains("..") && !repo.contains('%'), "{plain}");
        assert!(!repo.contains("//"), "{plain}");
    }
});
