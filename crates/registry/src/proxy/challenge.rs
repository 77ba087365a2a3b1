//! What a registry asks for that does not let somebody in: the header `WWW-Authenticate`.
//! <https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1>

/// A way to log in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A name and a password.
    Basic,
    /// A token, of whom and for what.
    Bearer {
        realm: String,
        service: Option<String>,
        scope: Option<String>,
    },
}

/// A scheme with its parameters.
struct Read<'a> {
    scheme: &'a str,
    params: Vec<(&'a str, String)>,
}

impl Read<'_> {
    fn param(&self, name: &str) -> Option<String> {
        let mut named = self
            .params
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.clone())
    }

    fn challenge(&self) -> Option<Challenge> {
        if self.scheme.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        let is_bearer = self.scheme.eq_ignore_ascii_case("bearer");
        let realm = self.param("realm").filter(|_| is_bearer)?;
        Some(Challenge::Bearer {
            realm,
            service: self.param("service"),
            scope: self.param("scope"),
        })
    }
}

/// The ways that a header names and that are known here.
pub(crate) fn parse(header: &str) -> Vec<Challenge> {
    let mut read: Vec<Read<'_>> = Vec::new();
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let is_token = |c: char| c.is_ascii_alphanumeric() || "-._~+/!#$%&'*^`|".contains(c);
        let end = rest.find(|c| !is_token(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            break;
        }
        match after.trim_start().strip_prefix('=') {
            Some(value) => {
                let (value, after) = parameter(value.trim_start());
                if let Some(last) = read.last_mut() {
                    last.params.push((word, value));
                }
                rest = after;
            }
            None => {
                let params = Vec::new();
                read.push(Read {
                    scheme: word,
                    params,
                });
                rest = after;
            }
        }
    }
    read.iter().filter_map(Read::challenge).collect()
}

/// The value of a parameter, in quotes or not, and what follows. Addresses need quotes, and not all
/// registries know.
fn parameter(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        let (value, after) = text.split_at(end);
        return (value.to_owned(), after);
    };
    let mut value = String::new();
    let mut chars = quoted.chars();
    while let Some(char) = chars.next() {
        match char {
            '"' => break,
            '\\' => value.extend(chars.next()),
            char => value.push(char),
        }
    }
    (value, chars.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        }
    }

    #[test]
    fn challenges() {
        let hub = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",\
                   scope=\"repository:library/alpine:pull\",error=\"invalid_token\"";
        let scope = Some("repository:library/alpine:pull");
        let expected = bearer(
            "https://auth.docker.io/token",
            Some("registry.docker.io"),
            scope,
        );
        for (header, expected) in [
            (hub, vec![expected]),
            ("Basic realm=\"registry\"", vec![Challenge::Basic]),
            (
                "bearer realm = https://a/b , service=\"a \\\"b\\\"\", BASIC realm=x",
                vec![
                    bearer("https://a/b", Some("a \"b\""), None),
                    Challenge::Basic,
                ],
            ),
            ("Bearer service=\"no realm\"", vec![]),
            ("Negotiate, Digest nonce=\"a, Basic b\"", vec![]),
            ("Bearer realm=\"cut", vec![bearer("cut", None, None)]),
            ("", vec![]),
            ("=,=\"", vec![]),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
    }

    proptest! {
        #[test]
        fn no_header_stops_the_process(header in "(Bearer|Basic|realm|[a-z=\", \\\\é]){0,20}") {
            let _ = parse(&header);
        }
    }
}
