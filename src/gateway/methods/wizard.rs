//! `wizard.*`: the questions of the first minute, for clients without a terminal. One set-up at a time.
//!
//! ```text
//! start ──► step ── next{answer} ──► step … ──► next ──► done
//!             └── next without an answer: the same step        cancel ──► gone
//! ```
//!
//! * While a worker tries or writes something, the wizard is with the worker; a cancel in between takes effect when it comes back.
use crate::base::clock::Now;
use crate::base::ids;
use crate::base::limits::WIZARD_IDLE_MS;
use crate::gateway::registry::{Answer, Call, Finish, Method, Rpc};
use crate::gateway::wizard::{self, Facts, Kind, Next, Question, Step, Wizard, Work, trial, write};
use crate::gateway::{Core, World, reload};
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::scope::Access;
use crate::protocol::types::NonEmpty;
use crate::{literals, shaped};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

pub const METHODS: &[Method] = &[
    Method::of::<WizardStart>(),
    Method::of::<WizardNext>(),
    Method::of::<WizardCancel>(),
    Method::of::<WizardStatus>(),
];

literals! { enum WizardMode { Local = "local", Remote = "remote" } }
shaped! { struct WizardStartParams { mode = "mode": Option<WizardMode>, workspace = "workspace": Option<String> } }
shaped! { struct WizardAnswer { step_id = "stepId": NonEmpty, value = "value": Option<Value> } }
shaped! { struct WizardNextParams { session_id = "sessionId": NonEmpty, answer = "answer": Option<WizardAnswer> } }
shaped! { struct WizardParams { session_id = "sessionId": NonEmpty } }

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct WizardStartReply {
    session_id: String,
    #[serde(flatten)]
    at: WizardNextReply,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct WizardNextReply {
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<WizardStep>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct WizardStatusReply {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

#[derive(Serialize, Clone)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct WizardStep {
    #[serde(rename = "type")]
    kind: &'static str,
    title: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<Vec<WizardOption>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    initial_value: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sensitive: Option<bool>,
    executor: &'static str,
    id: String,
}

#[derive(Serialize, Clone)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct WizardOption {
    value: String,
    label: String,
}

/// The set-up that is under way.
pub struct Session {
    id: String,
    /// None while a worker has it.
    wizard: Option<Wizard>,
    step: WizardStep,
    /// The step tells of the end.
    last: bool,
    used_ms: u64,
}

impl WizardStep {
    fn of(question: Question, id: String) -> WizardStep {
        let (kind, options) = match question.kind {
            Kind::Note => ("note", None),
            Kind::Text => ("text", None),
            Kind::Confirm => ("confirm", None),
            Kind::Select(all) => {
                let options = all.into_iter().map(|(value, label)| WizardOption { value, label });
                ("select", Some(options.collect()))
            }
        };
        WizardStep {
            kind,
            title: question.title,
            message: question.message,
            options,
            initial_value: Some(question.initial).filter(|it| !it.is_null() && !question.sensitive),
            sensitive: question.sensitive.then_some(true),
            executor: "client",
            id,
        }
    }
    fn end(text: String, id: String) -> WizardStep {
        WizardStep {
            kind: "note",
            title: "Ready".to_owned(),
            message: text,
            options: None,
            initial_value: None,
            sensitive: None,
            executor: "client",
            id,
        }
    }
}

fn running(step: &WizardStep, error: Option<String>) -> WizardNextReply {
    WizardNextReply { done: false, step: Some(step.clone()), status: "running", error }
}

fn over(status: &'static str, error: Option<String>) -> WizardNextReply {
    WizardNextReply { done: true, step: None, status, error }
}

fn find<'c>(core: &'c mut Core, id: &str, now: Now) -> RpcResult<&'c mut Session> {
    let session = core.wizard.as_deref_mut().filter(|it| it.id == id);
    let session = session.ok_or_else(|| RpcError::invalid("wizard not found"))?;
    session.used_ms = now.mono_ms;
    Ok(session)
}

enum WizardStart {}
impl Rpc for WizardStart {
    const NAME: &'static str = "wizard.start";
    const ACCESS: Access = Access::Admin;
    type Params = WizardStartParams;
    type Reply = WizardStartReply;
    fn call(core: &mut Core, call: Call, params: WizardStartParams) -> RpcResult<Answer<WizardStartReply>> {
        let fresh = |it: &Session| call.now.mono_ms.saturating_sub(it.used_ms) < WIZARD_IDLE_MS;
        if core.wizard.as_deref().is_some_and(fresh) {
            return Err(RpcError::unavailable_text("wizard already running"));
        }
        let world = &core.world;
        let facts = Facts {
            program: world.program.clone(),
            document: Value::clone(&world.config.resolved),
            port: world.port,
            workspace: world.paths.workspace().display().to_string(),
            keys_known: wizard::keys_known(&world.env),
            can_install: world.installer.is_some(),
            lingers: world.installer.is_some_and(|it| it.lingers),
        };
        let mut given = BTreeMap::new();
        given.extend(params.mode.map(|it| (Step::Mode, json!(it.as_str()))));
        given.extend(params.workspace.map(|it| (Step::Workspace, it.into())));
        let mut wizard = Wizard::new(facts, given, None);
        let (id, step_id) = (ids::uuid(&mut core.entropy), ids::uuid(&mut core.entropy));
        let Ok(Next::Ask(question)) = wizard.now_comes() else {
            return Err(RpcError::unavailable("the wizard has no first step"));
        };
        let step = WizardStep::of(*question, step_id);
        let at = running(&step, None);
        let session =
            Session { id: id.clone(), wizard: Some(wizard), step, last: false, used_ms: call.now.mono_ms };
        core.wizard = Some(Box::new(session));
        Ok(Answer::Now(WizardStartReply { session_id: id, at }))
    }
}

