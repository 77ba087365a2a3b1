//! An API server of Kubernetes, as far as whoever looks for pods asks it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A running server that knows pods; stops when dropped.
pub(crate) struct Cluster {
    addr: SocketAddr,
    known: Arc<Mutex<Known>>,
    changed: watch::Sender<usize>,
    task: JoinHandle<()>,
}

/// All that happened, in its order; the version of an object is its place.
#[derive(Default)]
struct Known {
    events: Vec<Value>,
}

impl Cluster {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        let (known, changed) = (Arc::<Mutex<Known>>::default(), watch::Sender::new(0));
        let (of_task, changes) = (known.clone(), changed.subscribe());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (known, changes) = (of_task.clone(), changes.clone());
                tokio::spawn(async move {
                    // A client may go away at any time.
                    let _ = serve(stream, &known, changes).await;
                });
            }
        });
        Ok(Self {
            addr,
            known,
            changed,
            task,
        })
    }

    /// `http://127.0.0.1:port`
    pub(crate) fn base(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Tells of a pod: `ADDED`, `MODIFIED` or `DELETED`.
    pub(crate) fn tell(&self, event: &str, mut pod: Value) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let version = known.events.len() + 1;
        if let Some(metadata) = pod.get_mut("metadata") {
            metadata["resourceVersion"] = version.to_string().into();
        }
        known.events.push(json!({"type": event, "object": pod}));
        self.changed.send_replace(version);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Known {
    /// The pods that there are now.
    fn list(&self) -> Value {
        let mut pods: Vec<&Value> = Vec::new();
        for event in &self.events {
            let pod = &event["object"];
            pods.retain(|other| other["metadata"]["uid"] != pod["metadata"]["uid"]);
            if event["type"] != "DELETED" {
                pods.push(pod);
            }
        }
        json!({
            "kind": "PodList", "apiVersion": "v1",
            "metadata": {"resourceVersion": self.events.len().to_string()},
            "items": pods,
        })
    }
}

/// Answers one request: a list, or a watch that goes on.
async fn serve(
    stream: TcpStream,
    known: &Mutex<Known>,
    mut changes: watch::Receiver<usize>,
) -> anyhow::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut asked = String::new();
    stream.read_line(&mut asked).await?;
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let of =
        |act: &dyn Fn(&Known) -> String| act(&known.lock().unwrap_or_else(PoisonError::into_inner));
    if !asked.contains("watch=true") {
        let list = of(&|known| known.list().to_string());
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
        let answer = format!("{head}content-length: {}\r\n\r\n{list}", list.len());
        return Ok(stream.write_all(answer.as_bytes()).await?);
    }
    let from = asked.split("resourceVersion=").nth(1).unwrap_or_default();
    let digits: String = from.chars().take_while(char::is_ascii_digit).collect();
    let mut at: usize = digits.parse().unwrap_or(0);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
                transfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await?;
    loop {
        let events = of(&|known| {
            let new = known.events.iter().skip(at);
            new.map(|event| format!("{event}\n")).collect()
        });
        at += events.lines().count();
        if !events.is_empty() {
            let chunk = format!("{:x}\r\n{events}\r\n", events.len());
            stream.write_all(chunk.as_bytes()).await?;
        }
        changes.changed().await?;
    }
}
