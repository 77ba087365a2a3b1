//! `shards`: a part of all streams. Loki takes two forms, one of so many equal parts (`2_of_4`), and
//! the bounds that `index/shards` answers with.

use model::units::quote;
use model::{CodedError, Shard};
use serde::Deserialize;

use super::{Params, bad};

/// What `index/shards` says of a shard, as far as it matters here.
#[derive(Deserialize)]
struct Bounded {
    bounds: Bounds,
}

#[derive(Deserialize)]
struct Bounds {
    min: u64,
    max: u64,
}

impl Params {
    /// `shards`; all streams if absent.
    ///
    /// # Errors
    /// If it has neither form, or there is more than one.
    pub(crate) fn shard(&self) -> Result<Shard, CodedError> {
        let mut texts = self.all("shards").filter(|text| !text.is_empty());
        let Some(text) = texts.next() else {
            return Ok(Shard::ALL);
        };
        if texts.next().is_some() {
            return Err(bad("only one shard per query is supported"));
        }
        let refused = || {
            bad(format!(
                "failed to parse shard: {} is neither N_of_M with N < M nor {{\"bounds\":{{\"min\":..,\"max\":..}}}}",
                quote(text)
            ))
        };
        parse(text).ok_or_else(refused)
    }
}

fn parse(text: &str) -> Option<Shard> {
    if let Ok(Bounded { bounds }) = serde_json::from_str(text) {
        return Some(Shard {
            min: bounds.min,
            max: bounds.max,
        });
    }
    let digits = |text: &str| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u64>().ok().filter(|_| is_number)
    };
    let (number, of) = text.split_once("_of_")?;
    Shard::nth(digits(number)?, digits(of)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_have_two_forms() {
        let shard = |texts: &[&str]| Params::parse(texts).shard().map_err(|e| e.message);
        assert_eq!(shard(&[]), Ok(Shard::ALL));
        assert_eq!(shard(&["shards="]), Ok(Shard::ALL));
        assert_eq!(Shard::nth(1, 4), shard(&["shards=1_of_4"]).ok());
        let bounded = r#"shards={"bounds":{"min":1,"max":2},"stats":null}"#;
        assert_eq!(shard(&[bounded]), Ok(Shard { min: 1, max: 2 }));
        for wrong in [
            "4_of_4",
            "0_of_0",
            "1of4",
            "-1_of_4",
            "%2b1_of_4",
            "{}",
            "1_of_4_of_8",
        ] {
            let error = shard(&[&format!("shards={wrong}")]).unwrap_err();
            assert!(error.contains("failed to parse shard"), "{wrong}: {error}");
        }
        let error = shard(&["shards=0_of_2&shards=1_of_2"]).unwrap_err();
        assert!(error.contains("only one shard"), "{error}");
    }
}
