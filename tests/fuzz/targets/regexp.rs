//! `regexp`.

#![no_main]

use fuzz::rows;
use fuzz::rows::Input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(input) = Input::new(input) else {
        return;
    };
    let group = rows::quoted(&format!("(?P<a>{})", input.text));
    input.run(&[
        format!("| regexp {}", input.quoted()),
        format!("| regexp {group}"),
    ]);
});
