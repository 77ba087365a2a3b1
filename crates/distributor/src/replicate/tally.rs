//! Counts answers of replicas until every row is decided.
//!
//! A row is stored when a quorum stored it, and refused when a quorum refused it. When all replicas
//! have answered and no quorum agrees (possible with two replicas), it counts as refused: it must
//! not be acknowledged, and pushing it again changes nothing.

use std::collections::BTreeMap;

use model::CodedError;
use proto::role::{Refusal, RefusalReason};

use crate::replicate::RefusedRow;

/// Whether a push can still succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Open,
    Failed,
}

/// Refusals of one row.
#[derive(Clone, Copy, Debug)]
struct Refused {
    count: usize,
    reason: RefusalReason,
}

#[derive(Debug)]
struct Shipment {
    replicas: usize,
    rows: usize,
    answered: usize,
    failed: usize,
    refused: BTreeMap<u32, Refused>,
    decided: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Decided,
    Failed,
}

impl Shipment {
    fn pending(&self) -> usize {
        self.replicas.saturating_sub(self.answered + self.failed)
    }

    fn state(&self, quorum: usize) -> State {
        if self.answered < quorum {
            return if self.answered + self.pending() < quorum {
                State::Failed
            } else {
                State::Open
            };
        }
        let agreed = |refused: &Refused| {
            refused.count >= quorum || self.answered.saturating_sub(refused.count) >= quorum
        };
        if self.refused.values().all(agreed) {
            return State::Decided;
        }
        match (self.pending(), self.failed) {
            (0, 0) => State::Decided,
            (0, _) => State::Failed,
            _ => State::Open,
        }
    }
}

/// All shipments of a push.
pub(super) struct Tally {
    quorum: usize,
    shipments: Vec<Shipment>,
    undecided: usize,
    first_error: Option<CodedError>,
}

impl Tally {
    pub(super) fn new(quorum: usize) -> Self {
        Self {
            quorum,
            shipments: Vec::new(),
            undecided: 0,
            first_error: None,
        }
    }

    /// Adds a shipment of so many rows that goes to so many replicas.
    pub(super) fn add(&mut self, replicas: usize, rows: usize) {
        self.undecided += 1;
        self.shipments.push(Shipment {
            replicas,
            rows,
            answered: 0,
            failed: 0,
            refused: BTreeMap::new(),
            decided: false,
        });
    }

    pub(super) fn is_decided(&self) -> bool {
        self.undecided == 0
    }

    pub(super) fn first_error(&self) -> Option<&CodedError> {
        self.first_error.as_ref()
    }

    /// Counts one replica's answer for these shipments. Refusals number them by their place in
    /// `numbers`.
    pub(super) fn count(
        &mut self,
        numbers: &[usize],
        result: Result<Vec<Refusal>, CodedError>,
    ) -> Verdict {
        match result {
            Ok(refusals) => {
                for number in numbers {
                    // What comes after the decision changes nothing any more.
                    if let Some(shipment) = self.shipments.get_mut(*number)
                        && !shipment.decided
                    {
                        shipment.answered += 1;
                    }
                }
                for refusal in refusals {
                    self.count_refusal(numbers, &refusal);
                }
            }
            Err(error) => {
                for number in numbers {
                    if let Some(shipment) = self.shipments.get_mut(*number) {
                        shipment.failed += 1;
                    }
                }
                self.first_error.get_or_insert(error);
            }
        }
        for number in numbers {
            let Some(shipment) = self.shipments.get_mut(*number) else {
                continue;
            };
            match shipment.state(self.quorum) {
                State::Failed => return Verdict::Failed,
                State::Decided if !shipment.decided => {
                    shipment.decided = true;
                    self.undecided -= 1;
                }
                _ => {}
            }
        }
        Verdict::Open
    }

    /// An ingester that names a row which it was not sent is not believed.
    fn count_refusal(&mut self, numbers: &[usize], refusal: &Refusal) {
        let number = numbers.get(refusal.stream as usize);
        let Some(shipment) = number.and_then(|number| self.shipments.get_mut(*number)) else {
            return;
        };
        if (refusal.row as usize) < shipment.rows && !shipment.decided {
            let refused = shipment.refused.entry(refusal.row).or_insert(Refused {
                count: 0,
                reason: refusal.reason,
            });
            refused.count += 1;
        }
    }

