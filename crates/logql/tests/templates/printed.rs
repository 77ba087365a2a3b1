//! Templates that print.

/// Templates and what they print.
pub(crate) const PRINTED: &[(&str, &str)] = &[
    // Text, fields and trimming.
    ("", ""),
    ("}}", "}}"),
    ("{{.method}}/{{ .nosuch }}/{{.status}}", "POST//404"),
    ("a  {{- ` b ` -}}  c", "a b c"),
    ("{{- /* c */ -}} x", "x"),
    ("{{/* c */}}x", "x"),
    ("{{- .method }} {{ .status -}}   y", "POST 404y"),
    (
        "{{ $ }}",
        r#"map[dur:1m30.5s empty: json:{"a":{"b":[1,2.5,"x"]},"n":null,"t":true,"z":"last"} list:[5,6,7] method:POST n:234 path:/static/app.js quoted:Ana "A" <b> size:1.5KiB status:404 val:12.50]"#,
    ),
    (
        "{{ len . }} {{ index . `n` }} {{ index . `nosuch` }}|",
        "11 234 |",
    ),
    (
        "{{ range $k, $v := . }}{{ if contains `a` $k }}{{ $k }}={{ $v }} {{ end }}{{ end }}",
        "path=/static/app.js status=404 val=12.50 ",
    ),
    // Complex numbers.
    (
        "{{ 1i }} {{ 1+2i }} {{ -1e+2-16i }} {{ 0i }} {{ if 0i }}yes{{ else }}no{{ end }}",
        "(0+1i) (1+2i) (-100-16i) (0+0i) no",
    ),
    (
        "{{ printf `%T %.1f %d` 1i 1.25i 2i }} {{ eq 1i 0+1i }} {{ int 3+0i }}",
        "complex128 (0.0+1.2i) %!d(complex128=(0+2i)) true 0",
    ),
    // The line and its time.
    ("{{ __line__ }}", "say \"hi\" <wörld> & 5%"),
    ("{{ __line__ | upper | trunc 3 }}", "SAY"),
    (
        "{{ __timestamp__ }}",
        "2026-01-15 00:39:38.442318919 +0000 UTC",
    ),
    (
        "{{ __timestamp__ | unixEpoch }} {{ __timestamp__ | unixEpochMillis }} {{ __timestamp__ | unixEpochNanos }}",
        "1768437578 1768437578442 1768437578442318919",
    ),
    (
        "{{ __timestamp__ | date `Jan 2, 2006 at 3:04pm (MST)` }}",
        "Jan 15, 2026 at 12:39am (UTC)",
    ),
    (
        "{{ __timestamp__.UTC.Year }}-{{ (__timestamp__).YearDay }}",
        "2026-15",
    ),
    (
        "{{ __timestamp__.Month }} {{ printf `%d` __timestamp__.Month }} {{ __timestamp__.Weekday }}",
        "January 1 Thursday",
    ),
    ("{{ (__timestamp__.Add 1000000000).Unix }}", "1768437579"),
    (
        "{{ __timestamp__.Format `15h04` }} {{ (__timestamp__.AddDate 0 1 20).Format `2006-01-02` }}",
        "00h39 2026-03-07",
    ),
    (
        "{{ (__timestamp__.Truncate 3600000000000).Format `15:04:05` }} {{ (__timestamp__.Round 3600000000000).Format `15:04:05` }}",
        "00:00:00 01:00:00",
    ),
    (
        "{{ now | date `2006-01-02 15:04:05` }} {{ now.IsZero }}",
        "2026-02-03 04:05:06 false",
    ),
    (
        "{{ (now.Sub __timestamp__) }} {{ (now.Sub __timestamp__).Hours | int }}",
        "459h25m27.557681081s 459",
    ),
    (
        "{{ now.After __timestamp__ }} {{ now.Before __timestamp__ }} {{ now.Equal now }}",
        "true false true",
    ),
    ("{{ date `2006` 0 }} {{ date `2006` `x` }}", "1970 2026"),
    (
        "{{ toDate `2006-01-02 15:04:05` `2026-01-15 12:30:00` | unixEpoch }}",
        "1768480200",
    ),
    (
        "{{ toDate `2006-01-02` `2026-02-30` }}",
        "0001-01-01 00:00:00 +0000 UTC",
    ),
    (
        "{{ toDateInZone `2006-01-02` `Europe/Berlin` `2026-01-15` }}",
        "2026-01-15 00:00:00 +0100 CET",
    ),
    (
        "{{ toDateInZone `2006-01-02 15:04` `America/New_York` `2026-07-15 12:00` | unixEpoch }}",
        "1784131200",
    ),
    (
        "{{ toDateInZone `2006-01-02` `Nowhere/None` `2026-01-15` | date `2006-01-02` }}",
        "2026-01-15",
    ),
    (
        "{{ unixToTime `20468` | unixEpoch }} {{ unixToTime `1768435800` }}",
        "1768435200 2026-01-15 00:10:00 +0000 UTC",
    ),
    (
        "{{ unixToTime `1768435800123` | unixEpochMillis }} {{ unixToTime `1768435800000001` | unixEpochNanos }}",
        "1768435800123 1768435800000001000",
    ),
    // Text functions.
    (
        "{{ ToLower `ÄB` }} {{ lower .method }} {{ ToUpper `ß é` }} {{ upper `x` }}",
        "äb post ß É X",
    ),
    ("{{ title `hello wOrld foo-bar` }}", "Hello WOrld Foo-Bar"),
    (
        "{{ Replace .path `/` `_` -1 }} {{ Replace `aaa` `a` `b` 2 }} {{ Replace `ab` `` `-` -1 }}",
        "_static_app.js bba -a-b-",
    ),
    (
        "{{ .path | trimPrefix `/` | replace `/` `.` }}",
        "static.app.js",
    ),
    (
        "{{ Trim .path `/` }} {{ TrimLeft `xxabc` `x` }} {{ TrimRight `abccc` `c` }} [{{ Trim `` `x` }}]",
        "static/app.js abc ab []",
    ),
    (
        "{{ TrimPrefix .path `/static` }} {{ TrimSuffix .path `.js` }} [{{ TrimSpace ` \tx ` }}]",
        "/app.js /static/app [x]",
    ),
    (
        "{{ trimSuffix `4` .status }} {{ trimAll `/s` .path }} [{{ trim ` x ` }}]",
        "40 tatic/app.j [x]",
    ),
    (
        "{{ trunc 5 .path }} {{ trunc -5 .path }} {{ trunc 1000000 .method }} {{ trunc -3 `日本語` }}",
        "/stat pp.js POST 語",
    ),
    (
        "{{ substr 1 4 .path }} {{ substr -1 4 .path }} {{ substr 2 -1 .path }} {{ substr 0 9 `ab` }}",
        "sta /sta tatic/app.js ab",
    ),
    (
        "{{ contains `app` .path }} {{ hasPrefix `/` .path }} {{ hasSuffix `x` .path }}",
        "true true false",
    ),
    ("{{ repeat 3 `ab` }}{{ repeat 0 `x` }}", "ababab"),
    (
        "{{ indent 2 \"a\\nb\" }}{{ nindent 1 `c` }}",
        "  a\n  b\n c",
    ),
    (
        "[{{ alignLeft 6 `zoë` }}] [{{ alignRight 6 `zoë` }}] [{{ alignRight 2 `POST` }}] [{{ alignLeft -1 `x` }}]",
        "[zoë   ] [   zoë] [ST] [x]",
    ),
    (
        "{{ regexReplaceAll `(\\w)(\\w)` .method `$2$1` }} {{ .path | regexReplaceAll `/([a-z]+)/` `<${1}>` }}",
        "OPTS <${1}>",
    ),
    (
        "{{ regexReplaceAll `x*` `baaac` `-` }} {{ regexReplaceAllLiteral `\\d+` .status `$1` }}",
        "-b-a-a-a-c- $1",
    ),
    (
        "{{ count `\\d` .status }} {{ count `[aeiou]` .path }}",
        "3 3",
    ),
    (
        "{{ default `none` .nosuch }} {{ default `none` .status }} {{ .empty | default `e` }} {{ default 0 .val }}",
        "none 404 e 12.50",
    ),
    // Other formats.
    (
        "{{ urlencode .path }} {{ urldecode `a%2Fb+c` }} {{ urlquery .quoted .n }}",
        "%2Fstatic%2Fapp.js a/b c Ana+%22A%22+%3Cb%3E234",
    ),
    (
        "{{ html .quoted }} {{ html \"<a href='x'>&</a>\" }}",
        "Ana &#34;A&#34; &lt;b&gt; &lt;a href=&#39;x&#39;&gt;&amp;&lt;/a&gt;",
    ),
    (
        "{{ js .quoted }} {{ js \"it's\\n=\\u200b é\" }}",
        r#"Ana \"A\" \u003Cb\u003E it\'s\u000A\u003D\u200B é"#,
    ),
    (
        "{{ b64enc `zoë` }} {{ b64dec `em/Dqw==` }} {{ b64dec `aGVsbG8` }} {{ b64dec `***` }}",
        "em/Dqw== zo\u{eb} hello illegal base64 data at input byte 0",
    ),
    (
        "{{ fromJson `1e21` }} {{ fromJson `12345678` }} {{ fromJson `true` }} {{ fromJson `null` }} {{ fromJson `x` }}",
        "1e+21 1.2345678e+07 true <no value> <no value>",
    ),
    (
        "{{ fromJson .json }}",
        "map[a:map[b:[1 2.5 x]] n:<nil> t:true z:last]",
    ),
    (
        "{{ (fromJson .json).a.b }} {{ (fromJson .json).t }} {{ (fromJson .json).nosuch }}",
        "[1 2.5 x] true <no value>",
    ),
    (
        "{{ index (fromJson .json) `a` `b` 2 }} {{ len (fromJson .json).a.b }}",
        "x 3",
    ),
    // Numbers.
    (
        "{{ int .val }} {{ int `x` }} {{ int 2.9 }} {{ float64 .val }} {{ float64 nil }}",
        "12 0 2 12.5 0",
    ),
    (
        "{{ add }} {{ add 1 2 3 }} {{ add .n 1 }} {{ add `x` 1 }}",
        "0 6 235 1",
    ),
    (
        "{{ sub .n 10 }} {{ mul .n .n }} {{ div 1000 .n }} {{ mod 7 3 }} {{ mod -7 3 }}",
        "224 54756 4 1 -1",
    ),
    (
        "{{ addf 0.1 0.2 }} {{ subf 10 1 2 }} {{ mulf 1.5 2 }} {{ divf 7 2 }} {{ divf 1 3 }}",
        "0.3 7 3 3.5 0.3333333333333333",
    ),
    (
        "{{ max 1 5 3 }} {{ min 4 2 8 }} {{ max 3 `x` }} {{ maxf `NaN` 1 }} {{ minf .n 50.5 }}",
        "5 2 3 NaN 50.5",
    ),
    (
        "{{ ceil 1.2 }} {{ floor -1.2 }} {{ ceil `2.1` }} {{ floor `` }}",
        "2 -2 3 0",
    ),
    (
        "{{ round 123.5555 3 }} {{ round 2.5 0 }} {{ round -2.5 0 }} {{ round 123.4 -1 }} {{ round 1.005 2 }}",
        "123.556 3 -3 120 1",
    ),
    (
        "{{ duration .dur }} {{ duration_seconds `1h30m` }} {{ bytes .size }} {{ bytes `1PB` }}",
        "90.5 5400 1536 1e+15",
    ),
    (
        "{{ 'a' }} {{ 0x1F }} {{ 1_000 }} {{ 1e3 }} {{ 1.50 }} {{ 1000000.0 }}",
        "97 31 1000 1000 1.5 1e+06",
    ),
    // Printing.
    (
        "{{ print 1 2 `a` `b` 3 }}|{{ print .status `-` nil }}|{{ println `a` 1 }}",
        "1 2ab3|404-<nil>|a 1\n",
    ),
    (
        "{{ printf `%s|%5s|%-6s|%q` .method .status .n .quoted }}",
        r#"POST|  404|234   |"Ana \"A\" <b>""#,
    ),
    (
        "{{ printf `%d` .status }} {{ printf `%d` (int .n) }} {{ printf `%5.2f|%e` (float64 .n) 2.0 }}",
        "%!d(string=404) 234 234.00|2.000000e+00",
    ),
    (
        "{{ printf `%T %T %T %T` 1 1.0 `x` __timestamp__ }} {{ printf `%T` . }} {{ printf `%T` (fromJson `{}`) }}",
        "int float64 string time.Time map[string]string map[string]interface {}",
    ),
    (
        "{{ printf `%v %v` (add 1 1) nil }} {{ printf `%d%%` }} {{ printf `x` 1 }}",
        "2 <nil> %!d(MISSING)% x%!(EXTRA int=1)",
    ),
    (
        "{{ .status | int | add 1 | printf `%d!` }} {{ printf `%x` `zoë` }}",
        "405! 7a6fc3ab",
    ),
    // Logic and comparison.
    (
        "{{ and .method .nosuch }}|{{ or .nosuch .method }}|{{ not .nosuch }}",
        "|POST|true",
    ),
    (
        "{{ and 1 0 (div 1 0) }}{{ or 0 2 (div 1 0) }}{{ not 0 }}{{ 1 | and 2 }}",
        "02true1",
    ),
    (
        "{{ eq .method `GET` `POST` }} {{ ne 1 2 }} {{ eq nil nil }} {{ eq .n nil }}",
        "true true true false",
    ),
    (
        "{{ lt 1 2 }}{{ le 2 2 }}{{ gt 3 4 }}{{ ge 4 4 }} {{ lt `a` `b` }} {{ gt 2.5 1.5 }}",
        "truetruefalsetrue true true",
    ),
    (
        "{{ eq (int .n) (add 230 4) }} {{ eq (index .path 0) 47 }}",
        "true true",
    ),
    (
        "{{ len .path }} {{ slice .path 1 3 }} {{ slice .path 8 }} {{ slice (fromJson .list) 1 2 }}",
        "14 st app.js [6]",
    ),
    // Control structures.
    (
        "{{ if .empty }}a{{ else if eq .status `404` }}b{{ else }}c{{ end }}",
        "b",
    ),
    (
        "{{ with .nosuch }}x{{ else with .method }}{{ . }}{{ end }}",
        "POST",
    ),
    (
        "{{ with $x := .method }}{{ $x }}{{ . }}{{ $.n }}{{ end }}",
        "POSTPOST234",
    ),
    (
        "{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $y := 3 }}{{ end }}{{ $x }}",
        "2",
    ),
    (
        "{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ end }}{{ $x }}",
        "1",
    ),
    (
        "{{ range $i, $e := (fromJson .list) }}{{ $i }}:{{ $e }} {{ end }}",
        "0:5 1:6 2:7 ",
    ),
    (
        "{{ range $e := fromJson .list }}{{ if eq . 6.0 }}{{ continue }}{{ end }}<{{ $e }}>{{ end }}",
        "<5><7>",
    ),
    (
        "{{ range (fromJson .list) }}{{ if eq . 6.0 }}{{ break }}{{ end }}<{{ . }}>{{ else }}none{{ end }}",
        "<5>",
    ),
    (
        "{{ range $k, $v := (fromJson `{\"b\":1,\"a\":2}`) }}{{ $k }}{{ $v }}{{ end }}",
        "a2b1",
    ),
    (
        "{{ range (fromJson `[]`) }}x{{ else }}none{{ end }}{{ range (fromJson `null`) }}x{{ else }}none{{ end }}",
        "nonenone",
    ),
    (
        "{{ range 3 }}{{ . }}{{ end }} {{ range $i := 2 }}{{ $i }}{{ end }}{{ range 0 }}x{{ else }}-{{ end }}",
        "012 01-",
    ),
    (
        "{{ range fromJson `[[1,2],[3]]` }}{{ range . }}{{ if eq . 2.0 }}{{ break }}{{ end }}{{ . }}{{ end }};{{ end }}",
        "1;3;",
    ),
    (
        "{{ $last := 0 }}{{ range $last = fromJson .list }}{{ end }}{{ $last }}",
        "7",
    ),
    (
        "{{ define `a` }}({{ . }}){{ end }}{{ template `a` .method }}{{ template `a` 1 }}",
        "(POST)(1)",
    ),
    (
        "{{ template `x` . }}{{ define `x` }}{{ .method }}{{ end }}{{ block `b` .n }}[{{ . }}{{ $ }}]{{ end }}",
        "POST[234234]",
    ),
    (
        "{{ define `a` }}{{ . }}{{ end }}{{ template `a` }}",
        "<no value>",
    ),
    (
        "{{ (fromJson `null`).x }}{{ with fromJson `[null]` }}{{ index . 0 }}{{ end }}",
        "<no value><no value>",
    ),
];

