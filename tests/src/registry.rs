//! An image registry on a store of a kind, and a client of the Distribution Specification.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use sha2::Digest;
use tempfile::TempDir;

use crate::port::free_port;
use crate::process::{Launch, Process};
use crate::s3::{ACCESS_KEY, BUCKET, S3, SECRET_KEY};

/// Media type of an image's manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Media type of a layer.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// Media type of a configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// A variable with the URL of a PostgreSQL server, without a database: registries keep their facts
/// there, each in a new one. See `tests/registry/postgres.sh`.
const POSTGRES: &str = "REGISTRY_POSTGRES";

/// A variable that gives a registry accounts, robots and roles.
pub const LOCAL: (&str, &str) = ("SKALD_REGISTRY_AUTH", "local");

/// A variable that lets pushes make projects also where there are accounts.
pub const CREATE_ON_PUSH: (&str, &str) = ("SKALD_REGISTRY_PROJECTS_CREATE_ON_PUSH", "always");

/// Where bytes are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Files,
    /// The S3-compatible server of the harness.
    S3,
}

impl Kind {
    /// All kinds; suites run on each.
    pub const ALL: [Self; 2] = [Self::Files, Self::S3];
}

/// A running registry. Killed when dropped.
#[derive(Debug)]
pub struct Registry {
    // The process before what it uses.
    process: Option<Process>,
    launch: Launch,
    client: RegistryClient,
    s3: Option<S3>,
    directory: TempDir,
}

