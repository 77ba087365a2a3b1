//! Other registries, and the projects that are caches of them.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::any::AnyRow;
use storage::Secret;

use super::Meta;
use super::cache::Touched;
use super::change::{Change, Tx, bound, first};
use super::diff::CHANGED;
use super::error::Failure;
use super::listing::{Column, Kind, Listed, Listing, Source};
use super::outbox::{Event, tell};
use crate::error::{Code, Error};
use crate::seal::{Sealed, Sealer};
use crate::who::Who;

/// Registries that can be known.
const UPSTREAMS_MAX: i64 = 1000;

/// What is said of another registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UpstreamText {
    pub(crate) name: String,
    pub(crate) description: String,
    /// Where it is, such as `https://registry.example.org`.
    pub(crate) url: String,
    /// What names of images begin with that are from there.
    pub(crate) namespace: String,
    /// Who logs in there; nobody if this is empty.
    pub(crate) username: String,
    /// Sealed for `url`.
    pub(crate) password: Sealed,
}

/// Another registry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Upstream {
    pub(crate) id: i64,
    pub(crate) text: UpstreamText,
    pub(crate) created_ms: i64,
    /// When anything of it changed.
    pub(crate) updated_ms: i64,
}

/// The registries that projects are caches of.
#[derive(Debug, Default)]
pub(crate) struct Upstreams {
    by_project: HashMap<String, Arc<Upstream>>,
    /// The projects, by their names, that are caches of a namespace.
    by_namespace: HashMap<String, Vec<String>>,
}

impl Upstreams {
    /// What a project is a cache of.
    pub(crate) fn of_project(&self, project: &str) -> Option<Arc<Upstream>> {
        self.by_project.get(project).cloned()
    }

    /// The projects that have what names of images mean that begin with this.
    pub(crate) fn projects_of(&self, namespace: &str) -> &[String] {
        let found = self.by_namespace.get(namespace);
        found.map(Vec::as_slice).unwrap_or_default()
    }
}

/// A query for registries, and for what else its end says.
macro_rules! upstreams {
    ($end:literal) => {
        concat!(
            "SELECT u.id, u.name, u.description, u.url, u.namespace, u.username, u.sealed, \
             u.created_ms, u.updated_ms",
            $end
        )
    };
}

fn upstream(row: &AnyRow) -> Result<Upstream, sqlx::Error> {
    Ok(Upstream {
        id: row.try_get(0)?,
        text: UpstreamText {
            name: row.try_get(1)?,
            description: row.try_get(2)?,
            url: row.try_get(3)?,
            namespace: row.try_get(4)?,
            username: row.try_get(5)?,
            password: Sealed(row.try_get(6)?),
        },
        created_ms: row.try_get(7)?,
        updated_ms: row.try_get(8)?,
    })
}

const UPSTREAMS: Source = Source {
    columns: "u.id, u.name, u.description, u.url, u.namespace, u.username, u.sealed, \
     u.created_ms, u.updated_ms",
    from: "FROM upstream u WHERE 1 = 1",
    order: "u.name",
};

/// What registries can be filtered by.
pub(crate) const UPSTREAM_COLUMNS: &[Column] = &[
    Column::new("name", Kind::Text, "u.name"),
    Column::new("id", Kind::Number, "u.id"),
    Column::new("url", Kind::Text, "u.url"),
    Column::new("creation_time", Kind::Moment, "u.created_ms"),
    Column::new("update_time", Kind::Moment, "u.updated_ms"),
];

impl Meta {
    /// Registries that are known.
    pub(crate) async fn upstreams_listed(
        &self,
        listing: &Listing,
    ) -> Result<Listed<Upstream>, Error> {
        self.list(&UPSTREAMS, Vec::new(), listing, upstream).await
    }

    /// All of them.
    async fn known_upstreams(&self) -> Result<Vec<Upstream>, Error> {
        let sql = upstreams!(" FROM upstream u ORDER BY u.name");
        self.rows(bound!(sql), upstream).await
    }

    /// A registry by its number.
    pub(crate) async fn known_upstream(&self, id: i64) -> Result<Upstream, Error> {
        let sql = upstreams!(" FROM upstream u WHERE u.id = $1");
        let found = self.row(bound!(sql, id), upstream).await?;
        found.ok_or_else(|| unknown(id))
    }

    /// What projects are caches of.
    pub(crate) async fn upstreams(&self) -> Result<Arc<Upstreams>, Error> {
        let number = self.changes.of_people();
        if let Some(kept) = self.shelves.upstreams.get("", number) {
            return Ok(kept);
        }
        let sql = upstreams!(
            ", p.name FROM upstream u JOIN project p ON p.upstream_id = u.id ORDER BY p.name"
        );
        let pair = |row: &AnyRow| Ok((row.try_get::<String, _>(9)?, upstream(row)?));
        let mut all = Upstreams::default();
        for (project, upstream) in self.rows(bound!(sql), pair).await? {
            let namespace = upstream.text.namespace.clone();
            let caches = all.by_namespace.entry(namespace).or_default();
            caches.push(project.clone());
            all.by_project.insert(project, Arc::new(upstream));
        }
        let all = Arc::new(all);
        self.shelves.upstreams.keep(String::new(), number, &all);
        Ok(all)
    }

