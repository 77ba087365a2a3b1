//! Label indexes as a query reads them: within its memory, large ones on a thread for computing, and
//! no longer than somebody waits for the answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use index::{Index, IndexError, RoaringBitmap};
use model::{Code, CodedError};
use parking_lot::Mutex;
use storage::{IndexFile, Partition};

use super::held::Held;
use crate::damage::{Damage, Lost, ReadError};
use crate::query::Context;

/// Index files of fewer bytes are read where they are asked for: it takes less than a millisecond.
const SMALL_BYTES: u64 = 32 << 10;
/// Series looked at between two questions whether to go on.
const CHECK_SERIES: usize = 1024;

/// A label index that a query reads.
pub(crate) struct OpenIndex {
    context: Context,
    partition: Partition,
    file: IndexFile,
    index: Arc<Index>,
    /// What the index takes of the query's memory.
    held: Held,
    /// Why it does not go on.
    stopped: Mutex<Option<CodedError>>,
}

impl Context {
    /// The label index in a file, from memory if it is there; none if it is damaged.
    pub(crate) async fn open_index(
        &self,
        partition: &Partition,
        file: &IndexFile,
    ) -> Result<Option<OpenIndex>, CodedError> {
        let held = Held::new(self, file.size_bytes)?;
        let (tenant, day) = (partition.tenant(), partition.day());
        let index = self.querier.catalog().index(tenant, day, file).await;
        let index = self.unless_damaged(index.map_err(ReadError::from), Lost::file(file))?;
        Ok(index.map(|index| OpenIndex {
            context: self.clone(),
            partition: partition.clone(),
            file: file.clone(),
            index,
            held,
            stopped: Mutex::default(),
        }))
    }
}

impl OpenIndex {
    /// Does something that reads the index.
    ///
    /// # Errors
    /// If it ends abnormally.
    pub(crate) async fn read<T: Send + 'static>(
        self,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, CodedError> {
        if self.file.size_bytes < SMALL_BYTES {
            return Ok(work(&self));
        }
        let read = tokio::task::spawn_blocking(move || work(&self));
        read.await
            .map_err(|_| CodedError::new(Code::Internal, "reading an index ended abnormally"))
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    pub(crate) fn partition(&self) -> &Partition {
        &self.partition
    }

    pub(crate) fn file(&self) -> &IndexFile {
        &self.file
    }

    /// Takes in how much the index holds by now. Whether to read more of it: not if there is no
    /// memory, or nobody waits for the answer.
    pub(crate) fn goes_on(&self) -> bool {
        let checked = match self.context.cancelled.load(Ordering::Relaxed) {
            true => Err(cancelled()),
            false => self.held.settle(&self.context, self.index.heap_bytes()),
        };
        let goes_on = checked.is_ok();
        if let Err(error) = checked {
            *self.stopped.lock() = Some(error);
        }
        goes_on
    }

    /// Looks at some series, as long as it goes on.
    ///
    /// # Errors
    /// Those of `look`, and [`IndexError::Stopped`].
    pub(crate) fn each<E: From<IndexError>>(
        &self,
        series: &RoaringBitmap,
        mut look: impl FnMut(u32) -> Result<(), E>,
    ) -> Result<(), E> {
        for (at, number) in series.iter().enumerate() {
            if at.is_multiple_of(CHECK_SERIES) && !self.goes_on() {
                return Err(IndexError::Stopped.into());
            }
            look(number)?;
        }
        Ok(())
    }

    /// Why it cannot be read, or is not read on.
    pub(crate) fn failed(&self, error: &IndexError) -> ReadError {
        if *error == IndexError::Stopped {
            let stopped = self.stopped.lock().take();
            return stopped.unwrap_or_else(cancelled).into();
        }
        Damage::of_index(self.partition.index_key(self.file.id), error).into()
    }
}

fn cancelled() -> CodedError {
    CodedError::new(Code::Cancelled, "the query was cancelled")
}