/// The same for the agent's `template` stage.
pub(crate) const PROMTAIL: &[(&str, &str)] = &[
    ("{{ .method }} {{ .nosuch }}", "POST <no value>"),
    (
        "{{ if .nosuch }}x{{ else }}{{ .nosuch.deeper }}{{ end }}",
        "<no value>",
    ),
    (
        "{{ printf `%T` . }} {{ .nosuch | default `d` }}",
        "map[string]interface {} d",
    ),
    (
        "{{ Hash `salt` .method }}",
        "58898532ce67a8432a28cf2a67c9b5d0e2b8ac79e5334576d8729b6773b47a4d",
    ),
    (
        "{{ Sha2Hash `salt` .method }}",
        "5832635752af100cec77c1d99037c21937e66c34dbaf810fb036175fda6c0d6d",
    ),
    (
        "{{ regexReplaceAll `\\d` .status `x` }} {{ TrimPrefix .path `/` | ToUpper }}",
        "xxx STATIC/APP.JS",
    ),
    (
        "{{ .nosuch | empty }} {{ coalesce .nosuch .empty .n }} {{ ternary 1 2 true }} {{ ternary 1 2 (eq .n `x`) }}",
        "true 234 1 2",
    ),
    (
        "{{ quote .quoted 1 nil }} {{ squote .n }} {{ cat `a` 1 }} {{ toString 1.5 }}",
        r#""Ana \"A\" <b>" "1" '234' a 1 1.5"#,
    ),
    (
        "{{ nospace ` a b ` }} {{ swapcase `aB` }} {{ untitle `Hello World` }}",
        "ab Ab hello world",
    ),
    (
        "{{ snakecase `HTTPServer-firstName` }} {{ camelcase `http_server` }} {{ kebabcase `FirstName` }}",
        "http_server_first_name HttpServer first-name",
    ),
    (
        "{{ sha256sum `abc` | trunc 8 }} {{ base .path }} {{ ext .path }} {{ base `/` }}",
        "ba7816bf app.js .js /",
    ),
    (
        "{{ regexMatch `^/s` .path }} {{ regexFind `[a-z]+\\.` .path }} {{ regexFindAll `[a-z]+` .path 2 }} {{ regexSplit `/` .path -1 | len }}",
        "true app. [static app] 3",
    ),
    (
        "{{ int64 .val }} {{ atoi `7x` }} {{ atoi .n }} {{ add1 .n }} {{ until 3 }} {{ until -3 }}",
        "12 0 234 235 [0 1 2] [0 -1 -2]",
    ),
    (
        "{{ duration 95 }} {{ dateInZone `15:04` (unixToTime `1768435800`) `Europe/Berlin` }}",
        "1m35s 01:10",
    ),
    (
        "{{ splitList `/` .path | join `|` }} {{ list 1 `a` nil | join `-` }} {{ join `,` .n }}",
        "|static|app.js 1-a 234",
    ),
    (
        "{{ $l := list 1 2 3 }}{{ first $l }}{{ last $l }}{{ rest $l }}{{ initial $l }}{{ reverse $l }}",
        "13[2 3][1 2][3 2 1]",
    ),
    (
        "{{ append (list 1) 2 }} {{ prepend (list 1) 0 }} {{ compact (list 0 `` 1) }} {{ has 1 (list 1 2) }}",
        "[1 2] [0 1] [1] true",
    ),
    (
        "{{ $d := dict `b` 1 `a` }}{{ $d }} {{ get $d `b` }} {{ hasKey $d `c` }} {{ keys $d }} {{ values $d }}",
        "map[a: b:1] 1 false [a b] [ 1]",
    ),
];
