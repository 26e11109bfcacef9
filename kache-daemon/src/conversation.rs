//! One shim's connection, from its question to the last answer. Bytes and waiting only: what is said is the engine's business.
//!
//! Promises: the connection is the lease (its end drops the ticket); a shim that waits hears `Working` long before it would
//! take the daemon for hung; no disk work runs on the async threads; the engine is at work for one asker at a time per destination, and knows
//! whether that one is still there.

use crate::asker::Presence;
use crate::config_watch::ConfigWatch;
use crate::engine::{Answer, Engine, Errand, Ticket};
use crate::journal::Call;
use crate::lease::Waited;
use kache_proto::decode::Decoder;
use kache_proto::{Message, Plan, ProtocolError, Reply, Report, Request, wire};
use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::task::TaskTracker;

/// Well below the second after which a shim gives up on the first byte.
const STILL_WORKING: Duration = Duration::from_millis(400);

/// Why a conversation ended early. None of these is the build's problem: the shim runs rustc.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConversationError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    #[error("a {0} where a report was due")]
    OutOfTurn(&'static str),
    #[error("the engine panicked: {0}")]
    Engine(#[from] tokio::task::JoinError),
}

/// Holds the conversation on `stream` with the process `peer`; `first` is what was already read from it. Publishing goes on behind it, in `publishing`.
pub(crate) async fn hold<S>(
    engine: Arc<Engine>,
    config: Arc<ConfigWatch>,
    publishing: TaskTracker,
    stream: S,
    peer: Option<u32>,
    first: &[u8],
) -> Result<(), ConversationError>
where
    S: AsyncRead + AsyncWrite + AsFd + Unpin,
{
    let mut line = Line { stream, decoder: Decoder::new(), config, destination: None };
    line.decoder.push(first);
    line.stream.write_all(&wire::preamble()).await?;
    let Some(request) = line.request().await? else { return Ok(()) };
    engine.stats.request();
    let presence = Presence::new(line.stream.as_fd().try_clone_to_owned()?, request.parent);
    line.destination = destination(&request).await?;
    let call = engine.journal.call(request, peer, presence.asker());
    let mut answer = line.ask(&engine, &call, Waited::No).await?;
    loop {
        answer = match answer {
            Answer::Reply(reply) => return line.say(&reply).await,
            Answer::Compile(ticket, plan) => return line.compile(engine, publishing, ticket, plan).await,
            Answer::Wait(waiter) => {
                let waited = line.working(waiter.ended()).await?;
                line.ask(&engine, &call, waited).await?
            }
            Answer::Look(errand) => line.look(&engine, errand).await?,
        };
    }
}

struct Line<S> {
    stream: S,
    decoder: Decoder,
    config: Arc<ConfigWatch>,
    /// Where the outputs go.
    destination: Option<PathBuf>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    /// Has the engine answer.
    async fn ask(&mut self, engine: &Arc<Engine>, call: &Arc<Call>, waited: Waited) -> Result<Answer, ConversationError> {
        let (call, config) = (Arc::clone(call), Arc::clone(&self.config));
        let ask = move |engine: &Engine| {
            config.meet(call.request.parent);
            engine.ask(&call, waited)
        };
        self.in_turn(engine, ask).await
    }

    /// Has the bucket looked into, and the engine go on.
    async fn look(&mut self, engine: &Arc<Engine>, errand: Box<Errand>) -> Result<Answer, ConversationError> {
        let mut errand = *errand;
        if let Some(bucket) = engine.bucket() {
            let candidates = std::mem::take(&mut errand.candidates);
            self.working(bucket.look(engine, &errand.question, candidates)).await?;
        }
        self.in_turn(engine, move |engine| engine.resume(errand)).await
    }

    /// Runs blocking work when it is its turn: more at once than the machine can run would only get in each other's way.
    async fn in_turn(
        &mut self,
        engine: &Arc<Engine>,
        work: impl FnOnce(&Engine) -> Answer + Send + 'static,
    ) -> Result<Answer, ConversationError> {
        let (engine, destination) = (Arc::clone(engine), self.destination.clone());
        let answered = self.working(async move {
            let worker = Arc::clone(&engine);
            let landing = engine.landings.enter(destination.as_deref()).await;
            let _turn = engine.turns.acquire().await;
            tokio::task::spawn_blocking(move || {
                // Held until the work is done, also when nobody listens any more.
                let _landing = landing;
                work(&worker)
            })
            .await
        });
        Ok(answered.await??)
    }

    async fn say(&mut self, reply: &Reply) -> Result<(), ConversationError> {
        self.stream.write_all(&reply.encode()?).await?;
        Ok(())
    }

    /// The next message; `None` at a clean end.
    async fn hear(&mut self) -> Result<Option<Message>, ConversationError> {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            if let Some(message) = self.decoder.next_message()? {
                return Ok(Some(message));
            }
            let n = self.stream.read(&mut buffer).await?;
            if n == 0 {
                return Ok(None);
            }
            self.decoder.push(&buffer[..n]);
        }
    }

    async fn request(&mut self) -> Result<Option<Request>, ConversationError> {
        match self.hear().await? {
            None => Ok(None),
            Some(Message::Request(request)) => Ok(Some(request)),
            Some(_) => Err(ConversationError::OutOfTurn("message")),
        }
    }

    /// Waits for `work`, telling the shim now and then that it goes on; ends early when the shim is gone.
    async fn working<T>(&mut self, work: impl Future<Output = T>) -> Result<T, ConversationError> {
        let mut work = std::pin::pin!(work);
        loop {
            match tokio::time::timeout(STILL_WORKING, &mut work).await {
                Ok(result) => return Ok(result),
                Err(_) => self.say(&Reply::Working).await?,
            }
        }
    }

    async fn compile(
        &mut self,
        engine: Arc<Engine>,
        publishing: TaskTracker,
        ticket: Box<Ticket>,
        plan: Plan,
    ) -> Result<(), ConversationError> {
        self.say(&Reply::Compile(plan)).await?;
        let report: Report = match self.hear().await? {
            // The shim or its rustc was killed: the ticket goes, and with it the lease.
            None => return Ok(()),
            Some(Message::Report(report)) => report,
            Some(Message::Request(_)) => return Err(ConversationError::OutOfTurn("request")),
            Some(Message::Reply(_)) => return Err(ConversationError::OutOfTurn("reply")),
        };
        let captured = {
            let (engine, destination) = (Arc::clone(&engine), self.destination.clone());
            let finished = self.working(async move {
                let landing = engine.landings.enter(destination.as_deref()).await;
                tokio::task::spawn_blocking(move || {
                    let _landing = landing;
                    engine.finish(*ticket, report)
                })
                .await
            });
            finished.await??
        };
        if let Some(captured) = captured {
            publishing.spawn_blocking(move || engine.keep(captured));
        }
        self.say(&Reply::Done).await
    }
}

/// Where the outputs of an invocation go. Only its `@file`s want the disk.
async fn destination(request: &Request) -> Result<Option<PathBuf>, ConversationError> {
    if !request.argv.iter().skip(1).any(|word| word.as_encoded_bytes().starts_with(b"@")) {
        return Ok(kache_rustc::destination(&request.argv, &request.cwd, &mut |_| None));
    }
    let (argv, cwd) = (request.argv.clone(), request.cwd.clone());
    Ok(tokio::task::spawn_blocking(move || kache_rustc::destination(&argv, &cwd, &mut |path| std::fs::read(path).ok())).await?)
}