    /// What a project is a cache of, if it is one.
    pub(crate) async fn upstream_of(&self, project: &str) -> Result<Option<Arc<Upstream>>, Error> {
        Ok(self.upstreams().await?.of_project(project))
    }
}

fn unknown(id: i64) -> Error {
    let message = format!("there is no registry with the number {id}");
    Error::new(Code::NameUnknown, message)
}

/// Makes a project a cache, or an ordinary one again; what it has it keeps.
pub(super) async fn connect(
    tx: &mut Tx<'_>,
    project: i64,
    upstream: Option<i64>,
) -> Result<(), Failure> {
    if let Some(id) = upstream {
        let found = bound!("SELECT 1 FROM upstream WHERE id = $1", id);
        if found.fetch_optional(&mut *tx.conn).await?.is_none() {
            return Err(unknown(id).into());
        }
    }
    let sql = "UPDATE project SET upstream_id = $1 WHERE id = $2";
    bound!(sql, upstream, project)
        .execute(&mut *tx.conn)
        .await?;
    Ok(())
}

/// Refuses to make a project with images a cache of another registry, which hides those that the other
/// has not, and moves tags to what it has.
pub(super) async fn check_hides_nothing(
    tx: &mut Tx<'_>,
    project: i64,
    name: &str,
    upstream: Option<i64>,
) -> Result<(), Failure> {
    let Some(upstream) = upstream else {
        return Ok(());
    };
    let hidden = bound!(
        "SELECT COUNT(*) FROM repo r JOIN project p ON p.id = r.project_id \
         WHERE p.id = $1 AND (p.upstream_id IS NULL OR p.upstream_id <> $2)",
        project,
        upstream,
    );
    let hidden: i64 = first(&hidden.fetch_one(&mut *tx.conn).await?)?;
    if hidden == 0 {
        return Ok(());
    }
    let message = format!(
        "project {name} has {hidden} repositories: as a cache it shows what the other registry has \
         in their place; say replace_images if that is meant"
    );
    Err(Error::new(Code::Conflict, message).into())
}

/// Makes another registry known, or changes what is said of one that is.
pub(crate) struct SetUpstream {
    pub(crate) who: Who,
    /// The one that is known.
    pub(crate) id: Option<i64>,
    pub(crate) text: UpstreamText,
}

#[async_trait]
impl Change for SetUpstream {
    /// Its number.
    type Out = i64;
    const NAME: &'static str = "set_registry";

    fn touches(&self, _out: &Self::Out) -> Touched<'_> {
        Touched::People
    }

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<i64, Failure> {
        let text = &self.text;
        let others = bound!(
            "SELECT COUNT(*) FROM upstream WHERE name = $1 AND id <> $2",
            text.name.as_str(),
            self.id.unwrap_or_default(),
        );
        if first(&others.fetch_one(&mut *tx.conn).await?)? > 0 {
            let message = format!("there is a registry {} already", text.name);
            return Err(Error::new(Code::Conflict, message).into());
        }
        let (id, before) = match self.id {
            Some(id) => (id, Some(text_in(tx, id).await?)),
            None => (make(tx, &text.name).await?, None),
        };
        let update = bound!(
            "UPDATE upstream SET name = $1, description = $2, url = $3, namespace = $4, \
             username = $5, sealed = $6, updated_ms = $7 WHERE id = $8",
            text.name.as_str(),
            text.description.as_str(),
            text.url.as_str(),
            text.namespace.as_str(),
            text.username.as_str(),
            text.password.0.as_str(),
            tx.now_ms,
            id,
        );
        update.execute(&mut *tx.conn).await?;
        let event = match self.id {
            Some(_) => "update_registry",
            None => "create_registry",
        };
        let event = Event::new(event, "registry", &text.name);
        let password = before.as_ref().map_or("", |before| &before.password.0);
        let password = (text.password.0 != password).then_some(CHANGED);
        let after = told(text, password);
        let event = event.changed(before.map(|before| told(&before, None)), after);
        tell(tx, &self.who, &event).await?;
        Ok(id)
    }
}

/// What is said of a registry that is known.
async fn text_in(tx: &mut Tx<'_>, id: i64) -> Result<UpstreamText, Failure> {
    let sql = upstreams!(" FROM upstream u WHERE u.id = $1");
    let found = bound!(sql, id).fetch_optional(&mut *tx.conn).await?;
    Ok(upstream(&found.ok_or_else(|| unknown(id))?)?.text)
}

