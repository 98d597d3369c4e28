//! Requests of clients that have passed the handshake: who may call what, and how they are answered.
use super::registry::{Answer, Call, Finish, Outcome};
use super::ws_log::Asked;
use super::{Client, Core, Done, Effect, Job, runs};
use crate::base::clock::Now;
use crate::base::ids::ConnId;
use crate::base::limits::*;
use crate::protocol::connect::PROTOCOLS;
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::frame::{self, BadFrame, Request};
use crate::protocol::scope::{Access, Role};
use serde_json::Value;
use serde_json::value::RawValue;

impl Core {
    pub(super) fn on_request(&mut self, conn: ConnId, text: &[u8], now: Now) {
        let request = match Request::parse(text) {
            Ok(it) => it,
            Err(BadFrame::NotJson) => {
                log::debug!(target: "ws", "a frame that is not JSON was ignored ({} bytes)", text.len());
                return self.count_error(conn, now);
            }
            Err(BadFrame::NotRequest { id, error }) => {
                self.reply(conn, &id, Err(error));
                return self.count_error(conn, now);
            }
        };
        let asked = self.asked(conn, Value::String(request.id), request.method, now);
        match self.dispatch(&asked, request.params, now) {
            Ok(outcome) => self.carry_out(asked, outcome, now),
            Err(error) => {
                self.answer(&asked, Err(error), now);
                self.count_error(conn, now);
            }
        }
    }

    /// Answers, or has the work done that makes the answer.
    pub(super) fn carry_out(&mut self, asked: Asked, outcome: Outcome, now: Now) {
        if !self.admit_work(&outcome) {
            return self.answer(&asked, Err(RpcError::busy(1000)), now);
        }
        self.make(outcome, now, move |core: &mut Core, result, now| {
            core.answer(&asked, result.as_deref().map_err(Clone::clone), now);
        });
    }

    /// What a method answers, for a part of the gateway that needs it. The caller has seen to it that whoever asks may know.
    pub fn consult(
        &mut self,
        conn: ConnId,
        method: &'static str,
        params: Value,
        now: Now,
        then: impl FnOnce(&mut Core, RpcResult<Box<RawValue>>, Now) + Send + 'static,
    ) {
        let asked = self.asked(conn, Value::Null, method.to_owned(), now);
        let found = self.registry.get(method).ok_or_else(|| RpcError::unavailable(method));
        let call = Call { conn, protocol: *PROTOCOLS.end(), now, asked: &asked };
        match found.and_then(|it| it.call(self, call, params)) {
            Ok(Answer::Held) => then(self, Err(RpcError::unavailable(method)), now),
            Ok(outcome) if self.admit_work(&outcome) => self.make(outcome, now, then),
            Ok(_) => then(self, Err(RpcError::busy(1000)), now),
            Err(err) => then(self, Err(err), now),
        }
    }

    /// Has the work done that makes an answer; it was admitted.
    fn make(
        &mut self,
        outcome: Outcome,
        now: Now,
        then: impl FnOnce(&mut Core, RpcResult<Box<RawValue>>, Now) + Send + 'static,
    ) {
        self.effects.push(match outcome {
            Answer::Now(payload) => return then(self, Ok(payload), now),
            Answer::Held => return,
            Answer::Later(work) => Effect::Job(Box::new(move || finished(then, work()))),
            Answer::Apart(work) => return self.apart(Box::new(move || finished(then, work()))),
            Answer::Stored(work) => Effect::Store(Box::new(move |stores| finished(then, work(stores)))),
            Answer::Located(find) => Effect::Store(Box::new(move |stores| {
                let read = find(stores);
                let job: Job = Box::new(move || finished(then, read()));
                Box::new(move |core, _| core.effects.push(Effect::Job(job)))
            })),
        });
    }

