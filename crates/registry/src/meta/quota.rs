//! What projects may have: the bytes of their blobs, each counted once, those of their manifests,
//! and while they last those of uploads under way.

use sqlx::Row;
use sqlx::any::AnyRow;

use super::Meta;
use super::change::{Tx, bound};
use super::error::Failure;
use super::outbox::Event;
use crate::digest::Digest;
use crate::error::{Code, Error};

/// The four columns of [`Quota`], of the project of an upload `u`, which may not be there yet. What is
/// under way is not counted where there is no bound.
macro_rules! columns {
    () => {
        "COALESCE(p.name, u.awaited), COALESCE(q.hard, u.hard), COALESCE(q.used, 0), \
         CASE WHEN COALESCE(q.hard, u.hard) < 0 THEN 0 ELSE \
         (SELECT CAST(COALESCE(SUM(o.received), 0) AS BIGINT) FROM upload o \
         WHERE o.project_id = u.project_id OR o.awaited = u.awaited) END \
         FROM upload u LEFT JOIN project p ON p.id = u.project_id \
         LEFT JOIN quota q ON q.project_id = u.project_id WHERE u.uuid = $1"
    };
}
pub(super) use columns;

/// What a project has and may have.
#[derive(Clone, Debug)]
pub(crate) struct Quota {
    project: String,
    /// Bytes that it may have; below zero is no bound.
    hard: i64,
    /// Bytes of its blobs and manifests.
    used: i64,
    /// Bytes that its uploads have brought.
    uploading: i64,
}

impl Quota {
    /// Reads its four columns from this one on.
    pub(super) fn read(row: &AnyRow, column: usize) -> Result<Self, sqlx::Error> {
        Ok(Self {
            project: row.try_get(column)?,
            hard: row.try_get(column + 1)?,
            used: row.try_get(column + 2)?,
            uploading: row.try_get(column + 3)?,
        })
    }

    #[cfg(test)]
    pub(crate) fn for_tests(project: &str, hard: i64, used: i64) -> Self {
        Self {
            project: project.to_owned(),
            hard,
            used,
            uploading: 0,
        }
    }

    /// The project.
    pub(crate) fn project(&self) -> &str {
        &self.project
    }

    /// The same with so much more that uploads bring.
    pub(crate) fn with_uploading(&self, bytes: u64) -> Self {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        Self {
            uploading: self.uploading.saturating_add(bytes),
            ..self.clone()
        }
    }

    /// Bytes that still fit; nothing if any number does.
    pub(crate) fn room(&self) -> Option<u64> {
        let taken = self.used.saturating_add(self.uploading);
        (self.hard >= 0).then(|| u64::try_from(self.hard.saturating_sub(taken)).unwrap_or(0))
    }

    /// Refuses more bytes than fit.
    pub(crate) fn admit(&self, what: &str, bytes: u64) -> Result<(), Error> {
        match self.room() {
            Some(room) if bytes > room => Err(self.refusal(what, bytes)),
            _ => Ok(()),
        }
    }

    fn refusal(&self, what: &str, bytes: u64) -> Error {
        let Self {
            project,
            hard,
            used,
            uploading,
        } = self;
        let under_way = match uploading {
            0 => String::new(),
            bytes => format!(" and {bytes} of uploads under way"),
        };
        let message = format!(
            "project {project} may have {hard} bytes and has {used}{under_way}; {what} of {bytes} \
             bytes does not fit: delete a repository, which gives room at once, or artifacts, which do \
             once registry.gc.blob_grace is over or the project is purged, or ask for a larger quota"
        );
        Error::new(Code::Denied, message)
            .with_detail("quota", *hard)
            .with_detail("used", *used)
            .with_detail("uploading", *uploading)
            .with_detail("needed", bytes)
            .with_event(Event::new("quota_denied", "project", project).in_project(project))
    }
}

/// What the project of an upload has and may have.
pub(super) async fn of_upload(tx: &mut Tx<'_>, uuid: &str) -> Result<Quota, sqlx::Error> {
    let sql = concat!("SELECT ", columns!());
    let row = bound!(sql, uuid).fetch_one(&mut *tx.conn).await?;
    Quota::read(&row, 0)
}

/// Charges a project for something that it keeps, if that fits.
pub(super) async fn charge(
    tx: &mut Tx<'_>,
    project: i64,
    what: &str,
    bytes: i64,
) -> Result<(), Failure> {
    let sql = "UPDATE quota SET used = used + $1 WHERE project_id = $2 \
         AND (hard < 0 OR used + $1 + (SELECT CAST(COALESCE(SUM(received), 0) AS BIGINT) \
         FROM upload WHERE project_id = $2) <= hard)";
    let charged = bound!(sql, bytes, project).execute(&mut *tx.conn).await?;
    if charged.rows_affected() > 0 {
        return Ok(());
    }
    let sql = "SELECT p.name, q.hard, q.used, (SELECT CAST(COALESCE(SUM(o.received), 0) AS BIGINT) \
         FROM upload o WHERE o.project_id = q.project_id) \
         FROM quota q JOIN project p ON p.id = q.project_id WHERE q.project_id = $1";
    let row = bound!(sql, project).fetch_one(&mut *tx.conn).await?;
    let quota = Quota::read(&row, 0)?;
    Err(quota.refusal(what, bytes.unsigned_abs()).into())
}

/// Charges a project whether it fits or not; below zero it gets back.
pub(super) async fn add(tx: &mut Tx<'_>, project: i64, bytes: i64) -> Result<(), sqlx::Error> {
    bound!(
        "UPDATE quota SET used = used + $1 WHERE project_id = $2",
        bytes,
        project,
    )
    .execute(&mut *tx.conn)
    .await?;
    Ok(())
}

/// Refuses what an upload has brought, and its row says already, if it does not fit.
pub(super) async fn check_upload(tx: &mut Tx<'_>, uuid: &str, bytes: u64) -> Result<(), Failure> {
    let mut quota = of_upload(tx, uuid).await?;
    // What is asked is whether there was room for it before.
    quota.uploading -= i64::try_from(bytes).unwrap_or(i64::MAX);
    Ok(quota.admit("what came", bytes)?)
}

impl Meta {
    /// The bytes of a blob that a project has, so that it is not charged for it again.
    pub(crate) async fn size_in_project(
        &self,
        project: &str,
        digest: &Digest,
    ) -> Result<Option<u64>, Error> {
        let sql = "SELECT b.size FROM blob b JOIN repo_blob l ON l.blob_id = b.id \
             JOIN project p ON p.id = l.project_id WHERE b.digest = $1 AND p.name = $2 LIMIT 1";
        self.row(bound!(sql, digest.as_str(), project), |row| {
            Ok(row.try_get::<i64, _>(0)?.unsigned_abs())
        })
        .await
    }
}
