//! The connection of a node: it is made, served, lost and made again.
use super::once::{Known, Once};
use super::run::{Machine, Outcome, Parsed, Refused, parse};
use super::settings::Settings;
use crate::base::clock::Clock;
use crate::base::ids;
use crate::base::limits::{NODE_QUEUE_MAX, NODE_RETRY_MS, NODE_RETRY_MS_MAX, NODE_RUNS_MAX, TICK_MS};
use crate::base::pool::Pool;
use crate::base::sys::{self, SignalFd};
use crate::cli::identity::Identity;
use crate::cli::rpc::{As, Client, Declared, Failure};
use crate::cli::target::Target;
use crate::cli::{Context, fail, print};
use crate::store::exec_approvals::{self, Refused as FileRefused};
use crossbeam_channel::{Receiver, Sender, unbounded};
use serde_json::{Value, json};
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::Arc;

const CAPS: &[&str] = &["system"];
const COMMANDS: &[&str] =
    &["system.run", "system.which", "system.execApprovals.get", "system.execApprovals.set"];
/// How old what the gateway's skills ask for may be. Reference: 90 s.
const SKILLS_MS: u64 = 90_000;
/// To connect, and to get one message out.
const LINE_MS: u64 = 10_000;

pub struct Host {
    context: Context,
    signals: SignalFd,
    settings: Settings,
    target: Target,
    machine: Arc<Machine>,
    pool: Pool,
    done: (Sender<Done>, Receiver<Done>),
    bell: PipeReader,
    ring: Arc<PipeWriter>,
    once: Once,
    /// Of the connection.
    life: u64,
    skills: Skills,
}

/// A command that has ended.
struct Done {
    key: String,
    outcome: Outcome,
}

/// What the gateway's skills ask for, and the commands that wait to know.
#[derive(Default)]
struct Skills {
    bins: Vec<String>,
    at_ms: Option<u64>,
    asked: Option<String>,
    waiting: Vec<(String, Parsed)>,
}

/// Why a connection is served no more.
enum Over {
    Lost(Failure),
    Stop,
}

impl From<Failure> for Over {
    fn from(it: Failure) -> Over {
        Over::Lost(it)
    }
}

impl Host {
    pub fn new(
        context: Context,
        signals: SignalFd,
        settings: Settings,
        target: Target,
        machine: Machine,
    ) -> Result<Host, String> {
        let failed = |err: std::io::Error| format!("cannot start: {err}");
        let (bell, ring) = std::io::pipe().map_err(failed)?;
        Ok(Host {
            context,
            signals,
            settings,
            target,
            machine: Arc::new(machine),
            pool: Pool::start("command", NODE_RUNS_MAX, NODE_QUEUE_MAX).map_err(failed)?,
            done: unbounded(),
            bell,
            ring: Arc::new(ring),
            once: Once::default(),
            life: 0,
            skills: Skills::default(),
        })
    }

    /// Until a signal says stop.
    pub fn run(mut self) -> ExitCode {
        let identity = match Identity::load_or_make(&self.context.paths.state, self.clock().now().unix_ms) {
            Ok(it) => it,
            Err(text) => return fail(&text, 1),
        };
        let declared = Declared {
            display_name: self.settings.display_name.clone(),
            instance_id: self.settings.node_id.clone(),
            caps: CAPS,
            commands: COMMANDS,
            path: self.machine.path().to_owned(),
        };
        let mut wait_ms = NODE_RETRY_MS;
        let mut told = String::new();
        loop {
            let opened = Client::open(&self.target, &identity, As::Node(&declared), LINE_MS, self.clock());
            let over = match opened {
                Ok(client) => {
                    print(&format!("node {:?} serves {}", self.settings.display_name, self.target.url));
                    (wait_ms, told) = (NODE_RETRY_MS, String::new());
                    self.serve(client)
                }
                Err(err) => Over::Lost(err),
            };
            let Over::Lost(failure) = over else { break };
            let text = self.explain(&failure);
            // Once is enough, however long it lasts.
            if text != told {
                fail(&text, 0);
                told = text;
            }
            if self.rest(wait_ms) {
                break;
            }
            wait_ms = (wait_ms * 2).min(NODE_RETRY_MS_MAX);
        }
        self.machine.cancel.cancel();
        self.pool.finish();
        ExitCode::SUCCESS
    }

    fn clock(&self) -> Clock {
        self.machine.clock
    }