    /// Role, then scope, then the table: in that order, as the reference does.
    fn dispatch(&mut self, asked: &Asked, params: Value, now: Now) -> RpcResult<Outcome> {
        let (conn, name) = (asked.conn, asked.method.as_str());
        let Some(ready) = self.clients.get(&conn).and_then(Client::ready) else {
            return Err(RpcError::busy(0));
        };
        if self.ending {
            return Err(RpcError::unavailable("the gateway is stopping").retry_after(1500));
        }
        let protocol = ready.protocol;
        let method = self.registry.get(name);
        // A method that is not in the table is the admin's: nobody else learns whether it exists.
        let access = method.map_or(Access::Admin, |it| it.access(protocol));
        match (ready.role, access) {
            (Role::Node, Access::NodeOnly) => {}
            (Role::Node, _) => return Err(RpcError::invalid("unauthorized role: node")),
            (Role::Operator, Access::NodeOnly) => {
                return Err(RpcError::invalid("unauthorized role: operator"));
            }
            (Role::Operator, access) if !ready.scopes.allow(access) => {
                return Err(RpcError::missing_scope(access.scope(), protocol));
            }
            (Role::Operator, _) => {}
        }
        if name == "connect" {
            return Err(RpcError::invalid("connect is only valid as the first request"));
        }
        let method = method.ok_or_else(|| RpcError::invalid(format!("unknown method: {name}")))?;
        method.call(self, Call { conn, protocol, now, asked }, params)
    }

    /// Whether there is room for one more call at work, where this is one; then it counts.
    fn admit_work(&mut self, outcome: &Outcome) -> bool {
        let room = match outcome {
            Answer::Now(_) | Answer::Held => return true,
            Answer::Apart(_) => self.threads < ANSWER_THREADS_MAX && self.calls_at_work < JOBS_MAX,
            Answer::Later(_) | Answer::Stored(_) | Answer::Located(_) => self.calls_at_work < JOBS_MAX,
        };
        self.calls_at_work += usize::from(room);
        room
    }

    pub(super) fn answer(&mut self, asked: &Asked, result: Result<&RawValue, RpcError>, now: Now) {
        self.log_answer(asked, result.as_ref().err(), now);
        self.reply(asked.conn, &asked.id, result);
    }

    /// The second answer to a request that was answered before.
    pub(super) fn answer_twice(&mut self, asked: &Asked, answer: &runs::Answer, now: Now) {
        // A run takes as long as it takes: only a failure is worth a line.
        if answer.error.is_some() {
            self.log_answer(asked, answer.error.as_ref(), now);
        }
        self.send(asked.conn, frame::outcome(&asked.id, &answer.payload, answer.error.as_ref()));
    }
    /// What was answered to the same key before.
    pub(super) fn answer_again(&mut self, asked: &Asked, answer: &Value, now: Now) {
        let error = serde_json::from_value(answer["error"].clone()).ok();
        self.answer_twice(asked, &runs::Answer { payload: answer["payload"].clone(), error }, now);
    }

    pub(super) fn reply(&mut self, conn: ConnId, id: &Value, result: Result<&RawValue, RpcError>) {
        self.send(conn, frame::response(id, result.as_ref().map(|it| *it)));
    }

    /// To a connection that is still there and was not told to close.
    pub(super) fn send(&mut self, conn: ConnId, text: String) {
        if self.clients.get(&conn).is_some_and(|it| !it.closing) {
            self.effects.push(Effect::Send { conn, text });
        }
    }

    /// A connection that does nothing but err is closed.
    pub(super) fn count_error(&mut self, conn: ConnId, now: Now) {
        let Some(client) = self.clients.get_mut(&conn) else { return };
        let (since, count) = client.errors;
        client.errors =
            if now.mono_ms - since > ERROR_WINDOW_MS { (now.mono_ms, 1) } else { (since, count + 1) };
        if client.errors.1 > ERRORS_MAX {
            log::warn!(target: "ws", "closing a connection after {ERRORS_MAX} errors in {} s", ERROR_WINDOW_MS / 1000);
            self.close(conn, 1008, "too many errors");
        }
    }

    /// A ready client stays ready until its socket is gone: its presence ends there.
    pub(super) fn close(&mut self, conn: ConnId, code: u16, reason: &str) {
        if let Some(client) = self.clients.get_mut(&conn).filter(|it| !it.closing) {
            client.closing = true;
            self.effects.push(Effect::Close { conn, code, reason: reason.to_owned() });
        }
    }
}

/// The end of a call that was at work.
fn finished(
    then: impl FnOnce(&mut Core, RpcResult<Box<RawValue>>, Now) + Send + 'static,
    finish: Finish<Box<RawValue>>,
) -> Done {
    Box::new(move |core: &mut Core, now: Now| {
        core.calls_at_work -= 1;
        let result = finish(core, now);
        then(core, result, now);
    })
}
