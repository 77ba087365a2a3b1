//! What requests under way have said that they will bring, so that together they bring no more than
//! their project has room for. What has been written down of it counts in the database instead
//! (`meta::Quota`); this is of one process and is gone with it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::Error;
use crate::meta::Quota;

/// Bytes that are to come for each project, by what they are.
type Held = HashMap<String, HashMap<String, u64>>;

/// What is reserved. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reservations(Arc<Mutex<Held>>);

/// Bytes that are reserved until this is dropped.
#[derive(Debug)]
pub(crate) struct Reserved {
    all: Reservations,
    project: String,
    what: String,
}

impl Reservations {
    /// Reserves room for bytes, if a project has it. `what` is a digest or an upload: what is reserved
    /// already costs nothing once more.
    pub(crate) fn reserve(
        &self,
        quota: &Quota,
        what: &str,
        bytes: u64,
    ) -> Result<Option<Reserved>, Error> {
        if quota.room().is_none() {
            return Ok(None);
        }
        let mut all = self.0.lock();
        let project = quota.project();
        let held = all.get(project);
        if held.is_some_and(|held| held.contains_key(what)) {
            return Ok(None);
        }
        let to_come = held.map_or(0, |held| held.values().sum());
        quota.with_uploading(to_come).admit("a body", bytes)?;
        let held = all.entry(project.to_owned()).or_default();
        held.insert(what.to_owned(), bytes);
        Ok(Some(Reserved {
            all: self.clone(),
            project: project.to_owned(),
            what: what.to_owned(),
        }))
    }
}

impl Reserved {
    /// So much of it came and counts elsewhere.
    pub(crate) fn came(&self, bytes: u64) {
        let mut all = self.all.0.lock();
        let held = all.get_mut(&self.project);
        if let Some(left) = held.and_then(|held| held.get_mut(&self.what)) {
            *left = left.saturating_sub(bytes);
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut all = self.all.0.lock();
        if let Some(held) = all.get_mut(&self.project) {
            held.remove(&self.what);
            if held.is_empty() {
                all.remove(&self.project);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn what_is_reserved_is_reserved_once_until_it_came_or_will_not() {
        let all = Reservations::default();
        let quota = Quota::for_tests("team", 1000, 100);
        let reserve = |what: &str, bytes| all.reserve(&quota, what, bytes);
        let one = reserve("one", 600).unwrap().unwrap();
        assert_eq!(reserve("two", 301).unwrap_err().code, Code::Denied);
        // The same from somebody else needs no more room.
        assert!(reserve("one", 600).unwrap().is_none());
        let two = reserve("two", 300).unwrap().unwrap();
        // The quota would have these bytes now.
        one.came(200);
        let three = reserve("three", 200).unwrap();
        assert_eq!(reserve("four", 1).unwrap_err().code, Code::Denied);
        drop((one, three));
        assert!(reserve("four", 600).unwrap().is_some());
        drop(two);
        assert!(all.0.lock().is_empty());
        // Elsewhere there is room, and where there is no bound nothing is reserved.
        let other = Quota::for_tests("other", 1000, 0);
        assert!(all.reserve(&other, "one", 1000).unwrap().is_some());
        let unbounded = Quota::for_tests("free", -1, 0);
        assert!(all.reserve(&unbounded, "one", 1000).unwrap().is_none());
    }
}
