//! What servers answer with when they refuse.

/// Bytes of an answer's text that are read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Bytes of an answer's text that are shown.
const SHOWN_BYTES_MAX: usize = 1024;

/// The beginning of an answer's text.
pub(crate) async fn beginning_of(mut answer: reqwest::Response) -> String {
    let mut text = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        text.extend_from_slice(&chunk);
        if text.len() >= ANSWER_BYTES_MAX {
            text.truncate(ANSWER_BYTES_MAX);
            break;
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The first line of a text, as far as that is shown.
pub(crate) fn first_line(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    let mut end = line.len().min(SHOWN_BYTES_MAX);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.get(..end).unwrap_or_default()
}
