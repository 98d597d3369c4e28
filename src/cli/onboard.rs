//! `onboard` and `configure`: the questions of [`wizard`], on a terminal or answered by flags.
use super::service_install::Install;
use super::setup;
use super::{Context, ask, fail, print, say};
use crate::base::clock::Clock;
use crate::base::{accounts, sys};
use crate::config::File;
use crate::gateway::wizard::{self, Facts, Kind, Next, Question, SECTIONS, Step, Wizard, Work, trial, write};
use crate::service::systemctl::{self, Scope};
use argh::FromArgs;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// set this machine up: a few questions, each of which is also a flag
#[derive(FromArgs, Default)]
#[argh(subcommand, name = "onboard", help_triggers("-h", "--help", "help"))]
pub struct Onboard {
    /// ask nothing: what no flag answers stays as it is; needs --accept-risk
    #[argh(switch)]
    non_interactive: bool,
    /// you know that an agent acts on this machine as you
    #[argh(switch)]
    accept_risk: bool,
    /// put the old configuration, sessions and workspace aside first
    #[argh(switch)]
    reset: bool,
    /// local or remote
    #[argh(option)]
    mode: Option<String>,
    /// the gateway's address, with --mode remote
    #[argh(option)]
    remote_url: Option<String>,
    /// its token
    #[argh(option)]
    remote_token: Option<String>,
    /// port
    #[argh(option)]
    gateway_port: Option<u16>,
    /// loopback, lan, tailnet, auto or custom
    #[argh(option)]
    gateway_bind: Option<String>,
    /// token that clients need (default: one is made)
    #[argh(option)]
    gateway_token: Option<String>,
    /// anthropic, openai, openrouter, google, groq, mistral, ollama, custom or skip
    #[argh(option)]
    provider: Option<String>,
    /// taken for scripts' sake: the provider's name in front of `-api-key`, `apiKey` or skip
    #[argh(option)]
    auth_choice: Option<String>,
    /// the provider's key (visible to others on this machine: prefer its variable)
    #[argh(option)]
    api_key: Option<String>,
    /// the same for Anthropic
    #[argh(option)]
    anthropic_api_key: Option<String>,
    /// the same for OpenAI
    #[argh(option)]
    openai_api_key: Option<String>,
    /// the same for OpenRouter
    #[argh(option)]
    openrouter_api_key: Option<String>,
    /// the same for Google
    #[argh(option)]
    gemini_api_key: Option<String>,
    /// address of the model server, with --provider ollama or custom
    #[argh(option)]
    base_url: Option<String>,
    /// the model
    #[argh(option)]
    model: Option<String>,
    /// folder that the agent works in
    #[argh(option)]
    workspace: Option<String>,
    /// token of your Telegram bot
    #[argh(option)]
    telegram_token: Option<String>,
    /// install the service
    #[argh(switch)]
    install_daemon: bool,
    /// do not install it
    #[argh(switch)]
    no_install_daemon: bool,
    /// the same
    #[argh(switch)]
    skip_daemon: bool,
    /// start your services at boot
    #[argh(switch)]
    linger: bool,
    /// no channels
    #[argh(switch)]
    skip_channels: bool,
    /// try neither the model nor the bot
    #[argh(switch)]
    skip_health: bool,
    /// taken for scripts' sake: there is one way
    #[argh(option)]
    #[expect(dead_code, reason = "says what is always so")]
    flow: Option<String>,
    /// taken for scripts' sake: skills are looked for anyway
    #[argh(switch)]
    #[expect(dead_code, reason = "says what is always so")]
    skip_skills: bool,
    /// taken for scripts' sake: no browser is started
    #[argh(switch)]
    #[expect(dead_code, reason = "says what is always so")]
    skip_ui: bool,
    /// taken for scripts' sake: there is one runtime
    #[argh(option)]
    #[expect(dead_code, reason = "says what is always so")]
    daemon_runtime: Option<String>,
    /// print JSON
    #[argh(switch)]
    json: bool,
}

/// ask a part of `onboard` again: gateway, model, workspace, channels or daemon
#[derive(FromArgs)]
#[argh(subcommand, name = "configure", help_triggers("-h", "--help", "help"))]
pub struct Configure {
    /// the part; several are asked one after the other
    #[argh(option)]
    section: Vec<String>,
}

/// Nobody is there to answer.
const NOBODY: &str = "no terminal to ask at";