    fn explain(&self, failure: &Failure) -> String {
        let hint = match failure {
            Failure::Refused { message, details, .. } if message == "pairing required" => {
                let id = details["requestId"].as_str().map_or(String::new(), |it| format!(" {it}"));
                format!(
                    ": on the gateway's machine, within 5 minutes: {} devices approve{id}",
                    self.context.name
                )
            }
            Failure::Refused { message, .. } if message.starts_with("unauthorized") => {
                ": set OPENCLAW_GATEWAY_TOKEN to the gateway's token".to_owned()
            }
            _ => String::new(),
        };
        format!("node: {}: {failure}{hint}; trying again", self.target.url)
    }

    /// Whether a signal says stop.
    fn stopped(&self) -> bool {
        std::iter::from_fn(|| self.signals.next()).any(|it| it == libc::SIGTERM || it == libc::SIGINT)
    }

    /// Waits; true when a signal says stop.
    fn rest(&self, ms: u64) -> bool {
        let until = self.clock().now().mono_ms + ms;
        loop {
            let left = until.saturating_sub(self.clock().now().mono_ms);
            if left == 0 {
                return false;
            }
            // A failure of poll itself ends the wait early: the next attempt fails by itself.
            let waited = sys::poll([Some(self.signals.as_fd())], left);
            let stopped = self.stopped();
            if stopped || waited.is_err() {
                return stopped;
            }
        }
    }

    fn serve(&mut self, mut client: Client) -> Over {
        self.life += 1;
        self.skills.asked = None;
        let over = loop {
            if let Err(over) = self.turn(&mut client) {
                break over;
            }
        };
        if let Over::Stop = over {
            client.close();
        }
        over
    }

    /// What has come until nothing more is there.
    fn turn(&mut self, client: &mut Client) -> Result<(), Over> {
        let tick_ms = client.policy["tickIntervalMs"].as_u64().unwrap_or(TICK_MS);
        let silent_at = self.clock().now().mono_ms + 2 * tick_ms;
        loop {
            let mut heard = false;
            while let Some(frame) = client.here()? {
                heard = true;
                client.renew();
                self.on_frame(client, frame)?;
            }
            if heard {
                return Ok(());
            }
            let left = silent_at.saturating_sub(self.clock().now().mono_ms);
            if left == 0 {
                return Err(Failure::Other("nothing was heard of the gateway for too long".to_owned()).into());
            }
            let watched = [Some(client.fd()), Some(self.bell.as_fd()), Some(self.signals.as_fd())];
            let ready = sys::poll(watched, left);
            let [_, rung, signalled] = ready.map_err(|err| Failure::Other(format!("cannot wait: {err}")))?;
            if signalled && self.stopped() {
                return Err(Over::Stop);
            }
            if rung {
                let mut bytes = [0; 64];
                self.bell.read(&mut bytes).map_err(|err| Failure::Other(format!("cannot wait: {err}")))?;
                self.tell_done(client)?;
            }
        }
    }

    fn on_frame(&mut self, client: &mut Client, mut frame: Value) -> Result<(), Failure> {
        if frame["event"] == "node.invoke.request" {
            return self.on_invoke(client, &frame["payload"]);
        }
        let is_skills = self.skills.asked.as_ref().is_some_and(|it| frame["id"] == **it);
        if frame["type"] == "res" && is_skills {
            let bins = frame["payload"]["bins"].take();
            // Whoever cannot be asked allows nothing more.
            self.skills.bins = serde_json::from_value(bins).unwrap_or_default();
            self.skills.at_ms = Some(self.clock().now().mono_ms);
            self.skills.asked = None;
            for (key, parsed) in std::mem::take(&mut self.skills.waiting) {
                self.begin(client, key, parsed)?;
            }
        }
        Ok(())
    }

    fn on_invoke(&mut self, client: &mut Client, request: &Value) -> Result<(), Failure> {
        let (Some(id), Some(command)) = (request["id"].as_str(), request["command"].as_str()) else {
            return Ok(());
        };
        let node_id = request["nodeId"].as_str().unwrap_or_default();
        let params = request["paramsJSON"].as_str().map(serde_json::from_str::<Value>);
        let params = match params {
            Some(Ok(it)) => it,
            Some(Err(err)) => {
                return answer(
                    client,
                    node_id,
                    id,
                    &Err(Refused::invalid(format!("paramsJSON is no JSON: {err}"))),
                );
            }
            None if command == "system.execApprovals.get" => json!({}),
            None => return answer(client, node_id, id, &Err(Refused::invalid("paramsJSON required"))),
        };
        let done = match command {
            "system.which" => self.machine.which(&params),
            "system.execApprovals.get" => self.approvals(),
            "system.execApprovals.set" => self.set_approvals(&params),
            "system.run" => return self.on_run(client, node_id, id, request, &params),
            _ => Err(Refused::unavailable("command not supported")),
        };
        answer(client, node_id, id, &done)
    }