    /// The rows that are refused, once all are decided.
    pub(super) fn refused(&self) -> Vec<RefusedRow> {
        let mut rows = Vec::new();
        for (number, shipment) in self.shipments.iter().enumerate() {
            for (row, refused) in &shipment.refused {
                if shipment.answered.saturating_sub(refused.count) < self.quorum {
                    rows.push(RefusedRow {
                        shipment: number,
                        row: *row as usize,
                        reason: refused.reason,
                    });
                }
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use model::Code;

    use super::*;

    fn refusal(stream: u32, row: u32) -> Refusal {
        Refusal {
            stream,
            row,
            reason: RefusalReason::OutOfOrder { newest_ns: 7 },
        }
    }

    fn tally(replicas: usize, quorum: usize) -> Tally {
        let mut tally = Tally::new(quorum);
        tally.add(replicas, 10);
        tally
    }

    fn error() -> CodedError {
        CodedError::new(Code::Unavailable, "gone")
    }

    fn rows(tally: &Tally) -> Vec<usize> {
        tally
            .refused()
            .into_iter()
            .map(|refused| refused.row)
            .collect()
    }

    #[test]
    fn two_of_three_decide() {
        let mut all = tally(3, 2);
        assert_eq!(all.count(&[0], Ok(vec![])), Verdict::Open);
        assert!(!all.is_decided());
        assert_eq!(all.count(&[0], Err(error())), Verdict::Open);
        assert!(!all.is_decided());
        assert_eq!(all.count(&[0], Ok(vec![])), Verdict::Open);
        assert!(all.is_decided() && all.refused().is_empty());
    }

    #[test]
    fn two_failures_of_three_fail() {
        let mut all = tally(3, 2);
        assert_eq!(all.count(&[0], Err(error())), Verdict::Open);
        assert_eq!(all.count(&[0], Err(error())), Verdict::Failed);
    }

    #[test]
    fn a_row_that_replicas_disagree_on_waits_for_the_third() {
        for (third, refused) in [(Ok(vec![]), vec![4]), (Ok(vec![refusal(0, 3)]), vec![3, 4])] {
            let mut all = tally(3, 2);
            all.count(&[0], Ok(vec![refusal(0, 3), refusal(0, 4)]));
            all.count(&[0], Ok(vec![refusal(0, 4)]));
            assert!(!all.is_decided());
            assert_eq!(all.count(&[0], third), Verdict::Open);
            assert!(all.is_decided());
            assert_eq!(rows(&all), refused);
        }
        let mut all = tally(3, 2);
        all.count(&[0], Ok(vec![refusal(0, 3)]));
        all.count(&[0], Ok(vec![]));
        assert_eq!(all.count(&[0], Err(error())), Verdict::Failed);
    }

    #[test]
    fn of_two_replicas_one_refusal_is_enough() {
        let mut all = tally(2, 2);
        all.count(&[0], Ok(vec![refusal(0, 1)]));
        all.count(&[0], Ok(vec![]));
        assert!(all.is_decided());
        assert_eq!(rows(&all), [1]);
    }

    #[test]
    fn refusals_of_rows_that_were_not_sent_are_ignored() {
        let mut all = tally(1, 1);
        all.count(
            &[0],
            Ok(vec![refusal(0, 10), refusal(5, 0), refusal(0, u32::MAX)]),
        );
        assert!(all.is_decided() && all.refused().is_empty());
    }

    proptest::proptest! {
        #[test]
        fn a_push_ends_when_all_have_answered(
            quorum in 1_usize..=2,
            answers in proptest::collection::vec(proptest::option::of(0_u32..4), 3),
        ) {
            let mut all = tally(3, quorum);
            let mut failed = false;
            for answer in &answers {
                let result = match answer {
                    Some(row) => Ok((0..*row).map(|row| refusal(0, row)).collect()),
                    None => Err(error()),
                };
                failed |= all.count(&[0], result) == Verdict::Failed;
                if failed || all.is_decided() {
                    break;
                }
            }
            proptest::prop_assert!(failed || all.is_decided());
            let answered = answers.iter().flatten().count();
            if answered < quorum {
                proptest::prop_assert!(failed);
            }
        }
    }
}
