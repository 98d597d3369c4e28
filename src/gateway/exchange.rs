//! HTTP requests that are not answered at once: by a worker, by a run, or piece by piece; and who may make them.
//!
//! ```text
//! head with a body ─► admit(bytes) ─► request ─┬► respond                                  ─► over
//!                └► respond                    ├► respond_later(work)                      ─► over
//!                                              └► begin_stream ─► stream … ─► end_stream   ─► over
//!                                 the client hangs up before: what when_gone was told happens
//! ```
use super::auth::{Limiter, Verdict};
use super::peer::Peer;
use super::{Core, Effect, Job};
use crate::base::cancel::Cancel;
use crate::base::clock::Now;
use crate::base::ids::ConnId;
use crate::base::limits::{ANSWER_THREADS_MAX, JOBS_MAX};
use crate::base::secret::Secret;
use crate::conn::Bytes;
use crate::conn::answer::Answer;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What happens when a client hangs up before it has its whole answer, or has taken all there is of it so far.
pub type Then = Box<dyn FnOnce(&mut Core, Now) + Send>;

/// Why a request is not the owner's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unauthorized {
    Verdict(Verdict),
    /// Too many guesses: milliseconds until the next one is looked at.
    Locked(u64),
}

impl Core {
    /// The body of the request whose head came may be read, up to this many bytes.
    pub fn admit(&mut self, conn: ConnId, bytes_max: u64) {
        self.effects.push(Effect::Admit { conn, bytes_max });
    }
    /// The whole answer.
    pub fn respond(&mut self, conn: ConnId, answer: Answer) {
        self.exchanges.remove(&conn);
        self.effects.push(Effect::Answer { conn, answer });
    }
    /// A worker makes the answer; 503 when all are busy.
    pub fn respond_later(&mut self, conn: ConnId, work: impl FnOnce() -> Answer + Send + 'static) {
        self.work_for(conn, work, move |core, answer, _| core.respond(conn, answer));
    }
    /// A worker does something for an answer, which `then` goes on with; 503 when all are busy. A client that hangs up
    /// meanwhile wants nothing more.
    pub fn work_for<T: Send + 'static>(
        &mut self,
        conn: ConnId,
        work: impl FnOnce() -> T + Send + 'static,
        then: impl FnOnce(&mut Core, T, Now) + Send + 'static,
    ) {
        if self.calls_at_work >= JOBS_MAX {
            return self.respond(conn, too_busy());
        }
        self.calls_at_work += 1;
        self.exchanges.entry(conn).or_insert_with(|| Box::new(|_, _| {}));
        self.job(work, move |core, done, now| {
            core.calls_at_work -= 1;
            if core.exchanges.contains_key(&conn) {
                then(core, done, now);
            }
        });
    }
    /// A thread of its own makes the answer, however long that takes; it is told to stop when the client hangs up. 503 when there are
    /// too many of them.
    pub fn respond_from_thread(
        &mut self,
        conn: ConnId,
        work: impl FnOnce(&Cancel) -> Answer + Send + 'static,
    ) {
        if self.threads >= ANSWER_THREADS_MAX {
            return self.respond(conn, too_busy());
        }
        let cancel = Cancel::new();
        let stop = cancel.clone();
        self.when_gone(conn, move |_, _| stop.cancel());
        self.apart(Box::new(move || {
            let made = catch_unwind(AssertUnwindSafe(|| work(&cancel)));
            let answer =
                made.unwrap_or_else(|_| Answer::text(500, "Internal Server Error: see the gateway's log"));
            Box::new(move |core, _| core.respond(conn, answer))
        }));
    }
    /// On a thread of its own, of which there may be [`ANSWER_THREADS_MAX`]: the caller sees to that.
    pub(super) fn apart(&mut self, work: Job) {
        self.threads += 1;
        self.effects.push(Effect::Thread(Box::new(move || {
            let done = work();
            Box::new(move |core, now| {
                core.threads -= 1;
                done(core, now);
            })
        })));
    }
    /// The head of an answer whose body comes in pieces.
    pub fn begin_stream(&mut self, conn: ConnId, head: Answer) {
        self.effects.push(Effect::Stream { conn, head });
    }
    /// The next piece. A client that does not read is cut off, and is gone.
    pub fn stream(&mut self, conn: ConnId, piece: impl Into<Bytes>) {
        self.effects.push(Effect::Piece { conn, piece: piece.into() });
    }
    /// What to do once this client has taken all that was said; nothing when it is gone. Only for one that [`Core::when_gone`] knows.
    pub fn when_drained(&mut self, conn: ConnId, then: impl FnOnce(&mut Core, Now) + Send + 'static) {
        if self.exchanges.contains_key(&conn) {
            self.drained.insert(conn, Box::new(then));
            self.effects.push(Effect::TellDrained { conn });
        }
    }
    pub fn on_drained(&mut self, conn: ConnId, now: Now) {
        if let Some(then) = self.drained.remove(&conn) {
            then(self, now);
        }
    }
    /// Whether the one that [`Core::when_gone`] knows is still there.
    pub fn is_answering(&self, conn: ConnId) -> bool {
        self.exchanges.contains_key(&conn)
    }
    /// The answer cannot be finished: its client must not take it for whole.
    pub fn cut(&mut self, conn: ConnId) {
        self.exchanges.remove(&conn);
        self.effects.push(Effect::Cut { conn });
    }
    pub fn end_stream(&mut self, conn: ConnId) {
        self.exchanges.remove(&conn);
        self.effects.push(Effect::EndStream { conn });
    }
    /// The one who asks is the owner, so this connection does not make room for strangers.
    pub fn authenticated(&mut self, conn: ConnId) {
        self.effects.push(Effect::Authenticated { conn });
    }
    /// What to do when this client hangs up before its answer is whole. One for each connection: the last one said.
    pub fn when_gone(&mut self, conn: ConnId, gone: impl FnOnce(&mut Core, Now) + Send + 'static) {
        self.exchanges.insert(conn, Box::new(gone));
    }

    /// Whether the shared secret was given; wrong ones are counted with those of the handshake.
    ///
    /// # Errors
    /// [`Unauthorized`].
    pub fn check_secret(&mut self, peer: &Peer, given: Option<&str>, now: Now) -> Result<(), Unauthorized> {
        let trusted = &self.world.config.config.gateway.trusted_proxies;
        judge(&mut self.limiter, &self.auth.secret, (peer, trusted), given, now)
    }
    /// The same for the token of webhooks, whose guesses are counted apart.
    ///
    /// # Errors
    /// [`Unauthorized`].
    pub fn check_hook_token(
        &mut self,
        token: &Secret,
        peer: &Peer,
        given: Option<&str>,
        now: Now,
    ) -> Result<(), Unauthorized> {
        let trusted = &self.world.config.config.gateway.trusted_proxies;
        judge(&mut self.hook_limiter, token, (peer, trusted), given, now)
    }
}

fn too_busy() -> Answer {
    let text = "Service Unavailable: too much is being worked on, try again in a moment";
    Answer::text(503, text).with("Retry-After", "1")
}

fn judge(
    limiter: &mut Limiter,
    secret: &Secret,
    (peer, trusted_proxies): (&Peer, &[String]),
    given: Option<&str>,
    now: Now,
) -> Result<(), Unauthorized> {
    let client_ip = peer.client_ip(trusted_proxies);
    let guesser = limiter.guesser(client_ip, peer.forwarded, peer.origin.as_deref());
    if let Some(ms) = limiter.locked(&guesser, now.mono_ms) {
        return Err(Unauthorized::Locked(ms));
    }
    match given.filter(|it| !it.is_empty()) {
        None => Err(Unauthorized::Verdict(Verdict::Missing)),
        Some(given) if secret.is(given) => {
            limiter.right(&guesser);
            Ok(())
        }
        Some(_) => {
            // Nothing is held back here: the lock comes soon enough.
            limiter.wrong(&guesser, now.mono_ms);
            Err(Unauthorized::Verdict(Verdict::Mismatch))
        }
    }
}