impl Onboard {
    pub fn run(&self, context: &Context) -> ExitCode {
        let asks = !self.non_interactive && ask::interactive();
        if !asks && !self.accept_risk {
            let why = if self.non_interactive { "--non-interactive" } else { NOBODY };
            return fail(
                &format!(
                    "{why}: add --non-interactive --accept-risk, if you know that an agent acts on this machine as you, and answer by flags (`{} onboard --help`)",
                    context.name
                ),
                1,
            );
        }
        if self.reset {
            match setup::put_aside(&context.paths, Clock::start().now().unix_ms) {
                Ok(Some(aside)) => drop(fail(
                    &format!("The old configuration, sessions and workspace are in {}", aside.display()),
                    0,
                )),
                Ok(None) => {}
                Err(err) => return fail(&err, 1),
            }
        }
        let given = match self.given() {
            Ok(it) => it,
            Err(err) => return fail(&err, 2),
        };
        let mut wizard = match facts(context) {
            Ok(it) => Wizard::new(it, given, None),
            Err(err) => return fail(&err, super::EXIT_CONFIG),
        };
        wizard.tries = !self.skip_health;
        match drive(&mut wizard, context, asks) {
            Ok(text) if self.json => say(&format!(
                "{:#}",
                json!({ "ok": true, "config": context.paths.config, "mode": if wizard.answers.remote { "remote" } else { "local" }, "said": text.lines().collect::<Vec<_>>() })
            )),
            Ok(text) => say(&text),
            Err(err) => fail(&err, 1),
        }
    }

    /// The answers that need no question.
    fn given(&self) -> Result<BTreeMap<Step, Value>, String> {
        let (provider, key) = self.provider()?;
        let texts = [
            (Step::Mode, self.mode.as_deref()),
            (Step::RemoteUrl, self.remote_url.as_deref()),
            (Step::RemoteToken, self.remote_token.as_deref()),
            (Step::Bind, self.gateway_bind.as_deref()),
            (Step::Token, self.gateway_token.as_deref()),
            (Step::Provider, provider),
            (Step::BaseUrl, self.base_url.as_deref()),
            (Step::Key, key),
            (Step::Model, self.model.as_deref()),
            (Step::Workspace, self.workspace.as_deref()),
            (Step::Telegram, self.telegram_token.as_deref().or(self.skip_channels.then_some(""))),
        ];
        let mut given: BTreeMap<Step, Value> =
            texts.iter().filter_map(|(step, text)| Some((*step, json!((*text)?)))).collect();
        given.extend(self.gateway_port.map(|it| (Step::Port, it.into())));
        let service = match (self.install_daemon, self.no_install_daemon || self.skip_daemon) {
            (true, true) => return Err("--install-daemon and --skip-daemon: give one of the two".to_owned()),
            (true, false) => Some(true),
            (false, true) => Some(false),
            (false, false) => None,
        };
        given.extend(service.or(self.non_interactive.then_some(false)).map(|it| (Step::Service, it.into())));
        given.extend(self.linger.then_some((Step::Linger, true.into())));
        given.extend(self.accept_risk.then_some((Step::Risk, true.into())));
        if self.non_interactive {
            given.entry(Step::Linger).or_insert(false.into());
            given.entry(Step::Provider).or_insert("skip".into());
        }
        Ok(given)
    }

    /// The provider and its key, whichever flags name them.
    fn provider(&self) -> Result<(Option<&str>, Option<&str>), String> {
        let own = [
            ("anthropic", &self.anthropic_api_key),
            ("openai", &self.openai_api_key),
            ("openrouter", &self.openrouter_api_key),
            ("google", &self.gemini_api_key),
        ];
        let by_choice = match self.auth_choice.as_deref() {
            None => None,
            Some("apiKey") => Some("anthropic"),
            Some("gemini-api-key") => Some("google"),
            Some(word) => Some(word.strip_suffix("-api-key").unwrap_or(word)),
        };
        let named = self.provider.as_deref().or(by_choice);
        let mut keys = own.iter().filter_map(|(name, key)| Some((*name, key.as_deref()?)));
        let first = keys.next();
        if keys.next().is_some() {
            return Err("keys of two providers: give one, and add the other to its variable".to_owned());
        }
        match (named, first) {
            (Some(named), Some((of, _))) if named != of => {
                Err(format!("--provider {named} and a key of {of}: give one of the two"))
            }
            (named, first) => {
                Ok((named.or(first.map(|it| it.0)), self.api_key.as_deref().or(first.map(|it| it.1))))
            }
        }
    }
}

