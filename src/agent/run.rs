//! One run: a question, the model's answer, what it asks of the tools, until there is nothing more to ask.
//!
//! ```text
//! begin (store) ─► context ─► model ─► answer ─┬─ calls tools ─► results ─┐
//!                               ▲              └─ else: steered? ─────────┤
//!                               └────────────────────────────────────────-┘   ─► End
//! ```
//!
//! * Runs on a thread of its own and may block anywhere; cancelling ends every wait.
//! * What was said is durable before its end is told.
//! * Nothing here knows who listens.
mod opening;

use super::asking::{Asking, Told};
use super::compact::{self, Why};
use super::conversation::{self, Image, Origin};
use super::error::{ErrorKind, TurnError};
use super::fetch::Fetcher;
use super::media::Got;
use super::model::{
    Answer, Done, Message, ModelRef, Part, Role, Stop, Thinking, ToolCall, ToolChoice, ToolSpec, Usage,
};
use super::prompt::System;
use super::retry::{Attempts, Step};
pub use super::task::{Around, Begin, Begun, Brought, End, Event, Failure, Prompt, Steer, Task, Tools};
use super::tools::message::SaidHere;
use super::tools::{Outcome, Toolbox};
use crate::base::cancel::Cancel;
use crate::base::limits::{RUN_LIVES_MAX, RUN_TURNS_MAX};
use crate::store::agent_sessions::{Behind, Trouble};
use crate::store::transcript::{self, Context, Entry, Header};
use crossbeam_channel::Receiver;
use serde_json::{Value, json};
use std::time::Duration;

/// Does it; blocks until it has ended.
pub fn run(mut task: Task, around: &Around, cancel: &Cancel, emit: &mut dyn FnMut(Event)) -> End {
    let begin = std::mem::replace(&mut task.begin, Box::new(|_| Err(Trouble::Refused("begun twice".into()))));
    let mut end = End::new(Ok(()));
    // Before anybody hears of it, so that what cannot be fetched is refused and leaves no trace.
    let files = match fetch(&mut task, cancel) {
        Ok(it) => it,
        Err(failure) => return End { outcome: Err(failure), ..end },
    };
    let begun = match around.store.ask(begin) {
        Ok(Ok(it)) => it,
        Ok(Err(Trouble::Refused(text))) => return End { outcome: Err(Failure::Unfit(text)), ..end },
        Ok(Err(err)) => return End { outcome: Err(Failure::Failed(err.to_string())), ..end },
        Err(err) => return End { outcome: Err(Failure::Failed(err.to_string())), ..end },
    };
    end.session_id = Some(begun.session_id.clone());
    let word = |name: &str| begun.entry.get(name).and_then(Value::as_str).map(str::to_owned);
    emit(Event::Begun { session_id: begun.session_id.clone(), verbose: word("verboseLevel") });
    let outcome = match Run::new(&task, around, cancel, emit, &begun, &files) {
        Ok(mut it) => {
            let outcome = if task.only_compact.is_some() { it.fold() } else { it.converse() };
            it.note(&outcome);
            (end.texts, end.usage, end.report) = (it.texts, it.usage, it.system.report);
            (end.spent, end.is_cut, end.pending) = (it.spent, it.is_cut, it.pending);
            end.said_here = it.said_here;
            (end.model, end.compacted) = (Some(it.origin.model), it.compacted);
            outcome
        }
        Err(failure) => Err(failure),
    };
    End { outcome, ..end }
}

/// What the message shows by a URL: pictures join its own, and the texts come back.
fn fetch(task: &mut Task, cancel: &Cancel) -> Result<String, Failure> {
    let mut texts = String::new();
    task.images.extend(task.brought.images.iter().cloned());
    for it in &task.brought.fetch {
        match it.fetch(&Fetcher::default(), cancel) {
            Ok(Got::Picture(it)) => task.images.push(it),
            Ok(Got::Text(it)) => texts.push_str(&format!("\n\n{it}")),
            Err(_) if cancel.is_cancelled() => return Err(Failure::Cancelled),
            Err(text) => return Err(Failure::Unfit(text)),
        }
    }
    Ok(texts)
}

