//! A server of pushes that answers as a test wants it to.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use prost::Message;
use proto::logproto::PushRequest;
use tests::wait_for;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The longest that lines may take to come here.
const PATIENCE: Duration = Duration::from_secs(60);

/// What becomes of a push.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Its lines are taken.
    Taken,
    /// They are taken after a while.
    Late(Duration),
    /// They are not, with this status and these headers.
    Refused(u16, &'static str),
    /// There never is an answer.
    Never,
}

/// A push as it came.
#[derive(Clone, Debug)]
pub(crate) struct Push {
    pub(crate) tenant: String,
    pub(crate) lines: Vec<String>,
}

/// A running server; stops when dropped.
pub(crate) struct Sink {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

type Script = dyn FnMut(&Push) -> Answer + Send;

struct State {
    /// Says what becomes of each push.
    script: Box<Script>,
    pushes: Vec<Push>,
    taken: Vec<String>,
    open: usize,
    open_max: usize,
}

impl Sink {
    /// A server that gives these answers to the first pushes, and takes all others.
    pub(crate) async fn answering(answers: &[Answer]) -> anyhow::Result<Self> {
        let mut answers: VecDeque<Answer> = answers.iter().cloned().collect();
        Self::start(move |_| answers.pop_front().unwrap_or(Answer::Taken)).await
    }

    /// A server that answers as `script` says.
    pub(crate) async fn start(
        script: impl FnMut(&Push) -> Answer + Send + 'static,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State {
            script: Box::new(script),
            pushes: Vec::new(),
            taken: Vec::new(),
            open: 0,
            open_max: 0,
        }));
        let of_task = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = of_task.clone();
                tokio::spawn(async move {
                    // A client may go away at any time.
                    let _ = serve(stream, &state).await;
                });
            }
        });
        Ok(Self { addr, state, task })
    }

    /// `http://127.0.0.1:port`
    pub(crate) fn base(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// From now on other answers are given.
    pub(crate) fn answer(&self, script: impl FnMut(&Push) -> Answer + Send + 'static) {
        self.with(|state| state.script = Box::new(script));
    }

    /// All pushes that came.
    pub(crate) fn pushes(&self) -> Vec<Push> {
        self.with(|state| state.pushes.clone())
    }

    /// The most pushes that were open at once.
    pub(crate) fn open_max(&self) -> usize {
        self.with(|state| state.open_max)
    }

    /// Waits until so many lines are taken: all of them.
    pub(crate) async fn taken(&self, at_least: usize) -> anyhow::Result<Vec<String>> {
        let waited = wait_for("lines at the sink", PATIENCE, async || {
            let taken = self.with(|state| state.taken.clone());
            (taken.len() >= at_least).then_some(taken)
        })
        .await;
        waited.with_context(|| {
            let count = self.with(|state| state.taken.len());
            format!("{count} of {at_least} lines")
        })
    }

    fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        with(&self.state, act)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn with<R>(state: &Mutex<State>, act: impl FnOnce(&mut State) -> R) -> R {
    act(&mut state.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Answers the pushes of one connection.
async fn serve(stream: TcpStream, state: &Mutex<State>) -> anyhow::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(push) = read(&mut stream).await? {
        let answer = with(state, |state| {
            state.pushes.push(push.clone());
            state.open += 1;
            state.open_max = state.open_max.max(state.open);
            (state.script)(&push)
        });
        if let Answer::Late(wait) = answer {
            tokio::time::sleep(wait).await;
        }
        with(state, |state| {
            state.open -= 1;
            if matches!(answer, Answer::Taken | Answer::Late(_)) {
                state.taken.extend(push.lines);
            }
        });
        let (status, headers) = match answer {
            Answer::Taken | Answer::Late(_) => (204, ""),
            Answer::Refused(status, headers) => (status, headers),
            Answer::Never => std::future::pending().await,
        };
        let answer = format!("HTTP/1.1 {status} -\r\n{headers}content-length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

/// The next push of a connection; nothing at its end.
async fn read(stream: &mut BufReader<TcpStream>) -> anyhow::Result<Option<Push>> {
    let (mut tenant, mut len) = (String::new(), 0);
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let Some((name, value)) = line.split_once(':') else {
            if line.trim().is_empty() {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => len = value.trim().parse()?,
            "x-scope-orgid" => tenant = value.trim().to_owned(),
            "transfer-encoding" => bail!("a push without its length"),
            _ => {}
        }
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await?;
    let body = snap::raw::Decoder::new().decompress_vec(&body)?;
    let request = PushRequest::decode(body.as_slice())?;
    let entries = request.streams.iter().flat_map(|stream| &stream.entries);
    let lines = entries.map(|entry| String::from_utf8_lossy(&entry.line).into_owned());
    Ok(Some(Push {
        tenant,
        lines: lines.collect(),
    }))
}
