//! Other registries that projects can be caches of. Passwords go in and never come out.

use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use storage::Secret;

use super::answers::{Made, made};
use super::query::{Asks, Page, Shorthand};
use super::{Admin, Body, Operations, Outcome, Path, answer, wrong};
use crate::error::Error;
use crate::meta::{
    DeleteUpstream, SetUpstream, Time, UPSTREAM_COLUMNS, Upstream, UpstreamText, time,
};
use crate::seal::Sealer;

/// Characters of the longest name, description, address, user's name or password.
const TEXT_CHARS_MAX: usize = 1024;
/// What names of images begin with that are from Docker's own registry.
const DOCKER_HUB: &str = "docker.io";

/// What a registry is called here that has no name yet.
const UNNAMED: &str = "registry";

/// What can be done with other registries.
pub(super) fn operations(all: Operations) -> Operations {
    let one = "/registries/{id}";
    let (registries, known) = ("/registries", "Make another registry known");
    let change = "Change what is known of another registry";
    let (adapters, kinds) = (
        "/replication/adapters",
        "What kinds of other registries there are",
    );
    let pings = "Whether another registry answers, and takes the login";
    all.about("registry")
        .list(
            registries,
            "listRegistries",
            "Other registries",
            &REGISTRIES,
            list,
        )
        .post("/registries/ping", "pingRegistry", pings, ping)
        .get(adapters, "listRegistryProviderTypes", kinds, self::adapters)
        .post(registries, "createRegistry", known, create)
        .get(one, "getRegistry", "Another registry", show)
        .put(one, "updateRegistry", change, update)
        .delete(one, "deleteRegistry", "Forget another registry", delete)
}

const REGISTRIES: Asks = Asks {
    columns: UPSTREAM_COLUMNS,
    filters: &[Shorthand::Part("name", "name")],
    others: &[],
};

/// What is said of a registry; of one that is known, what is to change.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "RegistryReq")]
#[serde(default)]
struct Request {
    name: Option<String>,
    description: Option<String>,
    url: Option<String>,
    namespace: Option<String>,
    credential: Option<Credential>,
}

/// What is to change of a registry that is known. Harbor's clients say then without `credential` what is
/// in it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "RegistryUpdate")]
#[serde(default)]
struct Change {
    #[serde(flatten)]
    request: Request,
    access_key: Option<String>,
    #[schemars(with = "Option<String>")]
    access_secret: Option<Secret>,
}

/// What is asked of: a registry that is known, by its number, another one, or what is to change of the
/// former.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "RegistryPing")]
#[serde(default)]
struct Ping {
    id: Option<i64>,
    #[serde(flatten)]
    change: Change,
}

impl Change {
    /// What is known with what changes.
    fn on(self, known: &UpstreamText, sealer: &Sealer) -> Result<UpstreamText, Error> {
        let request = self.request()?;
        let moves = request.url.is_some() && request.credential.is_none();
        let text = request.on(known.clone(), sealer)?;
        // Who may not see a password may not have it sent elsewhere either.
        if moves && text.url != known.url && !text.username.is_empty() {
            return Err(wrong("a new url needs its credential too"));
        }
        Ok(text)
    }

    fn request(mut self) -> Result<Request, Error> {
        match (self.access_key, self.access_secret) {
            (None, None) => {}
            (Some(access_key), Some(Secret(access_secret))) => {
                self.request.credential = Some(Credential {
                    access_key,
                    access_secret,
                });
            }
            _ => return Err(wrong("access_key and access_secret change together")),
        }
        Ok(self.request)
    }
}

#[derive(Default, Deserialize, JsonSchema)]
#[schemars(rename = "RegistryCredential")]
#[serde(default)]
struct Credential {
    access_key: String,
    access_secret: String,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").finish_non_exhaustive()
    }
}

impl Request {
    /// What is known with what is said, where something is.
    fn on(self, known: UpstreamText, sealer: &Sealer) -> Result<UpstreamText, Error> {
        let mut text = known;
        text.name = self.name.unwrap_or(text.name);
        text.description = self.description.unwrap_or(text.description);
        if let Some(url) = self.url {
            let (url, namespace) = address(&url)?;
            text.url = url;
            text.namespace = namespace;
        }
        text.namespace = self.namespace.unwrap_or(text.namespace);
        if let Some(credential) = self.credential {
            let password = Secret(credential.access_secret);
            check_length(&password.0)?;
            text.username = credential.access_key;
            text.password = sealer.seal(&password, &text.url)?;
        }
        check(&text)?;
        Ok(text)
    }
}

/// Where a registry is, and what names of images begin with that are from there.
fn address(given: &str) -> Result<(String, String), Error> {
    let url = reqwest::Url::parse(given)
        .map_err(|error| wrong(format!("url is like https://registry.example.org: {error}")))?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let is_web = matches!(url.scheme(), "http" | "https");
    let is_plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
        && url.path() == "/";
    if !is_web || !is_plain || host.is_empty() {
        return Err(wrong(
            "url is like https://registry.example.org, with nothing after it",
        ));
    }
    let is_hub = host == DOCKER_HUB || host.ends_with(".docker.io");
    let namespace = match url.port() {
        Some(port) => format!("{host}:{port}"),
        None if is_hub => DOCKER_HUB.to_owned(),
        None => host,
    };
    Ok((url.as_str().trim_end_matches('/').to_owned(), namespace))
}

