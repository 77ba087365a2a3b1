//! Memory accounting: one budget for many users, given back when they end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The budget does not have what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name} exceeded: {asked_bytes} bytes wanted on top of {used_bytes}, the limit is {limit_bytes}"
)]
pub struct BudgetError {
    /// The limit's name in the configuration.
    pub name: &'static str,
    /// Bytes asked for.
    pub asked_bytes: u64,
    /// Bytes in use before.
    pub used_bytes: u64,
    /// The whole budget.
    pub limit_bytes: u64,
}

/// A number of bytes that many share. Budgets nest: what a child takes, its parent gives.
#[derive(Debug)]
pub struct Budget {
    name: &'static str,
    limit_bytes: u64,
    used_bytes: AtomicU64,
    parent: Option<Arc<Budget>>,
}

impl Budget {
    /// A budget of its own. `name` is the configuration key that sets it.
    #[must_use]
    pub fn new(name: &'static str, limit_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            name,
            limit_bytes,
            used_bytes: AtomicU64::new(0),
            parent: None,
        })
    }

    /// A part of this budget with a limit of its own.
    #[must_use]
    pub fn child(self: &Arc<Self>, name: &'static str, limit_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            name,
            limit_bytes,
            used_bytes: AtomicU64::new(0),
            parent: Some(Arc::clone(self)),
        })
    }

    /// Bytes in use.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// The whole budget.
    #[must_use]
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    /// An empty reservation, to grow later.
    #[must_use]
    pub fn reservation(self: &Arc<Self>) -> Reservation {
        Reservation {
            budget: Arc::clone(self),
            bytes: 0,
        }
    }

    fn take(&self, bytes: u64) -> Result<(), BudgetError> {
        let add = |used: u64| {
            used.checked_add(bytes)
                .filter(|sum| *sum <= self.limit_bytes)
        };
        self.used_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add)
            .map_err(|used_bytes| BudgetError {
                name: self.name,
                asked_bytes: bytes,
                used_bytes,
                limit_bytes: self.limit_bytes,
            })?;
        if let Some(parent) = &self.parent {
            parent.take(bytes).inspect_err(|_| {
                self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
            })?;
        }
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(parent) = &self.parent {
            parent.give_back(bytes);
        }
    }
}

/// Bytes taken from a [`Budget`]; dropping gives them back.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Reservation {
    /// Takes more.
    ///
    /// # Errors
    /// If this budget or one above it does not have it; nothing is taken then.
    pub fn grow(&mut self, bytes: u64) -> Result<(), BudgetError> {
        self.budget.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives some back; at most what was taken.
    pub fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.budget.give_back(bytes);
    }

    /// Bytes taken.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_takes_from_its_parent_and_gives_back_on_drop() {
        let all = Budget::new("all", 100);
        let (a, b) = (all.child("a", 80), all.child("b", 80));
        let mut ra = a.reservation();
        assert!(ra.grow(70).is_ok());
        assert_eq!(ra.grow(20).unwrap_err().name, "a");
        let mut rb = b.reservation();
        assert_eq!(rb.grow(40).unwrap_err().name, "all");
        assert_eq!((b.used_bytes(), all.used_bytes()), (0, 70));
        drop(ra);
        assert!(rb.grow(40).is_ok());
        assert_eq!(all.used_bytes(), 40);
    }
}
