//! An S3-compatible server in this process, on a directory (s3s).

mod open;

use std::net::SocketAddr;
use std::path::Path;

use anyhow::anyhow;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use open::{Files, Open};

/// The key that clients sign with.
pub const ACCESS_KEY: &str = "skald-test";
/// The secret of the key.
pub const SECRET_KEY: &str = "skald-test-secret";
/// The bucket that exists.
pub const BUCKET: &str = "logs";

/// A running server; stops when dropped.
#[derive(Debug)]
pub struct S3 {
    address: SocketAddr,
    task: JoinHandle<()>,
    open: Open,
}

impl S3 {
    /// Serves a directory, with [`BUCKET`] in it.
    ///
    /// # Errors
    /// If the directory cannot be used, or no port is free.
    pub async fn start(directory: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory.join(BUCKET))?;
        let files = s3s_fs::FileSystem::new(directory).map_err(|error| anyhow!("{error:?}"))?;
        let open = Open::default();
        let mut service = S3ServiceBuilder::new(Files {
            files,
            open: open.clone(),
        });
        service.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = service.build();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let connection = Builder::new(TokioExecutor::new());
                    let socket = TokioIo::new(socket);
                    let _ = connection.serve_connection(socket, service).await;
                });
            }
        });
        Ok(Self {
            address,
            task,
            open,
        })
    }

    /// Variables that make a process keep its data here.
    #[must_use]
    pub fn env(&self) -> [(&'static str, String); 6] {
        [
            ("SKALD_STORAGE_BACKEND", "s3".to_owned()),
            ("SKALD_STORAGE_S3_BUCKET", BUCKET.to_owned()),
            ("SKALD_STORAGE_S3_ENDPOINT", self.endpoint()),
            ("SKALD_STORAGE_S3_ALLOW_HTTP", "true".to_owned()),
            ("SKALD_STORAGE_S3_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("SKALD_STORAGE_S3_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
        ]
    }

    /// The keys of uploads in parts that were begun and neither finished nor aborted.
    pub async fn open_uploads(&self) -> Vec<String> {
        self.open.keys().await
    }

    /// Begins one as somebody else does.
    pub async fn begin_upload(&self, key: &str) {
        self.open.begin(key.to_owned(), "others".to_owned()).await;
    }

    /// Has who begins an upload in parts not be told what it is called, or again.
    pub fn keep_uploads_silent(&self, is_silent: bool) {
        self.open.keep_silent(is_silent);
    }

    /// `http://127.0.0.1:port`
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.task.abort();
    }
}
