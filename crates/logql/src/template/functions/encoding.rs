//! Text for other formats: HTML, JavaScript, URLs, base 64 and JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::units::quote;

use super::Type::{Any, String as Text};
use super::{Called, Env, Function, bounded, owned, plain, text, variadic};
use crate::template::value::Value;
use crate::template::{gofmt, json};

pub(super) const FUNCTIONS: &[Function] = &[
    variadic("html", &[], Any, |_, args| escaped(args, html)),
    variadic("js", &[], Any, |_, args| escaped(args, js)),
    variadic("urlquery", &[], Any, |_, args| escaped(args, url)),
    plain("urlencode", &[Text], |_, args| {
        Ok(owned(url(text(args, 0))))
    }),
    plain("urldecode", &[Text], url_decoded),
    plain("b64enc", &[Text], |_, args| {
        Ok(Value::string(STANDARD.encode(text(args, 0))))
    }),
    plain("b64dec", &[Text], |_, args| {
        // A fault is not an error: its text is the result.
        Ok(match base64_decoded(text(args, 0)) {
            Ok(bytes) => owned(bytes),
            Err(at) => Value::string(format!("illegal base64 data at input byte {at}")),
        })
    }),
    plain("fromJson", &[Text], |_, args| json::read(text(args, 0))),
];

/// What the arguments print as, escaped.
fn escaped<'a>(args: &[Value<'a>], escape: fn(&[u8]) -> Vec<u8>) -> Called<'a> {
    let out = if let [Value::Str(text)] = args {
        escape(text)
    } else {
        let no_value = |arg: &Value<'a>| match arg {
            Value::Missing | Value::Nil => Value::str("<no value>"),
            other => other.clone(),
        };
        let args: Vec<_> = args.iter().map(no_value).collect();
        let mut printed = Vec::new();
        gofmt::sprint(&args, &mut printed);
        bounded(printed.len())?;
        escape(&printed)
    };
    bounded(out.len())?;
    Ok(owned(out))
}

fn html(source: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(source.len());
    for byte in source {
        match byte {
            0 => out.extend_from_slice("\u{fffd}".as_bytes()),
            b'"' => out.extend_from_slice(b"&#34;"),
            b'\'' => out.extend_from_slice(b"&#39;"),
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            _ => out.push(*byte),
        }
    }
    out
}

fn js(source: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(source.len());
    for chunk in source.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.extend_from_slice(b"\\\\"),
                '\'' => out.extend_from_slice(b"\\'"),
                '"' => out.extend_from_slice(b"\\\""),
                '<' | '>' | '&' | '=' | '\0'..=' ' | '\u{80}'.. if c != ' ' && !is_print(c) => {
                    out.extend_from_slice(format!("\\u{:04X}", c as u32).as_bytes());
                }
                _ => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        out.extend_from_slice(chunk.invalid());
    }
    out
}

/// Whether Go takes a character that is not ASCII for printable.
fn is_print(c: char) -> bool {
    if c.is_ascii() {
        return false;
    }
    // The standard library escapes what is not printable; behind another character it leaves
    // combining marks alone.
    let mut buffer = String::from("a");
    buffer.push(c);
    buffer.escape_debug().count() == 2
}

fn url(source: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(source.len());
    for byte in source {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(*byte),
            b' ' => out.push(b'+'),
            _ => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    out
}

fn url_decoded<'a>(_: &Env<'a>, args: &[Value<'a>]) -> Called<'a> {
    let mut rest = text(args, 0);
    let mut out = Vec::with_capacity(rest.len());
    while let Some((byte, tail)) = rest.split_first() {
        let digit = |at: usize| char::from(*tail.get(at)?).to_digit(16);
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let (Some(high), Some(low)) = (digit(0), digit(1)) else {
                    let fault = rest.get(..3).unwrap_or(rest);
                    let fault = quote(&String::from_utf8_lossy(fault));
                    return Err(format!("invalid URL escape {fault}"));
                };
                out.push((high * 16 + low) as u8);
                rest = tail.get(2..).unwrap_or_default();
                continue;
            }
            _ => out.push(*byte),
        }
        rest = tail;
    }
    Ok(owned(out))
}

/// Decodes base 64, padded or not. Line breaks do not count; the error is the place of the fault.
fn base64_decoded(source: &[u8]) -> Result<Vec<u8>, usize> {
    let is_break = |byte: u8| matches!(byte, b'\n' | b'\r');
    let mut units = source
        .iter()
        .copied()
        .enumerate()
        .filter(|(_, byte)| !is_break(*byte));
    let mut out = Vec::with_capacity(source.len() / 4 * 3);
    let push_rest = |bits: u32, count: usize, out: &mut Vec<u8>| {
        // Two digits make a byte, three make two.
        let bytes = (bits << (6 * (4 - count))).to_be_bytes();
        out.extend_from_slice(bytes.get(1..count).unwrap_or_default());
    };
    loop {
        let (mut bits, mut count) = (0_u32, 0);
        while count < 4 {
            match units.next() {
                None if count == 0 => return Ok(out),
                None if count == 1 => return Err(source.len() - 1),
                None => {
                    push_rest(bits, count, &mut out);
                    return Ok(out);
                }
                Some((at, b'=')) => {
                    padding(at, count, source.len(), &mut units)?;
                    push_rest(bits, count, &mut out);
                    return Ok(out);
                }
                Some((at, byte)) => {
                    bits = bits << 6 | base64_digit(byte).ok_or(at)?;
                    count += 1;
                }
            }
        }
        out.extend_from_slice(bits.to_be_bytes().get(1..).unwrap_or_default());
    }
}

/// Checks what follows the first `=`, which stands at `at` behind `count` digits.
fn padding(
    at: usize,
    count: usize,
    len: usize,
    units: &mut impl Iterator<Item = (usize, u8)>,
) -> Result<(), usize> {
    match count {
        2 => match units.next() {
            None => return Err(len),
            Some((_, b'=')) => {}
            Some((second, _)) => return Err(second - 1),
        },
        3 => {}
        _ => return Err(at),
    }
    match units.next() {
        None => Ok(()),
        Some((garbage, _)) => Err(garbage),
    }
}

fn base64_digit(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_faults_are_at_their_place() {
        for (source, decoded) in [
            ("aGVsbG8gd29ybGQ=", Ok("hello world")),
            ("aGVs\r\nbG8=\n", Ok("hello")),
            ("aA==", Ok("h")),
            ("", Ok("")),
            ("aGVsbG8", Ok("hello")),
            ("a", Err(0)),
            ("***", Err(0)),
            ("aGVs*", Err(4)),
            ("a===", Err(1)),
            ("aA=", Err(3)),
            ("aA=b", Err(2)),
            ("aA==aA==", Err(4)),
        ] {
            let decoded = decoded.map(|text: &str| text.as_bytes().to_vec());
            assert_eq!(base64_decoded(source.as_bytes()), decoded, "{source}");
        }
    }
}