impl Registry {
    /// Starts one with these variables of the environment.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn start(kind: Kind, env: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::launch(kind, env, |listen| {
            RegistryClient::new(&format!("http://{listen}"))
        })
        .await
    }

    /// The same, spoken to in TLS by a client that trusts the certificate of the tests.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn start_tls(kind: Kind, env: &[(&str, &str)]) -> anyhow::Result<Self> {
        let (cert, key) = (tls_file("cert.pem"), tls_file("key.pem"));
        let mut all = vec![
            ("SKALD_REGISTRY_TLS_CERT_FILE", cert.as_str()),
            ("SKALD_REGISTRY_TLS_KEY_FILE", key.as_str()),
        ];
        all.extend(env);
        let ca = std::fs::read(tls_file("ca.pem"))?;
        let ca = reqwest::Certificate::from_pem(&ca)?;
        Self::launch(kind, &all, |listen| {
            let mut client = RegistryClient::new(&format!("https://{listen}"));
            let http = client_builder().add_root_certificate(ca).build();
            client.http = http.unwrap_or_default();
            client
        })
        .await
    }

    async fn launch(
        kind: Kind,
        env: &[(&str, &str)],
        client: impl FnOnce(SocketAddr) -> RegistryClient,
    ) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let s3 = match kind {
            Kind::S3 => Some(S3::start(&directory.path().join("s3")).await?),
            Kind::Files => None,
        };
        let (http, listen) = (free_port()?, free_port()?);
        let mut launch = Launch {
            binary: "skald-registry",
            args: vec![
                format!("--data-dir={}", directory.path().join("data").display()),
                format!("--http-listen={http}"),
                format!("--registry-listen={listen}"),
            ],
            env: Vec::new(),
            http,
            log: directory.path().join("registry.out"),
        };
        let s3_env = s3.as_ref().map(s3_env).unwrap_or_default();
        for (name, value) in s3_env {
            launch = launch.with_env(name, &value);
        }
        if let Ok(server) = std::env::var(POSTGRES) {
            let database = new_database(&server).await?;
            launch = launch.with_env("SKALD_REGISTRY_DATABASE_URL", &database);
        }
        // Tests push where they like, unless they are about that.
        let (name, value) = CREATE_ON_PUSH;
        launch = launch.with_env(name, value);
        for (name, value) in env {
            launch = launch.with_env(name, value);
        }
        Ok(Self {
            process: Some(launch.start().await?),
            launch,
            client: client(listen),
            s3,
            directory,
        })
    }

    /// Another process that serves the same registry, with a directory of its own. None if facts are in
    /// SQLite, which one process has for itself.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn start_replica(&self) -> anyhow::Result<Option<Self>> {
        if std::env::var(POSTGRES).is_err() {
            return Ok(None);
        }
        let directory = tempfile::tempdir()?;
        let (http, listen) = (free_port()?, free_port()?);
        let store = self.directory().join("data/registry/store");
        let mut launch = Launch {
            args: vec![
                format!("--data-dir={}", directory.path().join("data").display()),
                format!("--http-listen={http}"),
                format!("--registry-listen={listen}"),
            ],
            http,
            log: directory.path().join("registry.out"),
            ..self.launch.clone()
        };
        if self.s3.is_none() {
            let name = "SKALD_REGISTRY_STORAGE_LOCAL_DIRECTORY";
            launch = launch.with_env(name, &store.display().to_string());
        }
        Ok(Some(Self {
            process: Some(launch.start().await?),
            launch,
            client: RegistryClient::new(&format!("http://{listen}")),
            s3: None,
            directory,
        }))
    }

    /// A client of it.
    #[must_use]
    pub fn client(&self) -> &RegistryClient {
        &self.client
    }

    /// Its directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The S3-compatible server that its bytes are on.
    ///
    /// # Errors
    /// If they are on another's, or in files.
    pub fn s3(&self) -> anyhow::Result<&S3> {
        self.s3
            .as_ref()
            .context("the registry has no S3 of its own")
    }

    /// The process.
    ///
    /// # Errors
    /// If it was killed.
    pub fn process(&mut self) -> anyhow::Result<&mut Process> {
        self.process.as_mut().context("the registry was killed")
    }

    /// The id of its process.
    ///
    /// # Errors
    /// If it was killed.
    pub fn pid(&self) -> anyhow::Result<u32> {
        let process = self.process.as_ref();
        Ok(process.context("the registry was killed")?.id())
    }

    /// Metrics as text.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn metrics(&mut self) -> anyhow::Result<String> {
        let (_, text) = self.process()?.api().get("/metrics", &[]).await?;
        Ok(text)
    }

    /// SIGTERM, then waits for the end.
    ///
    /// # Errors
    /// If it does not end well.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(process) = self.process.take() {
            process.stop().await?;
        }
        Ok(())
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(process) = self.process.take() {
            process.kill()?;
        }
        Ok(())
    }

    /// What it starts with in a variable.
    #[must_use]
    pub fn env(&self, name: &str) -> Option<&str> {
        let mut env = self.launch.env.iter().rev();
        env.find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Has it start with a variable the next time.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.launch = self.launch.clone().with_env(name, value);
    }

    /// Starts it again on what it left.
    ///
    /// # Errors
    /// If it does not become ready.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        self.process = Some(self.launch.start().await?);
        Ok(())
    }
}