impl Configure {
    pub fn run(&self, context: &Context) -> ExitCode {
        if !ask::interactive() {
            return fail(
                &format!(
                    "{NOBODY}: `{0} config set` changes a value, `{0} onboard --non-interactive` many",
                    context.program()
                ),
                1,
            );
        }
        let mut names = self.section.clone();
        if names.is_empty() {
            let options: Vec<(String, String)> =
                SECTIONS.iter().map(|it| (it.0.to_owned(), it.0.to_owned())).collect();
            match ask::choice("What is to be set up anew?", &options, 0) {
                Ok(at) => names.push(options[at].0.clone()),
                Err(ask::Gone) => return fail("\nNothing was changed.", 1),
            }
        }
        for name in &names {
            let Some((_, steps)) = SECTIONS.iter().find(|it| it.0 == name) else {
                let all: Vec<&str> = SECTIONS.iter().map(|it| it.0).collect();
                return fail(&format!("--section {name}: use one of {}", all.join(", ")), 2);
            };
            let done = facts(context)
                .and_then(|it| drive(&mut Wizard::new(it, BTreeMap::new(), Some(steps)), context, true));
            match done {
                Ok(text) => drop(print(&text)),
                Err(err) => return fail(&err, 1),
            }
        }
        ExitCode::SUCCESS
    }
}

fn facts(context: &Context) -> Result<Facts, String> {
    let file = File::load(&context.paths, &context.env);
    if let Some(it) = file.issues.iter().find(|it| it.path.is_empty()) {
        let path = context.paths.config.display();
        return Err(format!("{path}: {it}\nMend the file, or move it away, and try again."));
    }
    Ok(Facts {
        program: context.program(),
        document: Value::clone(&file.resolved),
        port: context.paths.port(None, &context.env, None),
        workspace: context.paths.workspace().display().to_string(),
        keys_known: wizard::keys_known(&context.env),
        can_install: Scope::user(context.env.get("XDG_RUNTIME_DIR")).check().is_ok(),
        lingers: systemctl::lingers(&accounts::name_of(sys::uid())),
    })
}

/// From the first question to the end; what is to be said then.
fn drive(wizard: &mut Wizard, context: &Context, asks: bool) -> Result<String, String> {
    loop {
        match wizard.now_comes()? {
            Next::End(text) => return Ok(text),
            Next::Ask(question) if !asks => unasked(wizard, &question)?,
            Next::Ask(question) => {
                let answer = put(&question).map_err(|ask::Gone| "\nNothing was changed.".to_owned())?;
                if let Err(why) = wizard.answer(&answer) {
                    print(&why);
                    if question.step == Step::Risk {
                        return Err("Nothing was changed.".to_owned());
                    }
                }
            }
            Next::Work(work) => {
                let mut outcome = carry_out(wizard, &work, context);
                if let (Ok(text), true) = (&mut outcome, asks && work != Work::Write) {
                    // Said now, so not at the end.
                    print(&std::mem::take(text));
                }
                // Without anybody to ask, what does not work is not kept.
                let trial = matches!(work, Work::TryModel | Work::TryTelegram);
                match outcome {
                    Err(why) if trial && !asks => {
                        return Err(format!("{why}\nNothing was changed; --skip-health skips the trial."));
                    }
                    outcome => wizard.worked(outcome)?,
                }
            }
        }
    }
}

/// A question that nobody is there for has the answer that it proposes.
fn unasked(wizard: &mut Wizard, question: &Question) -> Result<(), String> {
    let flag = match question.step {
        Step::RemoteUrl => "--remote-url",
        Step::Key => "--api-key",
        Step::Model => "--model",
        _ => "its flag",
    };
    wizard
        .answer(&question.initial)
        .map_err(|why| format!("{}: {why}; answer it with {flag}", question.message))
}

fn put(question: &Question) -> Result<Value, ask::Gone> {
    let initial = match &question.initial {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    Ok(match &question.kind {
        Kind::Note => {
            print(&format!("{}\n{}", question.title, question.message));
            Value::Null
        }
        Kind::Confirm => ask::confirm(&question.message, question.initial == true)?.into(),
        Kind::Text if question.sensitive => ask::secret(&question.message)?.into(),
        Kind::Text => ask::text(&question.message, &initial)?.into(),
        Kind::Select(options) => {
            let default = options.iter().position(|it| it.0 == initial).unwrap_or(0);
            options[ask::choice(&question.message, options, default)?].0.as_str().into()
        }
    })
}

fn carry_out(wizard: &Wizard, work: &Work, context: &Context) -> Result<String, String> {
    let (answers, document) = (&wizard.answers, &wizard.facts.document);
    match work {
        Work::TryModel => trial::model(answers, document, &context.env),
        Work::TryTelegram => trial::telegram(answers, document, &context.env),
        Work::Write => {
            let unix_ms = Clock::start().now().unix_ms;
            write::write(wizard, &context.paths, &context.env, "cli onboard", unix_ms)
        }
        Work::Install { linger } => Install::plain(*linger).make(context),
    }
}