/// What the records of a registry tell of it, and of its password.
fn told(text: &UpstreamText, password: Option<&str>) -> Value {
    json!({
        "name": text.name,
        "description": text.description,
        "url": text.url,
        "namespace": text.namespace,
        "access_key": text.username,
        "access_secret": password,
    })
}

/// A row of which only the name is said yet, unless there are too many; gives its number.
async fn make(tx: &mut Tx<'_>, name: &str) -> Result<i64, Failure> {
    let count = bound!("SELECT COUNT(*) FROM upstream");
    if first(&count.fetch_one(&mut *tx.conn).await?)? >= UPSTREAMS_MAX {
        let message = format!("at most {UPSTREAMS_MAX} registries can be known");
        return Err(Error::new(Code::Conflict, message).into());
    }
    let made = bound!(
        "INSERT INTO upstream (name, description, url, namespace, username, password, \
         created_ms, updated_ms) VALUES ($1, '', '', '', '', '', $2, $2) RETURNING id",
        name,
        tx.now_ms,
    );
    Ok(first(&made.fetch_one(&mut *tx.conn).await?)?)
}

/// Seals a password that an earlier version has left as it was given.
struct SealPassword {
    id: i64,
    password: Secret,
    sealed: Sealed,
}

#[async_trait]
impl Change for SealPassword {
    type Out = ();
    const NAME: &'static str = "seal_password";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        bound!(
            "UPDATE upstream SET sealed = $1, password = '' WHERE id = $2 AND password = $3",
            self.sealed.0.as_str(),
            self.id,
            self.password.0.as_str(),
        )
        .execute(&mut *tx.conn)
        .await?;
        Ok(())
    }
}

impl Meta {
    /// Seals the passwords that earlier versions have left as they were given.
    pub(crate) async fn seal_passwords(&self, sealer: &Sealer) -> Result<(), Error> {
        let clear = bound!("SELECT id, url, password FROM upstream WHERE password <> ''");
        let read = |row: &AnyRow| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
        let clear: Vec<(i64, String, String)> = self.rows(clear, read).await?;
        for (id, url, password) in clear {
            let password = Secret(password);
            let sealed = sealer.seal(&password, &url)?;
            let seal = SealPassword {
                id,
                password,
                sealed,
            };
            self.change(seal).await?;
        }
        Ok(())
    }

    /// Warns of passwords that another key has sealed: it is better known at the start than with the
    /// first pull.
    pub(crate) async fn check_passwords(&self, sealer: &Sealer) -> Result<(), Error> {
        for known in self.known_upstreams().await? {
            let text = known.text;
            if let Err(why) = sealer.open_sealed(&text.password, &text.url) {
                tracing::warn!(registry = text.name, why, "a cache cannot log in");
            }
        }
        Ok(())
    }
}

/// Forgets a registry that no project is a cache of.
pub(crate) struct DeleteUpstream {
    pub(crate) who: Who,
    pub(crate) id: i64,
}

#[async_trait]
impl Change for DeleteUpstream {
    type Out = ();
    const NAME: &'static str = "delete_registry";

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), Failure> {
        let sql = "SELECT name FROM project WHERE upstream_id = $1 ORDER BY name LIMIT 1";
        let user = bound!(sql, self.id).fetch_optional(&mut *tx.conn).await?;
        if let Some(row) = user {
            let project: String = row.try_get(0)?;
            let message = format!("project {project} is a cache of this registry");
            return Err(Error::new(Code::Conflict, message).into());
        }
        let gone = text_in(tx, self.id).await?;
        bound!("DELETE FROM upstream WHERE id = $1", self.id)
            .execute(&mut *tx.conn)
            .await?;
        let event = Event::new("delete_registry", "registry", &gone.name);
        let event = event.changed(told(&gone, None), ());
        Ok(tell(tx, &self.who, &event).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::connect::{self, Place};
    use super::super::open_for_tests;
    use super::*;

    #[tokio::test]
    async fn passwords_of_earlier_versions_are_sealed() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::File(directory.path().join("registry.db"));
        let meta = open_for_tests(&place).await;
        let earlier = connect::writer(&place).await.unwrap();
        let mut connection = earlier.acquire().await.unwrap();
        bound!(
            "INSERT INTO upstream (name, description, url, namespace, username, password, \
             created_ms, updated_ms) VALUES ('up', '', 'https://up', 'up', 'me', 'secret', 1, 1)"
        )
        .execute(&mut *connection)
        .await
        .unwrap();
        let sealer = Sealer::open(std::path::Path::new(""), directory.path()).unwrap();
        for _ in 0..2 {
            meta.seal_passwords(&sealer).await.unwrap();
            let known = meta.known_upstreams().await.unwrap().remove(0).text;
            let opened = sealer.open_sealed(&known.password, &known.url).unwrap();
            assert_eq!(opened.0, "secret");
        }
        let clear = bound!("SELECT password FROM upstream");
        let clear: Vec<String> = meta.rows(clear, |row| row.try_get(0)).await.unwrap();
        assert_eq!(clear, [""]);
    }
}