/// The path of a file of the certificate of `localhost`: `ca.pem`, `cert.pem` or `key.pem`.
#[must_use]
pub fn tls_file(name: &str) -> String {
    format!("{}/registry/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn client_builder() -> reqwest::ClientBuilder {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().timeout(Duration::from_secs(120))
}

/// A database of a registry's own on a PostgreSQL server.
async fn new_database(server: &str) -> anyhow::Result<String> {
    use rand::RngExt;
    let name = format!("registry{:016x}", rand::rng().random::<u64>());
    let create = format!("CREATE DATABASE {name}");
    let created = tokio::process::Command::new("psql")
        .args([&format!("{server}/postgres"), "-qc", &create])
        .status();
    ensure!(created.await?.success(), "no database was made on {server}");
    Ok(format!("{server}/{name}"))
}

fn s3_env(s3: &S3) -> Vec<(&'static str, String)> {
    vec![
        ("SKALD_REGISTRY_STORAGE_BACKEND", "s3".to_owned()),
        ("SKALD_REGISTRY_STORAGE_S3_BUCKET", BUCKET.to_owned()),
        ("SKALD_REGISTRY_STORAGE_S3_ENDPOINT", s3.endpoint()),
        ("SKALD_REGISTRY_STORAGE_S3_ALLOW_HTTP", "true".to_owned()),
        (
            "SKALD_REGISTRY_STORAGE_S3_ACCESS_KEY_ID",
            ACCESS_KEY.to_owned(),
        ),
        (
            "SKALD_REGISTRY_STORAGE_S3_SECRET_ACCESS_KEY",
            SECRET_KEY.to_owned(),
        ),
    ]
}

/// A client of the Distribution Specification.
#[derive(Clone, Debug)]
pub struct RegistryClient {
    base: String,
    http: Client,
    login: Option<(String, String)>,
}

impl RegistryClient {
    /// A client of the registry at `base`.
    #[must_use]
    pub fn new(base: &str) -> Self {
        Self {
            base: base.to_owned(),
            http: client_builder().build().unwrap_or_default(),
            login: None,
        }
    }

    /// The same with a name and a password.
    #[must_use]
    pub fn login(&self, name: &str, password: &str) -> Self {
        Self {
            login: Some((name.to_owned(), password.to_owned())),
            ..self.clone()
        }
    }

    /// `http://127.0.0.1:port`, or `https`
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A request of a path, or of a location that the registry gave.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = match path.starts_with('/') {
            true => format!("{}{path}", self.base),
            false => path.to_owned(),
        };
        let request = self.http.request(method, url);
        match &self.login {
            Some((name, password)) => request.basic_auth(name, Some(password)),
            None => request,
        }
    }

    /// Pushes a blob with two requests; gives its digest.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn push_blob(&self, repo: &str, bytes: &[u8]) -> anyhow::Result<String> {
        let digest = sha256(bytes);
        let location = self.begin(repo).await?;
        let put = self.finish(&location, &digest, bytes.to_vec()).await?;
        ensure!(put.status() == 201, "{}", text(put).await);
        Ok(digest)
    }

    /// Begins an upload; gives its location.
    ///
    /// # Errors
    /// If it is refused.
    pub async fn begin(&self, repo: &str) -> anyhow::Result<String> {
        let path = format!("/v2/{repo}/blobs/uploads/");
        let begun = self.request(Method::POST, &path).send().await?;
        ensure!(begun.status() == 202, "{}", text(begun).await);
        header(&begun, "location")
    }

    /// Finishes an upload with a last chunk.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn finish(
        &self,
        location: &str,
        digest: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<Response> {
        let put = self.request(Method::PUT, location);
        Ok(put.query(&[("digest", digest)]).body(body).send().await?)
    }

    /// Pushes a manifest.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn put_manifest(
        &self,
        repo: &str,
        reference: &str,
        media_type: &str,
        body: &[u8],
    ) -> anyhow::Result<Response> {
        let put = self.request(Method::PUT, &format!("/v2/{repo}/manifests/{reference}"));
        let put = put.header("content-type", media_type).body(body.to_vec());
        Ok(put.send().await?)
    }

    /// Pushes an image of one layer; gives its manifest.
    ///
    /// # Errors
    /// If a part is refused.
    pub async fn push_image(&self, repo: &str, tag: &str, layer: &[u8]) -> anyhow::Result<Vec<u8>> {
        let config = json!({"architecture": "amd64", "os": "linux"}).to_string();
        self.push_blob(repo, config.as_bytes()).await?;
        self.push_blob(repo, layer).await?;
        let manifest = image(config.as_bytes(), &[layer]).to_string().into_bytes();
        let put = self.put_manifest(repo, tag, MANIFEST, &manifest).await?;
        ensure!(put.status() == 201, "{}", text(put).await);
        Ok(manifest)
    }

    /// A manifest or blob as a whole; none if it is not there.
    ///
    /// # Errors
    /// If there is no answer, or another one.
    pub async fn get(&self, path: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let answer = self.request(Method::GET, path).send().await?;
        match answer.status().as_u16() {
            200 => Ok(Some(answer.bytes().await?.to_vec())),
            404 => Ok(None),
            _ => anyhow::bail!("{path}: {}", text(answer).await),
        }
    }

    /// The status of a request without a body.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn status(&self, method: Method, path: &str) -> anyhow::Result<u16> {
        Ok(self.request(method, path).send().await?.status().as_u16())
    }

    /// Status and body of a request of the management API.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn manage(
        &self,
        method: Method,
        path: &str,
        body: Value,
    ) -> anyhow::Result<(u16, Value)> {
        let request = self.request(method, &format!("/api/v2.0{path}"));
        let answer = request.json(&body).send().await?;
        let status = answer.status().as_u16();
        Ok((status, answer.json().await.unwrap_or(Value::Null)))
    }

    /// An answer in JSON.
    ///
    /// # Errors
    /// If it is none.
    pub async fn json(&self, path: &str) -> anyhow::Result<Value> {
        let bytes = self.get(path).await?;
        let bytes = bytes.with_context(|| format!("{path} is not there"))?;
        Ok(serde_json::from_slice(&bytes)?)
    }
}

