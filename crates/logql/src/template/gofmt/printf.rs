//! `fmt.Sprintf`.

use super::OUTPUT_BYTES_MAX;
use super::verb::{Flags, bad_verb, print_verb};
use crate::template::value::Value;

/// Widths and precisions beyond this are refused, as in Go.
const SIZE_MAX: i64 = 1_000_000;

/// Formats `args` by `format`. What does not fit shows in the output, as in Go (`%!d(string=x)`).
pub(in super::super) fn sprintf(format: &[u8], args: &[Value<'_>], out: &mut Vec<u8>) {
    let mut state = State {
        format,
        args,
        at: 0,
        arg: 0,
        reordered: false,
        good_index: true,
    };
    let start = out.len();
    let mut reordered = false;
    while state.at < format.len() && out.len() - start < OUTPUT_BYTES_MAX {
        let rest = format.get(state.at..).unwrap_or_default();
        let literal = memchr::memchr(b'%', rest).unwrap_or(rest.len());
        out.extend_from_slice(rest.get(..literal).unwrap_or_default());
        state.at += literal;
        if state.at >= format.len() {
            break;
        }
        state.at += 1;
        state.reordered = false;
        state.directive(out);
        reordered |= state.reordered;
    }
    if !reordered && state.arg < args.len() {
        extra(args.get(state.arg..).unwrap_or_default(), out);
    }
}

fn extra(args: &[Value<'_>], out: &mut Vec<u8>) {
    out.extend_from_slice(b"%!(EXTRA ");
    for (i, arg) in args.iter().enumerate() {
        if out.len() > OUTPUT_BYTES_MAX {
            return;
        }
        if i > 0 {
            out.extend_from_slice(b", ");
        }
        if matches!(arg, Value::Nil) {
            out.extend_from_slice(b"<nil>");
        } else {
            out.extend_from_slice(arg.type_name().as_bytes());
            out.push(b'=');
            super::print_value(arg, out);
        }
    }
    out.push(b')');
}

struct State<'a> {
    format: &'a [u8],
    args: &'a [Value<'a>],
    at: usize,
    arg: usize,
    reordered: bool,
    good_index: bool,
}

impl State<'_> {
    fn peek(&self) -> Option<u8> {
        self.format.get(self.at).copied()
    }

    fn directive(&mut self, out: &mut Vec<u8>) {
        let mut flags = Flags::default();
        self.good_index = true;
        while let Some(byte) = self.peek() {
            match byte {
                b'#' => flags.sharp = true,
                b'0' => flags.zero = true,
                b'+' => flags.plus = true,
                b'-' => flags.minus = true,
                b' ' => flags.space = true,
                _ => break,
            }
            self.at += 1;
        }
        let mut after_index = self.index();
        self.width(&mut flags, &mut after_index, out);
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.precision(&mut flags, &mut after_index, out);
        }
        if !after_index {
            self.index();
        }
        self.verb(flags, out);
    }

    fn width(&mut self, flags: &mut Flags, after_index: &mut bool, out: &mut Vec<u8>) {
        if self.peek() == Some(b'*') {
            self.at += 1;
            match self.int_argument() {
                Some(width) => {
                    flags.minus |= width < 0;
                    flags.width = usize::try_from(width.unsigned_abs()).ok();
                }
                None => out.extend_from_slice(b"%!(BADWIDTH)"),
            }
            *after_index = false;
            return;
        }
        let number = self.number();
        if *after_index && number.is_some() {
            self.good_index = false;
        }
        flags.width = number;
    }

    fn precision(&mut self, flags: &mut Flags, after_index: &mut bool, out: &mut Vec<u8>) {
        if *after_index {
            self.good_index = false;
        }
        *after_index = self.index();
        if self.peek() == Some(b'*') {
            self.at += 1;
            match self.int_argument().map(usize::try_from) {
                Some(Ok(precision)) => flags.precision = Some(precision),
                // A negative precision is none.
                Some(Err(_)) => {}
                None => out.extend_from_slice(b"%!(BADPREC)"),
            }
            *after_index = false;
        } else {
            flags.precision = Some(self.number().unwrap_or(0));
        }
    }

    fn number(&mut self) -> Option<usize> {
        let mut number = None;
        while let Some(digit) = self.peek().filter(u8::is_ascii_digit) {
            self.at += 1;
            let next = number.unwrap_or(0_i64) * 10 + i64::from(digit - b'0');
            if next > SIZE_MAX {
                return None;
            }
            number = Some(next);
        }
        number.and_then(|number| usize::try_from(number).ok())
    }

    fn int_argument(&mut self) -> Option<i64> {
        let value = self.args.get(self.arg);
        self.arg += usize::from(value.is_some());
        match value {
            Some(Value::Int(value, _)) if value.abs() <= SIZE_MAX => Some(*value),
            _ => None,
        }
    }

    /// `[3]` chooses the argument.
    fn index(&mut self) -> bool {
        if self.peek() != Some(b'[') {
            return false;
        }
        self.reordered = true;
        let rest = self.format.get(self.at + 1..).unwrap_or_default();
        let Some(close) = memchr::memchr(b']', rest) else {
            self.good_index = false;
            self.at += 1;
            return false;
        };
        let number = rest
            .get(..close)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| digits.parse::<usize>().ok());
        self.at += close + 2;
        match number {
            Some(number) if number >= 1 && number <= self.args.len() => {
                self.arg = number - 1;
                true
            }
            _ => {
                self.good_index = false;
                true
            }
        }
    }

    fn verb(&mut self, flags: Flags, out: &mut Vec<u8>) {
        let rest = self.format.get(self.at..).unwrap_or_default();
        if rest.is_empty() {
            out.extend_from_slice(b"%!(NOVERB)");
            return;
        }
        let verb = first_char(rest);
        self.at += verb.len_utf8().min(rest.len());
        if verb == '%' {
            out.push(b'%');
        } else if !self.good_index {
            out.extend_from_slice(format!("%!{verb}(BADINDEX)").as_bytes());
        } else if let Some(arg) = self.args.get(self.arg) {
            self.arg += 1;
            if !print_verb(arg, verb, flags, out) {
                bad_verb(arg, verb, out);
            }
        } else {
            out.extend_from_slice(format!("%!{verb}(MISSING)").as_bytes());
        }
    }
}

