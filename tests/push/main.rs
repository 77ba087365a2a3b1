//! Pushes: every format and encoding that clients send, what is refused and how that is said, and
//! whose lines are whose.

mod again;
mod formats;
mod limits;
mod refusals;
mod tenants;

use tests::api::{Api, Labels, Line};
use tests::lines::SECOND_NS;

/// Labels from pairs.
fn labels(pairs: &[(&str, &str)]) -> Labels {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

fn line(timestamp_ns: i64, text: &str) -> Line {
    Line {
        timestamp_ns,
        text: text.to_owned(),
    }
}

/// The texts of the lines of a stream, oldest first, a minute around `at_ns`.
async fn texts(api: &Api, selector: &str, at_ns: i64) -> anyhow::Result<Vec<String>> {
    let minute_ns = 60 * SECOND_NS;
    let lines = api
        .lines(selector, at_ns - minute_ns, at_ns + minute_ns)
        .await?;
    Ok(lines.into_iter().map(|line| line.text).collect())
}