    fn on_run(
        &mut self,
        client: &mut Client,
        node_id: &str,
        id: &str,
        request: &Value,
        params: &Value,
    ) -> Result<(), Failure> {
        let parsed = match parse(params, &self.machine) {
            Ok(it) => it,
            Err(refused) => return answer(client, node_id, id, &Err(refused)),
        };
        // Who gives no key means this call alone.
        let key =
            request["idempotencyKey"].as_str().map_or_else(|| format!("id {id}"), |it| format!("key {it}"));
        match self.once.enter(&key, self.life, &[node_id, id].join("\n")) {
            Known::New => {}
            Known::Running => return Ok(()),
            Known::Ended(done) => return answer(client, node_id, id, &done),
        }
        let now = self.clock().now().mono_ms;
        let fresh = self.skills.at_ms.is_some_and(|it| now - it < SKILLS_MS);
        if !fresh && parsed.wants_skills(&self.machine) && self.skills.waiting.len() < NODE_QUEUE_MAX {
            self.skills.waiting.push((key, parsed));
            if self.skills.asked.is_none() {
                self.skills.asked = Some(client.post("skills.bins", Some(json!({})))?);
            }
            return Ok(());
        }
        self.begin(client, key, parsed)
    }

    fn begin(&mut self, client: &mut Client, key: String, parsed: Parsed) -> Result<(), Failure> {
        let (machine, bins) = (self.machine.clone(), self.skills.bins.clone());
        let (done, ring, of) = (self.done.0.clone(), self.ring.clone(), key.clone());
        let job = move || {
            let outcome = parsed.run(&machine, &bins);
            // Whoever would hear it is gone only when the program ends.
            let _ = done.send(Done { key: of, outcome });
            let _ = (&*ring).write_all(b"!");
        };
        if self.pool.run(Box::new(job)).is_ok() {
            return Ok(());
        }
        let busy = Err(Refused::unavailable(format!(
            "{NODE_QUEUE_MAX} commands wait here already: try again later"
        )));
        let waiting = self.once.forget(&key);
        self.answer_all(client, waiting, &busy)
    }

    fn tell_done(&mut self, client: &mut Client) -> Result<(), Failure> {
        while let Ok(Done { key, outcome }) = self.done.1.try_recv() {
            client.renew();
            let (event, payload) = outcome.event;
            // What was denied has not run: with an approval it may come again.
            let waiting = match event {
                "exec.denied" => self.once.forget(&key),
                _ => self.once.end(&key, &outcome.result),
            };
            client.post("node.event", Some(json!({ "event": event, "payloadJSON": payload.to_string() })))?;
            self.answer_all(client, waiting, &outcome.result)?;
        }
        Ok(())
    }

    /// Over a connection that is gone nobody waits any more.
    fn answer_all(
        &self,
        client: &mut Client,
        waiting: Vec<(u64, String)>,
        done: &Result<Value, Refused>,
    ) -> Result<(), Failure> {
        for (_, who) in waiting.iter().filter(|it| it.0 == self.life) {
            if let Some((node_id, id)) = who.split_once('\n') {
                answer(client, node_id, id, done)?;
            }
        }
        Ok(())
    }

    fn approvals(&self) -> Result<Value, Refused> {
        let _alone = self.machine.file.lock().unwrap_or_else(|it| it.into_inner());
        let it = exec_approvals::snapshot(&self.machine.state, &mut ids::os_entropy());
        it.map(|it| json!(it)).map_err(Refused::unavailable)
    }

    fn set_approvals(&self, params: &Value) -> Result<Value, Refused> {
        let _alone = self.machine.file.lock().unwrap_or_else(|it| it.into_inner());
        let file = &params["file"];
        if !file.is_object() {
            return Err(Refused::invalid("exec approvals file required"));
        }
        let set = exec_approvals::replace(
            &self.machine.state,
            file,
            params["baseHash"].as_str(),
            &mut ids::os_entropy(),
        );
        set.map(|it| json!(it)).map_err(|it| match it {
            FileRefused::NoHash => Refused::invalid("exec approvals base hash required; reload and retry"),
            FileRefused::Changed => Refused::invalid("exec approvals changed; reload and retry"),
            FileRefused::Disk(err) => Refused::unavailable(err),
        })
    }
}

fn answer(
    client: &mut Client,
    node_id: &str,
    id: &str,
    done: &Result<Value, Refused>,
) -> Result<(), Failure> {
    let mut params = json!({ "id": id, "nodeId": node_id, "ok": done.is_ok() });
    match done {
        Ok(it) => params["payloadJSON"] = it.to_string().into(),
        Err(it) => params["error"] = json!({ "code": it.code, "message": it.message }),
    }
    client.post("node.invoke.result", Some(params)).map(drop)
}