enum WizardNext {}
impl Rpc for WizardNext {
    const NAME: &'static str = "wizard.next";
    const ACCESS: Access = Access::Admin;
    type Params = WizardNextParams;
    type Reply = WizardNextReply;
    fn call(core: &mut Core, call: Call, params: WizardNextParams) -> RpcResult<Answer<WizardNextReply>> {
        let session = find(core, &params.session_id, call.now)?;
        let Some(answer) = params.answer else { return Ok(Answer::Now(running(&session.step, None))) };
        if session.wizard.is_none() || *answer.step_id != *session.step.id {
            return Err(RpcError::invalid("Error: wizard: no pending step"));
        }
        if session.last {
            core.wizard = None;
            return Ok(Answer::Now(over("done", None)));
        }
        let Some(mut wizard) = session.wizard.take() else {
            return Err(RpcError::invalid("wizard not running"));
        };
        let next = wizard.answer(&answer.value.unwrap_or_default()).and_then(|()| wizard.now_comes());
        match next {
            Ok(Next::Work(work)) => Ok(away(core, call, wizard, work)),
            next => arrive(core, &params.session_id, wizard, next, call.now).map(Answer::Now),
        }
    }
}

/// The wizard is back with what comes next.
fn arrive(
    core: &mut Core,
    id: &str,
    wizard: Wizard,
    next: Result<Next, String>,
    now: Now,
) -> RpcResult<WizardNextReply> {
    let step_id = ids::uuid(&mut core.entropy);
    // Cancelled while it was away.
    let Ok(session) = find(core, id, now) else { return Ok(over("cancelled", Some("cancelled".to_owned()))) };
    session.wizard = Some(wizard);
    let mut error = None;
    match next {
        Ok(Next::Ask(question)) => session.step = WizardStep::of(*question, step_id),
        Ok(Next::End(text)) => (session.step, session.last) = (WizardStep::end(text, step_id), true),
        // The answer is none: the step stays.
        Err(why) => error = Some(why),
        Ok(Next::Work(_)) => return Err(RpcError::invalid("wizard not running")),
    }
    Ok(running(&session.step, error))
}

/// Tries and writes on a thread of its own, until there is something to ask again.
fn away(core: &Core, call: Call, mut wizard: Wizard, work: Work) -> Answer<WizardNextReply> {
    let (world, now) = (core.world.clone(), call.now);
    let id = core.wizard.as_deref().map(|it| it.id.clone()).unwrap_or_default();
    Answer::Apart(Box::new(move || {
        let (mut work, mut wrote, mut failed) = (work, false, None);
        let next = loop {
            wrote |= work == Work::Write;
            if let Err(why) = wizard.worked(carry_out(&wizard, &work, &world, now)) {
                failed = Some(why);
                break Ok(Next::End(String::new()));
            }
            match wizard.now_comes() {
                Ok(Next::Work(more)) => work = more,
                next => break next,
            }
        };
        Box::new(move |core: &mut Core, now: Now| {
            if let Some(why) = failed {
                core.wizard = None;
                return Ok(over("error", Some(why)));
            }
            if wrote {
                reload::written(core, now);
            }
            arrive(core, &id, wizard, next, now)
        }) as Finish<WizardNextReply>
    }))
}

fn carry_out(wizard: &Wizard, work: &Work, world: &Arc<World>, now: Now) -> Result<String, String> {
    let (answers, document) = (&wizard.answers, &wizard.facts.document);
    match work {
        Work::TryModel => trial::model(answers, document, &world.env),
        Work::TryTelegram => trial::telegram(answers, document, &world.env),
        Work::Write => write::write(wizard, &world.paths, &world.env, "wizard.next", now.unix_ms),
        Work::Install { linger } => match world.installer {
            Some(it) => (it.install)(world, *linger),
            None => Err("this gateway cannot be made a service".to_owned()),
        },
    }
}

enum WizardCancel {}
impl Rpc for WizardCancel {
    const NAME: &'static str = "wizard.cancel";
    const ACCESS: Access = Access::Admin;
    type Params = WizardParams;
    type Reply = WizardStatusReply;
    fn call(core: &mut Core, call: Call, params: WizardParams) -> RpcResult<Answer<WizardStatusReply>> {
        find(core, &params.session_id, call.now)?;
        core.wizard = None;
        Ok(Answer::Now(WizardStatusReply { status: "cancelled", error: Some("cancelled") }))
    }
}

enum WizardStatus {}
impl Rpc for WizardStatus {
    const NAME: &'static str = "wizard.status";
    const ACCESS: Access = Access::Admin;
    type Params = WizardParams;
    type Reply = WizardStatusReply;
    fn call(core: &mut Core, call: Call, params: WizardParams) -> RpcResult<Answer<WizardStatusReply>> {
        find(core, &params.session_id, call.now)?;
        Ok(Answer::Now(WizardStatusReply { status: "running", error: None }))
    }
}