fn check(text: &UpstreamText) -> Result<(), Error> {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if text.name.is_empty() || !text.name.bytes().all(is_plain) {
        return Err(wrong(
            "a registry's name is letters, digits, `.`, `_` and `-`",
        ));
    }
    if text.url.is_empty() {
        return Err(wrong("url is missing"));
    }
    let all = [
        &text.name,
        &text.description,
        &text.url,
        &text.namespace,
        &text.username,
    ];
    all.into_iter().try_for_each(|text| check_length(text))?;
    let is_host = |b: u8| b.is_ascii_alphanumeric() || b".-:[]".contains(&b);
    if text.namespace.is_empty() || !text.namespace.bytes().all(is_host) {
        return Err(wrong(
            "namespace is what names of images begin with, like docker.io",
        ));
    }
    if text.username.is_empty() != text.password.0.is_empty() {
        return Err(wrong(
            "credential is access_key and access_secret, or neither",
        ));
    }
    if text.username.contains(':') {
        return Err(wrong("access_key has no colon"));
    }
    Ok(())
}

fn check_length(text: &str) -> Result<(), Error> {
    if text.chars().count() <= TEXT_CHARS_MAX {
        return Ok(());
    }
    Err(wrong(format!(
        "nothing has more than {TEXT_CHARS_MAX} characters"
    )))
}

/// What Harbor calls Docker's own registry, and any other.
const HUB: &str = "docker-hub";
const OTHER: &str = "docker-registry";

async fn adapters(admin: Admin) -> Outcome<Json<Vec<&'static str>>> {
    let shown = admin.require_admin().map(|()| Json(vec![HUB, OTHER]));
    admin.outcome(shown)
}

/// A registry without its password.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Registry")]
struct Shown {
    id: i64,
    name: String,
    description: String,
    /// `docker-hub` or `docker-registry`.
    #[serde(rename = "type")]
    kind: &'static str,
    url: String,
    /// What names of images begin with that are from there.
    namespace: String,
    credential: Option<ShownCredential>,
    creation_time: Time,
    update_time: Time,
}

/// Whose name the registry is asked under, with stars for the password.
#[derive(Debug, Serialize, JsonSchema)]
struct ShownCredential {
    #[serde(rename = "type")]
    kind: &'static str,
    access_key: String,
    access_secret: &'static str,
}

impl Shown {
    fn of(upstream: Upstream) -> Self {
        let text = upstream.text;
        let is_hub = text.namespace == DOCKER_HUB;
        let credential = (!text.username.is_empty()).then_some(ShownCredential {
            kind: "basic",
            access_key: text.username,
            access_secret: "*****",
        });
        Self {
            id: upstream.id,
            name: text.name,
            description: text.description,
            kind: if is_hub { HUB } else { OTHER },
            url: text.url,
            namespace: text.namespace,
            credential,
            creation_time: time(upstream.created_ms),
            update_time: time(upstream.updated_ms),
        }
    }
}

async fn list(admin: Admin) -> Outcome<Page<Shown>> {
    answer(&admin, async {
        admin.require_admin()?;
        let listing = admin.listing(&REGISTRIES)?;
        let all = admin.registry.meta().upstreams_listed(&listing).await?;
        Ok(admin.page(&listing, all.map(Shown::of)))
    })
    .await
}

async fn create(admin: Admin, Body(request): Body<Request>) -> Outcome<Made> {
    answer(&admin, async {
        admin.require_admin()?;
        let create = SetUpstream {
            who: admin.who(),
            id: None,
            text: request.on(UpstreamText::default(), admin.registry.sealer())?,
        };
        let id = admin.registry.meta().change(create).await?;
        Ok(made("registries", id))
    })
    .await
}

async fn show(admin: Admin, Path(id): Path<i64>) -> Outcome<Json<Shown>> {
    answer(&admin, async {
        admin.require_admin()?;
        let found = admin.registry.meta().known_upstream(id).await?;
        Ok(Json(Shown::of(found)))
    })
    .await
}

async fn update(admin: Admin, Path(id): Path<i64>, Body(change): Body<Change>) -> Outcome<()> {
    answer(&admin, async {
        admin.require_admin()?;
        let known = admin.registry.meta().known_upstream(id).await?;
        let update = SetUpstream {
            who: admin.who(),
            id: Some(id),
            text: change.on(&known.text, admin.registry.sealer())?,
        };
        admin.registry.meta().change(update).await.map(|_| ())
    })
    .await
}

async fn ping(admin: Admin, Body(asked): Body<Ping>) -> Outcome<()> {
    answer(&admin, async {
        admin.require_admin()?;
        let known = match asked.id {
            Some(id) => admin.registry.meta().known_upstream(id).await?,
            None => Upstream::default(),
        };
        let mut text = known.text;
        if text.name.is_empty() {
            text.name = UNNAMED.to_owned();
        }
        let text = asked.change.on(&text, admin.registry.sealer())?;
        admin
            .registry
            .proxy()
            .ping(&Upstream { text, ..known })
            .await
    })
    .await
}

async fn delete(admin: Admin, Path(id): Path<i64>) -> Outcome<()> {
    answer(&admin, async {
        admin.require_admin()?;
        let who = admin.who();
        admin
            .registry
            .meta()
            .change(DeleteUpstream { who, id })
            .await
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for url in ["https://docker.io", "https://registry-1.docker.io"] {
            let hub = (url.to_owned(), DOCKER_HUB.to_owned());
            assert_eq!(address(url).unwrap(), hub);
        }
        assert_eq!(
            address("http://127.0.0.1:5001/").unwrap(),
            (
                "http://127.0.0.1:5001".to_owned(),
                "127.0.0.1:5001".to_owned()
            )
        );
        assert_eq!(
            address("https://quay.io").unwrap(),
            ("https://quay.io".to_owned(), "quay.io".to_owned())
        );
        for url in [
            "",
            "quay.io",
            "ftp://quay.io",
            "https://me:secret@quay.io",
            "https://quay.io/v2",
            "https://quay.io?a=b",
            "file:///etc/passwd",
        ] {
            assert!(address(url).is_err(), "{url}");
        }
    }
}
