//! Lines as programs write them.

/// What writes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Json,
    NestedJson,
    Logfmt,
    Access,
    Syslog,
    Mixed,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] = [
        Self::Json,
        Self::NestedJson,
        Self::Logfmt,
        Self::Access,
        Self::Syslog,
        Self::Mixed,
    ];
}

/// Xorshift.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }

    pub(crate) fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len() as u64) as usize]
    }
}

/// Lines of a kind; the same for the same seed.
pub(crate) fn lines(kind: Kind, count: usize, seed: u64) -> Vec<String> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    (0..count).map(|row| line(kind, row, &mut random)).collect()
}

/// Lines with some hundred different paths: text enough that the column says what is in it.
pub(crate) fn lines_of_paths(count: usize) -> Vec<String> {
    let mut random = Random(11);
    let words = ["Items", "users", "ORDERS", "a-b", "x_y", "stock"];
    let path = |random: &mut Random| {
        let parts = (0..4).map(|_| random.of(&words)).collect::<Vec<_>>();
        format!("/{}/{}.html", parts.join("/"), random.below(40))
    };
    let paths: Vec<String> = (0..400).map(|_| path(&mut random)).collect();
    let line = |row: usize| {
        let path = &paths[random.below(400) as usize];
        format!(r#"{{"n":{row},"path":"{path}","ok":true}}"#)
    };
    (0..count).map(line).collect()
}

fn line(kind: Kind, row: usize, random: &mut Random) -> String {
    let level = random.of(&["info", "info", "warn", "error", "DEBUG"]);
    let id = u128::from(random.below(u64::MAX)) << (row % 3 * 30);
    let user = random.below(300);
    let seconds = row % 60;
    let status = random.of(&["200", "200", "404", "500"]);
    let ip = format!("10.{}.{}.7", random.below(3), random.below(256));
    let word = random.of(&[
        "disk full",
        "retry",
        "connection refused",
        "ünïcode ſtate",
        "user \\\"bob\\\" left",
    ]);
    match kind {
        Kind::Json => format!(
            r#"{{"ts":"2026-01-15T10:{:02}:{seconds:02}.{:03}Z","level":"{level}","trace":"{id:032x}","user":{user},"ok":{},"ms":{}.{},"msg":"{word} for {user} after {row}"}}"#,
            row / 60 % 60,
            random.below(1000),
            random.of(&["true", "false", "null"]),
            random.below(100),
            random.below(10),
        ),
        Kind::NestedJson => format!(
            r#"{{"a": {{"b": [{user}, {row}, "x{row}"], "c": "{word}"}}, "d": "{}"}}"#,
            if row.is_multiple_of(5) {
                String::new()
            } else {
                format!("{id:08X}")
            },
        ),
        Kind::Logfmt => format!(
            "ts={row} level={level} user={user} took={}{} path=/api/v{}/items/{row} msg=\"{word} {user}\"",
            random.below(100),
            random.of(&["ms", "s", "µs"]),
            random.below(2),
        ),
        Kind::Access => format!(
            "{ip} - - [15/Jan/2026:10:00:{seconds:02} +0000] \"GET /a/{}/b?q={user} HTTP/1.1\" {status} {} \"-\" \"curl/8.{}\"",
            random.below(20),
            random.below(90_000),
            random.below(3),
        ),
        Kind::Syslog => format!(
            "Jan 15 10:00:{seconds:02} host-{} sshd[{}]: {word} from {ip} port {} id {id:x}",
            random.below(4),
            1000 + random.below(50),
            random.below(65_536),
        ),
        Kind::Mixed => {
            let kinds = [
                Kind::Json,
                Kind::NestedJson,
                Kind::Logfmt,
                Kind::Access,
                Kind::Syslog,
            ];
            line(kinds[random.below(5) as usize], row, random)
        }
    }
}
