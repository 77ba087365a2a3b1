//! `unpack`, before and after other stages.

#![no_main]

use fuzz::rows::Input;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some(input) = Input::new(input) else {
        return;
    };
    let quoted = input.quoted();
    input.run(&[
        "| unpack".to_owned(),
        format!("| unpack |= {quoted} | logfmt"),
        format!("|= {quoted} | json | unpack | a = \"1\""),
    ]);
});