/// A run under way.
pub(super) struct Run<'a> {
    asking: Asking<'a>,
    emit: &'a mut dyn FnMut(Event),
    begun: &'a Begun,
    toolbox: Toolbox,
    specs: Vec<ToolSpec>,
    way: Attempts,
    /// Whoever answered last, or answers first.
    origin: Origin,
    system: System,
    pub(super) messages: Vec<Message>,
    /// Entries that wait to be stored with the next ones.
    unsaid: Vec<Entry>,
    behind: Option<String>,
    /// Tokens that the last answer's model was told and said, by its own count.
    told_before: u64,
    /// Why no model can be asked.
    trouble: Option<TurnError>,
    texts: Vec<String>,
    said_here: SaidHere,
    usage: Usage,
    spent: Usage,
    is_cut: bool,
    pending: Vec<ToolCall>,
    pub(super) compacted: Option<(u64, u64)>,
}

impl<'a> Run<'a> {
    fn new(
        task: &'a Task,
        around: &'a Around,
        cancel: &'a Cancel,
        emit: &'a mut dyn FnMut(Event),
        begun: &'a Begun,
        files: &str,
    ) -> Result<Run<'a>, Failure> {
        // What is wrong with a name says itself what to do.
        let now = around.clock.now();
        let word = |name: &str| begun.entry.get(name).and_then(Value::as_str);
        let wanted = word("modelOverride").map(|model| match word("providerOverride") {
            Some(provider) => format!("{provider}/{model}"),
            None => model.to_owned(),
        });
        let any_key = around.models.with_keys(&task.agent_id, now.unix_ms, |keys| keys.any());
        let (models, trouble) = match around.models.catalog.choose(&task.agent_id, wanted.as_deref(), any_key)
        {
            Ok(models) => (models, None),
            // The person's words and why they had no answer are kept all the same.
            Err(err) => (vec![named(wanted.as_deref().unwrap_or_default())], Some(err)),
        };
        let way = Attempts::new(models).ok_or_else(|| {
            Failure::Failed("no model is configured: set agents.defaults.model.primary".into())
        })?;
        let model = way.model().clone();
        let thinking = task
            .thinking
            .or_else(|| Thinking::of_word(word("thinkingLevel")?))
            .or(task.thinking_default)
            .unwrap_or(if around.models.catalog.thinks(&model) { Thinking::Low } else { Thinking::Off });
        let told = |path: &std::path::Path| match &task.brought.after {
            Some(run_id) => transcript::context_after(path, run_id),
            None => transcript::context(path),
        };
        let context = match &begun.transcript {
            Some(path) => {
                told(path).map_err(|err| Failure::Failed(format!("cannot read {}: {err}", path.display())))?
            }
            None => Context::default(),
        };
        let toolbox = (task.tools)(&model);
        let specs = specs(&toolbox, &task.brought);
        let mut system = (task.prompt)(begun, &model, thinking, &specs);
        system.text.push_str(files);
        let origin = Run::origin(around, &model);
        let deadline_ms = now.mono_ms + task.timeout_ms;
        let mut run = Run {
            asking: Asking { task, around, cancel, deadline_ms, thinking },
            emit,
            begun,
            toolbox,
            specs,
            way,
            origin,
            system,
            messages: vec![],
            unsaid: vec![],
            behind: None,
            told_before: 0,
            trouble,
            texts: vec![],
            said_here: SaidHere::default(),
            usage: Usage::default(),
            spent: Usage::default(),
            is_cut: false,
            pending: vec![],
            compacted: None,
        };
        run.open(&context, now.unix_ms);
        Ok(run)
    }
    fn origin(around: &Around, model: &ModelRef) -> Origin {
        let api = around.models.catalog.api_word(model);
        Origin { model: model.clone(), api, price: around.models.catalog.price(model) }
    }
    /// A person's words, to the model and to the transcript.
    fn say(&mut self, text: &str, images: &[Image], unix_ms: i64) {
        self.speak(conversation::said(text, images, unix_ms));
        let question = conversation::question(text, images);
        match self.messages.last_mut() {
            Some(last) if last.role == Role::User => last.parts.extend(question.parts),
            _ => self.messages.push(question),
        }
    }
    /// A message of this run, to be stored.
    fn speak(&mut self, message: Value) {
        self.said_here.hear(&message, self.texts.len());
        self.unsaid.push(Entry::Message { message });
    }
    /// The answer that an earlier life of this run has stored as its last word.
    fn answered(&self) -> Option<String> {
        let last = self.messages.last().filter(|it| it.role == Role::Assistant)?;
        let text = |it: &Part| if let Part::Text(text) = it { Some(text.clone()) } else { None };
        Some(last.parts.iter().filter_map(text).collect())
    }

    fn converse(&mut self) -> Result<(), Failure> {
        if let Some(text) = self.answered() {
            self.texts.push(text);
            return Ok(());
        }
        let mut saving = Some(self.save());
        let lives = self.asking.task.lives;
        if lives > RUN_LIVES_MAX {
            let text = format!("the process ended {lives} times during this run, which is now given up");
            self.trouble = Some(TurnError::new(ErrorKind::Internal, text));
        }
        if let Some(err) = self.trouble.take() {
            let failure = Failure::of(&err, &self.origin.model.provider);
            self.keep(&Answer::default(), &Err(err))?;
            return Err(failure);
        }
        if self.is_full() && self.can_fold() {
            // A summary that cannot be made is no reason not to try: the model has the last word.
            let _ = self.fold_before_answer(Why::Full);
        }
        for _ in 0..RUN_TURNS_MAX {
            let answered = self.ask();
            if let Some(saving) = saving.take() {
                saved(&saving)?;
            }
            let (answer, ended) = answered;
            self.keep(&answer, &ended)?;
            let done = ended.map_err(|err| Failure::of(&err, &self.origin.model.provider))?;
            (self.usage, self.is_cut) = (done.usage, done.stop == Stop::Length);
            self.spent.add(&done.usage);
            let theirs =
                |it: &ToolCall| self.asking.task.brought.tools.iter().any(|tool| tool.name == it.name);
            let (pending, calls): (Vec<_>, Vec<_>) = answer.tool_calls().cloned().partition(theirs);
            self.messages.push(answer.into_message());
            self.use_tools(&calls)?;
            if !pending.is_empty() {
                self.pending = pending;
                return Ok(());
            }
            let steered = self.steer();
            if calls.is_empty() && !steered {
                return Ok(());
            }
            if self.asking.cancel.is_cancelled() {
                return Err(Failure::Cancelled);
            }
        }
        Err(Failure::Failed(format!(
            "The model asked for tools {RUN_TURNS_MAX} times without coming to an end: ask for less at a time"
        )))
    }
    /// Whether something was said meanwhile.
    fn steer(&mut self) -> bool {
        let words: Vec<Steer> = self.asking.task.steering.try_iter().collect();
        let now = self.asking.around.clock.now();
        for it in &words {
            self.unsaid.push(opening::mark(&it.run_id, it.accepted_at));
            self.say(&it.text, &it.images, now.unix_ms);
            (self.emit)(Event::Steered(it.run_id.clone()));
        }
        !words.is_empty()
    }

    /// Asks one model after the other until one answers, or nothing helps. What was said until then comes back in any case.
    fn ask(&mut self) -> (Answer, Result<Done, TurnError>) {
        let asking = self.asking;
        let mut folded = false;
        loop {
            let mut answer = Answer::default();
            let model = self.way.model().clone();
            let told = Told {
                system: &self.system.text,
                messages: &self.messages,
                tools: &self.specs,
                brought: &asking.task.brought,
            };
            let (key, result) = asking.call(&model, self.way.is_last(), told, &mut answer, &mut *self.emit);
            let given = !answer.parts().is_empty();
            let err = match result {
                Ok(done) => {
                    self.origin = Run::origin(asking.around, &model);
                    return (answer, Ok(done));
                }
                Err(err) => err,
            };
            if err.kind == ErrorKind::ContextOverflow && !folded && !given && self.can_fold() {
                folded = true;
                if self.fold_before_answer(Why::TooLong).is_ok() {
                    continue;
                }
            }
            let (now, way) = (asking.around.clock.now().unix_ms, &mut self.way);
            let step = asking.around.models.with_keys(&asking.task.agent_id, now, |keys| {
                way.next(&err, given, key.as_deref(), keys, now)
            });
            log::warn!(target: "agent", "{model}: {}", err.explain(&model.provider));
            match step {
                Step::Retry { after_ms } => {
                    // It ends early when the run is cancelled, and the next call notices.
                    let _ = asking.cancel.done().recv_timeout(Duration::from_millis(after_ms));
                }
                Step::Fallback(next) => log::info!(target: "agent", "falling back to {next}"),
                Step::GiveUp => {
                    self.origin = Run::origin(asking.around, &model);
                    return (answer, Err(err));
                }
            }
        }
    }
    /// Stores an answer, durably. One that was cut without a word is not kept.
    fn keep(&mut self, answer: &Answer, ended: &Result<Done, TurnError>) -> Result<(), Failure> {
        let text = answer.text().trim().to_owned();
        let silent_cut = matches!(ended, Err(err) if err.kind == ErrorKind::Cancelled) && text.is_empty();
        if !silent_cut {
            let now = self.asking.around.clock.now();
            // Calls that will never be made are not remembered as made.
            let parts: Vec<Part> = match ended {
                Ok(_) => answer.parts().to_vec(),
                Err(_) => answer.parts().iter().filter(|it| matches!(it, Part::Text(_))).cloned().collect(),
            };
            let message = conversation::answer(&parts, &self.origin, ended.as_ref().copied(), now.unix_ms);
            self.speak(message);
        }
        saved(&self.save())?;
        if !text.is_empty() {
            self.texts.push(text);
        }
        (self.emit)(Event::MessageEnd);
        Ok(())
    }
    fn use_tools(&mut self, calls: &[ToolCall]) -> Result<(), Failure> {
        let Asking { task, around, cancel, .. } = self.asking;
        for call in calls {
            let args = call.arguments().unwrap_or_else(|_| json!({}));
            let (id, name) = (call.id.clone(), call.name.clone());
            (self.emit)(Event::ToolStart { id: id.clone(), name: name.clone(), args });
            let emit = &mut *self.emit;
            let outcome = match cancel.is_cancelled() {
                true => Outcome::error(&name, "the run was stopped before this call"),
                false => self.toolbox.call(call, &task.place, cancel, &mut |partial| {
                    emit(Event::ToolUpdate { id: id.clone(), name: name.clone(), partial });
                }),
            };
            let now = around.clock.now();
            let image = outcome.image.as_ref();
            let image = image.map(|it| Image { mime_type: it.mime.to_owned(), data: it.data.clone() });
            let (text, is_error) = (outcome.text.clone(), outcome.is_error);
            let message = conversation::tool_result(
                call,
                &text,
                image.as_ref(),
                &outcome.details,
                is_error,
                now.unix_ms,
            );
            self.speak(message);
            let meta = self.toolbox.meta(call);
            (self.emit)(Event::ToolEnd {
                id: id.clone(),
                name: name.clone(),
                meta,
                is_error,
                result: outcome.event(),
            });
            let mut parts = vec![Part::ToolResult { id, name, text, is_error }];
            parts.extend(image.map(|it| Part::Image { mime: it.mime_type, data: it.data }));
            match self.messages.last_mut() {
                Some(last) if last.role == Role::User => last.parts.extend(parts),
                _ => self.messages.push(Message { role: Role::User, parts }),
            }
        }
        if !calls.is_empty() {
            saved(&self.save())?;
        }
        Ok(())
    }

    // The context and its size.

    pub(super) fn window(&self) -> u64 {
        let catalog = &self.asking.around.models.catalog;
        catalog.window(&self.origin.model, self.asking.task.context_tokens)
    }
    pub(super) fn rule(&self) -> compact::Rule {
        self.asking.task.compaction
    }
    /// What is stored of the conversation.
    pub(super) fn context(&self) -> Result<Context, Failure> {
        let task = self.asking.task;
        let (store, agent_id, key) = (task.store.clone(), task.agent_id.clone(), task.session_key.clone());
        let id = self.begun.session_id.clone();
        let asked =
            self.asking.around.store.ask(move |it| it.sessions(&store, &agent_id)?.context(&key, &id));
        asked
            .map_err(|err| err.to_string())
            .and_then(|it| it.map_err(|err| err.to_string()))
            .map_err(Failure::Failed)
    }
    /// Stores an entry, durably.
    pub(super) fn store_now(&mut self, entry: Entry) -> Result<(), Failure> {
        self.unsaid.push(entry);
        saved(&self.save())
    }
    fn is_full(&self) -> bool {
        let reckoned = conversation::tokens(&self.messages) + self.system.text.len() as u64 / 4;
        self.asking.task.compaction.is_full(reckoned.max(self.told_before), self.window())
    }
    /// What a client tells of the conversation is its own to shorten.
    fn can_fold(&self) -> bool {
        self.asking.task.brought.history.is_empty()
    }
    /// Folds what was said before the newest question.
    fn fold_before_answer(&mut self, why: Why<'_>) -> Result<(), Failure> {
        (self.emit)(Event::Compacting);
        let done = compact::fold(self, why);
        self.told_before = 0;
        (self.emit)(Event::Compacted { will_retry: done.is_ok() });
        done.inspect_err(|it| log::warn!(target: "agent", "the conversation could not be folded: {it:?}"))
    }
    /// `/compact`.
    fn fold(&mut self) -> Result<(), Failure> {
        if let Some(err) = self.trouble.take() {
            return Err(Failure::of(&err, &self.origin.model.provider));
        }
        (self.emit)(Event::Compacting);
        let wish = self.asking.task.only_compact.as_deref().unwrap_or_default();
        let done = compact::fold(self, Why::Asked(wish));
        (self.emit)(Event::Compacted { will_retry: false });
        done
    }
    /// Asks the model for a text, beside the conversation.
    pub(super) fn aside(&mut self, system: &str, question: &str) -> Result<String, Failure> {
        let messages = [conversation::question(question, &[])];
        let (model, mut answer) = (self.way.model().clone(), Answer::default());
        let told = Told { system, messages: &messages, tools: &[], brought: &Brought::default() };
        let result = self.asking.call(&model, true, told, &mut answer, &mut |_| {}).1;
        let text = answer.text().trim().to_owned();
        match result {
            Ok(_) if text.is_empty() => Err(Failure::Failed("the model gave no summary".into())),
            Ok(_) => Ok(text),
            Err(err) => Err(Failure::of(&err, &model.provider)),
        }
    }

    // The store.

    /// Gives everything unsaid to the store; what comes of it is heard later.
    fn save(&mut self) -> Receiver<Result<(), Trouble>> {
        let entries = std::mem::take(&mut self.unsaid);
        let behind = self.behind.take();
        let task = self.asking.task;
        let (store, agent_id, key) = (task.store.clone(), task.agent_id.clone(), task.session_key.clone());
        let cwd = task.place.workspace.display().to_string();
        let (session_id, synced) = (self.begun.session_id.clone(), !task.brought.passing);
        self.asking.around.store.begin(move |stores| {
            if entries.is_empty() {
                return Ok(());
            }
            let (sessions, now, entropy) = stores.open(&store, &agent_id)?;
            let behind = match behind.as_deref() {
                None => Behind::Leaf,
                Some("") => Behind::Entry(None),
                Some(id) => Behind::Entry(Some(id)),
            };
            let header = Header { session_id: &session_id, session_key: &key, cwd: &cwd, synced };
            sessions.append_in(header, behind, &entries, now, entropy).map(drop)
        })
    }
    /// What the session's entry says of its last run.
    fn note(&self, outcome: &Result<(), Failure>) {
        let task = self.asking.task;
        let (store, agent_id, key) = (task.store.clone(), task.agent_id.clone(), task.session_key.clone());
        let only_folded = task.only_compact.is_some();
        let usage = outcome.is_ok().then_some(self.usage).filter(|_| !only_folded);
        let folded = self.compacted;
        // What was said until then is kept, and the next message says that it was not all.
        let cut = matches!(outcome, Err(Failure::Cancelled)) && !self.texts.is_empty();
        let session_id = self.begun.session_id.clone();
        let (model, window, report) = (self.origin.model.clone(), self.window(), self.system.report.clone());
        self.asking.around.store.give(Box::new(move |stores| {
            let Ok((sessions, now, _)) = stores.open(&store, &agent_id) else { return };
            sessions.note(
                &key,
                |entry| {
                    if entry.get("sessionId").and_then(Value::as_str) != Some(&session_id) {
                        // A new conversation has begun under this key.
                        return;
                    }
                    let mut set = |name: &str, value: Value| drop(entry.insert(name.to_owned(), value));
                    set("updatedAt", now.unix_ms.into());
                    set("systemSent", true.into());
                    set("abortedLastRun", cut.into());
                    set("modelProvider", model.provider.into());
                    set("model", model.model.into());
                    set("contextTokens", window.into());
                    if report.is_object() {
                        set("systemPromptReport", report);
                    }
                    if let Some(it) = usage {
                        set("inputTokens", it.input.into());
                        set("outputTokens", it.output.into());
                        set("totalTokens", (it.input + it.cache_read + it.cache_write).into());
                    }
                    if let Some((_, after)) = folded.filter(|_| only_folded) {
                        set("totalTokens", after.into());
                        entry.shift_remove("inputTokens");
                        entry.shift_remove("outputTokens");
                    }
                    let count = entry.get("compactionCount").and_then(Value::as_u64).unwrap_or(0);
                    entry.insert("compactionCount".into(), (count + u64::from(folded.is_some())).into());
                },
                now,
            );
        }));
    }
}

/// What a model is offered. Where it must call a tool of the client's, nothing else.
fn specs(toolbox: &Toolbox, brought: &Brought) -> Vec<ToolSpec> {
    let theirs = &brought.tools;
    if matches!(brought.tool_choice, ToolChoice::Required | ToolChoice::Tool(_)) {
        return theirs.clone();
    }
    let hidden = |it: &ToolSpec| theirs.iter().any(|tool| tool.name == it.name);
    toolbox.specs().into_iter().filter(|it| !hidden(it)).chain(theirs.iter().cloned()).collect()
}

fn saved(saving: &Receiver<Result<(), Trouble>>) -> Result<(), Failure> {
    match saving.recv() {
        Ok(Ok(())) => Ok(()),
        Ok(Err(err)) => Err(Failure::Failed(err.to_string())),
        Err(_) => Err(Failure::Failed(crate::store::writer::NoAnswer.to_string())),
    }
}

/// A name that means no model, as far as it goes.
fn named(name: &str) -> ModelRef {
    let (provider, model) = name.split_once('/').unwrap_or(("", name));
    ModelRef { provider: provider.to_owned(), model: model.to_owned() }
}
