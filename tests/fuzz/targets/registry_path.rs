//! Paths of requests to the image registry: what one asks for has a name without tricks, and is what
//! its own words ask for.

#![no_main]

use libfuzzer_sys::fuzz_target;
use registry::fuzz::path;

fuzz_target!(|text: &str| {
    for text in [text.to_owned(), format!("/v2/{text}")] {
        let Some(plain) = path(&text) else { continue };
        assert_eq!(path(&plain).as_ref(), Some(&plain), "{text}");
        let repo = plain.split("/blobs/uploads/").next().unwrap_or_default();
        assert!(!repo.contains("..") && !repo.contains('%'), "{plain}");
        assert!(!repo.trim_end_matches('/').contains("//"), "{plain}");
    }
});
