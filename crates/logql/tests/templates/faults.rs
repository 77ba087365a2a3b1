//! Templates that fail.

/// Templates whose run fails: the column, the node and what is said about it.
pub(crate) const FAULTS: &[(&str, usize, &str)] = &[
    (
        "{{ .method.foo }}",
        10,
        "<.method.foo>: can't evaluate field foo in type string",
    ),
    (
        "{{.x.y}}",
        4,
        "<.x.y>: can't evaluate field y in type string",
    ),
    (
        "{{ (fromJson .json).n.x }}",
        13,
        "<.json>: nil pointer evaluating interface {}.x",
    ),
    (
        "{{ (fromJson .json).z.x }}",
        13,
        "<.json>: can't evaluate field x in type interface {}",
    ),
    (
        "{{ .method 1 }}",
        3,
        "<.method>: method is not a method but has arguments",
    ),
    (
        "{{ 1 | .method }}",
        7,
        "<.method>: method is not a method but has arguments",
    ),
    (
        "{{ $x := 1 }}{{ $x 2 }}",
        16,
        "<$x>: can't give argument to non-function $x",
    ),
    (
        "{{ `a` 1 }}",
        3,
        "<`a`>: can't give argument to non-function `a`",
    ),
    ("{{ nil }}", 3, "<nil>: nil is not a command"),
    (
        "{{ 18446744073709551615 }}",
        3,
        "<18446744073709551615>: 18446744073709551615 overflows int",
    ),
    (
        "{{ template `nope` }}",
        12,
        "<{{template \"nope\"}}>: template \"nope\" not defined",
    ),
    (
        "{{ range .method }}{{ end }}",
        9,
        "<.method>: range can't iterate over POST",
    ),
    (
        "{{ range $a, $b := 3 }}{{ end }}",
        19,
        "<3>: can't use 3 to iterate over more than one variable",
    ),
    // Arguments.
    (
        "{{ max }}",
        3,
        "<max>: wrong number of args for max: want at least 1 got 0",
    ),
    (
        "{{ printf }}",
        3,
        "<printf>: wrong number of args for printf: want at least 1 got 0",
    ),
    (
        "{{ trunc 1 }}",
        3,
        "<trunc>: wrong number of args for trunc: want 2 got 1",
    ),
    (
        "{{ .n | trunc 1 2 }}",
        8,
        "<trunc>: wrong number of args for trunc: want 2 got 3",
    ),
    (
        "{{ trunc `x` .n }}",
        9,
        "<`x`>: expected integer; found `x`",
    ),
    ("{{ lower 1 }}", 9, "<1>: expected string; found 1"),
    ("{{ lower nil }}", 9, "<nil>: cannot assign nil to string"),
    (
        "{{ 1 | lower }}",
        7,
        "<lower>: wrong type for value; expected string; got int",
    ),
    // The last node that was looked at, which is inside the argument.
    (
        "{{ trunc (add 1 2) .n }}",
        16,
        "<2>: wrong type for value; expected int; got int64",
    ),
    (
        "{{ fromJson `null` | lower }}",
        21,
        "<lower>: invalid value; expected string",
    ),
    (
        "{{ lower (fromJson .json).n }}",
        19,
        "<.json>: wrong type for value; expected string; got interface {}",
    ),
    (
        "{{ lower . }}",
        9,
        "<.>: wrong type for value; expected string; got map[string]string",
    ),
    (
        "{{ unixEpoch `x` }}",
        13,
        "<`x`>: can't handle `x` for arg of type time.Time",
    ),
    (
        "{{ .n | unixEpoch }}",
        8,
        "<unixEpoch>: wrong type for value; expected time.Time; got string",
    ),
    // Functions.
    (
        "{{ mod .n 0 }}",
        3,
        "<mod .n 0>: error calling mod: runtime error: integer divide by zero",
    ),
    (
        "{{ divf 1 0 }}",
        3,
        "<divf 1 0>: error calling divf: decimal division by 0",
    ),
    (
        "{{ addf `Inf` 1 }}",
        3,
        "<addf `Inf` 1>: error calling addf: Cannot create a Decimal from +Inf",
    ),
    (
        "{{ lt 1 1.5 }}",
        3,
        "<lt 1 1.5>: error calling lt: incompatible types for comparison: int and float64",
    ),
    (
        "{{ eq `1` 1 }}",
        3,
        "<eq `1` 1>: error calling eq: incompatible types for comparison: string and int",
    ),
    (
        "{{ eq 1 }}",
        3,
        "<eq 1>: error calling eq: missing argument for comparison",
    ),
    (
        "{{ lt true false }}",
        3,
        "<lt true false>: error calling lt: invalid type for comparison",
    ),
    (
        "{{ call .method }}",
        3,
        "<call .method>: error calling call: non-function .method of type string",
    ),
    (
        "{{ call nil }}",
        3,
        "<call nil>: error calling call: call of nil",
    ),
    (
        "{{ index .method 99 }}",
        3,
        "<index .method 99>: error calling index: index out of range: 99",
    ),
    (
        "{{ index .method 4 }}",
        3,
        "<index .method 4>: error calling index: reflect: string index out of range",
    ),
    (
        "{{ index .method `x` }}",
        3,
        "<index .method `x`>: error calling index: cannot index slice/array with type string",
    ),
    (
        "{{ index 1 1 }}",
        3,
        "<index 1 1>: error calling index: can't index item of type int",
    ),
    (
        "{{ slice .method 2 1 }}",
        3,
        "<slice .method 2 1>: error calling slice: invalid slice index: 2 > 1",
    ),
    (
        "{{ slice .method 0 5 }}",
        3,
        "<slice .method 0 5>: error calling slice: index out of range: 5",
    ),
    (
        "{{ len 3 }}",
        3,
        "<len 3>: error calling len: len of type int",
    ),
    (
        "{{ substr 5 2 .path }}",
        3,
        "<substr 5 2 .path>: error calling substr: runtime error: slice bounds out of range [5:2]",
    ),
    (
        "{{ repeat -1 `x` }}",
        3,
        "<repeat -1 `x`>: error calling repeat: strings: negative Repeat count",
    ),
    (
        "{{ regexReplaceAll `(` .n `x` }}",
        3,
        "<regexReplaceAll `(` .n `x`>: error calling regexReplaceAll: error parsing regexp: missing closing ): `(`",
    ),
    (
        "{{ count `[` .n }}",
        3,
        "<count `[` .n>: error calling count: error parsing regexp: missing closing ]: `[`",
    ),
    (
        "{{ urldecode `%zz` }}",
        3,
        "<urldecode `%zz`>: error calling urldecode: invalid URL escape \"%zz\"",
    ),
    (
        "{{ duration .n }}",
        3,
        "<duration .n>: error calling duration: time: missing unit in duration \"234\"",
    ),
    (
        "{{ duration `2d` }}",
        3,
        "<duration `2d`>: error calling duration: time: unknown unit \"d\" in duration \"2d\"",
    ),
    (
        "{{ bytes `x` }}",
        3,
        "<bytes `x`>: error calling bytes: strconv.ParseFloat: parsing \"\": invalid syntax",
    ),
    (
        "{{ bytes `1e3KB` }}",
        3,
        "<bytes `1e3KB`>: error calling bytes: unhandled size name: e3kb",
    ),
    (
        "{{ unixToTime `12` }}",
        3,
        "<unixToTime `12`>: error calling unixToTime: unable to parse time '12': %!w(<nil>)",
    ),
    (
        "{{ unixToTime `x` }}",
        3,
        "<unixToTime `x`>: error calling unixToTime: unable to parse time 'x': strconv.ParseInt: parsing \"x\": invalid syntax",
    ),
];

