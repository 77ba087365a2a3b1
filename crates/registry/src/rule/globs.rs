//! Globs that belong together: of a rule, those that a name has to match all, or may match none of.

use std::sync::{Arc, LazyLock};

use globset::{Glob, GlobBuilder, GlobMatcher};
use quick_cache::sync::Cache;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::wrong;
use crate::error::Error;

/// Bytes of a glob.
pub(super) const GLOB_BYTES_MAX: usize = 256;
/// Globs that belong together.
const GLOBS_MAX: usize = 16;
/// Globs that are remembered once they were read.
const MATCHERS_MAX: usize = 1000;

/// Globs by their texts: each push that moves a tag asks the rules of its project, and to read a glob
/// takes longer than the push does.
static MATCHERS: LazyLock<Cache<String, Arc<GlobMatcher>>> =
    LazyLock::new(|| Cache::new(MATCHERS_MAX));

/// A text if it is one glob, and a list if they are several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Written", into = "Written")]
pub(crate) struct Globs(Vec<String>);

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "Globs")]
enum Written {
    One(String),
    Several(Vec<String>),
}

impl From<Written> for Globs {
    fn from(written: Written) -> Self {
        match written {
            Written::One(glob) => Self(vec![glob]),
            Written::Several(globs) => Self(globs),
        }
    }
}

impl From<Globs> for Written {
    fn from(Globs(globs): Globs) -> Self {
        match <[String; 1]>::try_from(globs) {
            Ok([glob]) => Self::One(glob),
            Err(globs) => Self::Several(globs),
        }
    }
}

impl FromIterator<String> for Globs {
    fn from_iter<T: IntoIterator<Item = String>>(globs: T) -> Self {
        Self(globs.into_iter().collect())
    }
}

impl Globs {
    /// What every name matches.
    pub(crate) fn all() -> Self {
        Self(vec!["**".to_owned()])
    }

    /// Each of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// How many they are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Reads them; whether a star ends at a slash.
    pub(super) fn matchers(&self, up_to_slash: bool) -> Result<Matchers, Error> {
        if self.count() > GLOBS_MAX {
            let message = format!("{} globs: there are at most {GLOBS_MAX}", self.count());
            return Err(wrong(message));
        }
        let matchers = self.iter().map(|text| matcher(text, up_to_slash));
        Ok(Matchers(matchers.collect::<Result<_, _>>()?))
    }
}

fn matcher(text: &str, up_to_slash: bool) -> Result<Arc<GlobMatcher>, Error> {
    if text.len() > GLOB_BYTES_MAX {
        return Err(wrong(format!("a glob has at most {GLOB_BYTES_MAX} bytes")));
    }
    let remembered = MATCHERS.get_or_insert_with(text, || {
        let glob = Glob::new(text).map_err(|error| wrong(error.to_string()))?;
        Ok::<_, Error>(Arc::new(glob.compile_matcher()))
    })?;
    if !up_to_slash {
        return Ok(remembered);
    }
    let glob = GlobBuilder::new(text).literal_separator(true).build();
    let glob = glob.map_err(|error| wrong(error.to_string()))?;
    Ok(Arc::new(glob.compile_matcher()))
}

/// Globs that were read.
#[derive(Clone, Debug)]
pub(super) struct Matchers(pub(super) Vec<Arc<GlobMatcher>>);

impl Matchers {
    pub(super) fn all_match(&self, name: &str) -> bool {
        self.0.iter().all(|glob| glob.is_match(name))
    }

    pub(super) fn any_matches(&self, name: &str) -> bool {
        self.0.iter().any(|glob| glob.is_match(name))
    }
}
