//! Label filters: those that are written, and every operator with any value.

#![no_main]

use fuzz::rows::Input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(input) = Input::new(input) else {
        return;
    };
    let (text, quoted) = (input.text, input.quoted());
    let filters = [
        text.to_owned(),
        format!("a = {quoted}"),
        format!("a != {quoted}"),
        format!("a =~ {quoted}"),
        format!("a !~ {quoted}"),
        format!("a = ip({quoted})"),
        format!("a >= {text}"),
        format!("a < {text} or b == {text}"),
    ];
    let variants =
        filters.map(|filter| [format!("| logfmt | {filter}"), format!("| json | {filter}")]);
    input.run(&variants.concat());
});