/// Texts that are no templates: what is said, from the line on.
pub(crate) const SYNTAX: &[(&str, &str)] = &[
    ("{{", "1: unclosed action"),
    ("{{ if true }}x", "1: unexpected EOF"),
    ("{{ if }}x{{ end }}", "1: missing value for if"),
    ("{{ else }}", "1: unexpected {{else}}"),
    ("{{ end }}", "1: unexpected {{end}}"),
    ("{{ nosuchfn .x }}", "1: function \"nosuchfn\" not defined"),
    ("{{ env `HOME` }}", "1: function \"env\" not defined"),
    ("{{ Hash `a` `b` }}", "1: function \"Hash\" not defined"),
    ("{{ $x }}", "1: undefined variable \"$x\""),
    (
        "{{ if $x := 1 }}{{ end }}{{ $x }}",
        "1: undefined variable \"$x\"",
    ),
    ("{{ 1a }}", "1: bad number syntax: \"1a\""),
    ("{{ .a-b }}", "1: bad character U+002D '-'"),
    ("{{ \"a\n\" }}", "1: unterminated quoted string"),
    ("{{ `a }}", "1: unterminated raw quoted string"),
    ("{{ 'ab' }}", "1: malformed character constant: 'ab'"),
    ("{{ (1 }}", "1: unclosed left paren"),
    ("{{ 1) }}", "1: unexpected right paren"),
    ("{{/* x }}", "1: unclosed comment"),
    ("{{ break }}", "1: {{break}} outside {{range}}"),
    ("{{ }}", "1: missing value for command"),
    (
        "{{ .x | 1 }}",
        "1: non executable command in pipeline stage 2",
    ),
    ("{{ .x := 1 }}", "1: unexpected \":=\" in operand"),
    ("{{ $a, $b := 1 }}", "1: too many declarations in command"),
    ("{{ `x`.y }}", "1: unexpected . after term \"`x`\""),
    (
        "{{ define `a` }}x{{ end }}{{ define `a` }}y{{ end }}",
        "1: template: multiple definition of template \"a\"",
    ),
    ("{{ template x }}", "1: unexpected \"x\" in template clause"),
    ("\n\n{{ nosuchfn }}", "3: function \"nosuchfn\" not defined"),
    (
        "{{ if 1 }}\n{{ else }}{{ else }}{{ end }}",
        "2: expected end; found {{else}}",
    ),
];