fn first_char(bytes: &[u8]) -> char {
    let head = bytes.get(..bytes.len().min(4)).unwrap_or_default();
    match std::str::from_utf8(head) {
        Ok(text) => text.chars().next().unwrap_or('\u{fffd}'),
        Err(error) => head
            .get(..error.valid_up_to())
            .and_then(|valid| std::str::from_utf8(valid).ok())
            .and_then(|text| text.chars().next())
            .unwrap_or('\u{fffd}'),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::value::IntKind;

    fn format(format: &str, args: &[Value<'_>]) -> String {
        let mut out = Vec::new();
        sprintf(format.as_bytes(), args, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn verbs_and_flags() {
        let (int, text, float) = (Value::int(42), Value::str("hé"), Value::Float(3.25));
        for (pattern, arg, expected) in [
            ("%d", &int, "42"),
            ("%5d|", &int, "   42|"),
            ("%-5d|", &int, "42   |"),
            ("%05d", &int, "00042"),
            ("%+d", &int, "+42"),
            ("%x %[1]X %#[1]x %[1]o %[1]b", &int, "2a 2A 0x2a 52 101010"),
            ("%c%[1]U%[1]q", &int, "*U+002A'*'"),
            ("%s", &int, "%!s(int=42)"),
            ("%d", &text, "%!d(string=hé)"),
            ("%5s|%-5s|", &text, "   hé|%!-5s(MISSING)|"),
            ("%.1s", &text, "h"),
            ("%q", &text, "\"hé\""),
            ("%x", &text, "68c3a9"),
            ("%6.2f|", &float, "  3.25|"),
            ("%e", &float, "3.250000e+00"),
            ("%g %[1]v %T", &float, "3.25 3.25 %!T(MISSING)"),
            ("%v", &Value::Nil, "<nil>"),
            ("%d", &Value::Nil, "%!d(<nil>)"),
            ("%t", &Value::Bool(true), "true"),
            (
                "%v|%[1]d",
                &Value::Int(1_500_000_000, IntKind::Duration),
                "1.5s|1500000000",
            ),
            ("%z", &int, "%!z(int=42)"),
            ("%", &int, "%!(NOVERB)%!(EXTRA int=42)"),
            ("100%%", &int, "100%%!(EXTRA int=42)"),
            ("%[3]d", &int, "%!d(BADINDEX)"),
        ] {
            assert_eq!(
                format(pattern, std::slice::from_ref(arg)),
                expected.replace("%!-5s", "%!s"),
                "{pattern}"
            );
        }
        assert_eq!(format("%*d", &[Value::int(5), Value::int(3)]), "    3");
        assert_eq!(
            format("%[2]d %[1]d", &[Value::int(1), Value::int(2)]),
            "2 1"
        );
        assert_eq!(format("%T", &[Value::Int(1, IntKind::Month)]), "time.Month");
    }
}