/// The manifest of an image.
#[must_use]
pub fn image(config: &[u8], layers: &[&[u8]]) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, config),
        "layers": layers.iter().map(|layer| descriptor(LAYER, layer)).collect::<Vec<_>>(),
    })
}

/// What refers to bytes.
#[must_use]
pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": sha256(bytes), "size": bytes.len()})
}

/// `sha256:...` of bytes.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&sha2::Sha256::digest(bytes)))
}

/// `sha512:...` of bytes.
#[must_use]
pub fn sha512(bytes: &[u8]) -> String {
    format!("sha512:{}", hex(&sha2::Sha512::digest(bytes)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that are not those of another seed.
#[must_use]
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    use rand::{RngExt, SeedableRng};
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let mut bytes = vec![0; len];
    random.fill(&mut bytes[..]);
    bytes
}

/// The files that a directory has, and those in it.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .flat_map(|entry| match entry.path() {
            path if path.is_dir() => files(&path),
            path => vec![path],
        })
        .collect()
}

/// How many files a directory has, and those in it.
#[must_use]
pub fn files_below(directory: &Path) -> usize {
    files(directory).len()
}

/// Those files below a directory that have a text in them.
///
/// # Errors
/// If one cannot be read.
pub fn files_with(directory: &Path, text: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in files(directory) {
        let bytes = std::fs::read(&path)?;
        if bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
        {
            found.push(path);
        }
    }
    Ok(found)
}

/// The file below a directory that has these bytes and no others.
///
/// # Errors
/// If there is none, or one cannot be read.
pub fn file_of(directory: &Path, bytes: &[u8]) -> anyhow::Result<PathBuf> {
    for path in files(directory) {
        if std::fs::read(&path)? == bytes {
            return Ok(path);
        }
    }
    anyhow::bail!("no file below {} has these bytes", directory.display())
}

/// A header of an answer.
///
/// # Errors
/// If it has none.
pub fn header(answer: &Response, name: &str) -> anyhow::Result<String> {
    let value = answer.headers().get(name);
    let value = value.with_context(|| format!("no header {name} in {:?}", answer.headers()))?;
    Ok(value.to_str()?.to_owned())
}

/// Status and body, to be shown.
pub async fn text(answer: Response) -> String {
    let status = answer.status();
    format!("{status}: {}", answer.text().await.unwrap_or_default())
}

/// The code of an error's body.
///
/// # Errors
/// If it has none, or no id of the request.
pub async fn code(answer: Response) -> anyhow::Result<String> {
    let rid = header(&answer, "x-request-id")?;
    let body: Value = answer.json().await?;
    let error = &body["errors"][0];
    ensure!(error["detail"]["request_id"] == rid, "{body}");
    ensure!(
        error["message"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    );
    let code = error["code"].as_str();
    Ok(code.with_context(|| body.to_string())?.to_owned())
}
