//! Connections that are taken from a pool and given back, and how long their server is waited for.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool};

/// A connection of a pool until it is dropped.
pub(super) struct Lent {
    connection: PoolConnection<Any>,
    answer_max: Option<Duration>,
    is_lost: bool,
}

impl Lent {
    /// One of a pool. What comes back of a server that does not answer for so long is not kept.
    pub(super) async fn by(
        pool: &AnyPool,
        answer_max: Option<Duration>,
    ) -> Result<Self, sqlx::Error> {
        Ok(Self {
            connection: pool.acquire().await?,
            answer_max,
            is_lost: false,
        })
    }

    /// Has it serve nobody any more.
    pub(super) fn give_up(&mut self) {
        self.is_lost = true;
        self.connection.close_on_drop();
    }
}

impl Deref for Lent {
    type Target = AnyConnection;

    fn deref(&self) -> &Self::Target {
        &self.connection
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.connection
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.is_lost {
            // The pool takes it back once the server has answered it, and has no other in its place as
            // long as it waits: who asked may have gone away in the middle of a silence.
            tokio::spawn(within(self.answer_max, self.connection.return_to_pool()));
        }
    }
}

/// What a server answers, or that it does not: its host may be gone without having said so.
pub(super) async fn within<T>(
    answer_max: Option<Duration>,
    asked: impl Future<Output = T>,
) -> Result<T, sqlx::Error> {
    let Some(answer_max) = answer_max else {
        return Ok(asked.await);
    };
    let answered = tokio::time::timeout(answer_max, asked).await;
    answered.map_err(|_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))
}
