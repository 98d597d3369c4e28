//! What follows a failed call: the same model again, the next one, or the error to the person. Pure.
use super::error::{ErrorKind, TurnError, Wait};
use super::keys::{Keys, Pick};
use super::model::ModelRef;
use crate::base::limits::{MODEL_RETRIES_MAX, MODEL_RETRY_MS, MODEL_RETRY_WAIT_MS_MAX};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The same model, perhaps with another key.
    Retry {
        after_ms: u64,
    },
    Fallback(ModelRef),
    GiveUp,
}

/// The way of one turn through its models.
#[derive(Debug)]
pub struct Attempts {
    /// Still to come, the next one last.
    later: Vec<ModelRef>,
    model: ModelRef,
    retries: u32,
}

impl Attempts {
    /// None without a model.
    pub fn new(models: Vec<ModelRef>) -> Option<Attempts> {
        let mut later = models;
        later.reverse();
        Some(Attempts { model: later.pop()?, later, retries: 0 })
    }
    pub fn model(&self) -> &ModelRef {
        &self.model
    }
    /// Whether no other model is left to try.
    pub fn is_last(&self) -> bool {
        self.later.is_empty()
    }
    /// `given`: part of the answer has been shown, and a second one behind it would be nonsense. `key` is the one that was used.
    pub fn next(
        &mut self,
        error: &TurnError,
        given: bool,
        key: Option<&str>,
        keys: &mut Keys,
        now_ms: i64,
    ) -> Step {
        if let Some(key) = key {
            keys.failed(&self.model.provider, key, error.kind, now_ms);
        }
        let can_wait = self.retries < MODEL_RETRIES_MAX;
        match error.kind {
            _ if given => Step::GiveUp,
            ErrorKind::Cancelled
            | ErrorKind::ContextOverflow
            | ErrorKind::BadRequest
            | ErrorKind::Internal => Step::GiveUp,
            ErrorKind::Timeout(Wait::Total) => Step::GiveUp,
            ErrorKind::Auth | ErrorKind::Billing | ErrorKind::RateLimit { .. }
                if key.is_some() && matches!(keys.pick(&self.model.provider, now_ms), Pick::Use(_)) =>
            {
                Step::Retry { after_ms: 0 }
            }
            ErrorKind::Overloaded | ErrorKind::Network if can_wait => {
                self.retry(MODEL_RETRY_MS << (2 * self.retries))
            }
            // Another server answers sooner than this one again.
            ErrorKind::Timeout(_) if self.later.is_empty() && self.retries == 0 => self.retry(0),
            ErrorKind::RateLimit { retry_after_ms: Some(ms) }
                if self.later.is_empty() && can_wait && ms <= MODEL_RETRY_WAIT_MS_MAX =>
            {
                if let Some(key) = key {
                    keys.worked(&self.model.provider, key);
                }
                self.retry(ms)
            }
            _ => self.fallback(keys, now_ms),
        }
    }
    fn retry(&mut self, after_ms: u64) -> Step {
        self.retries += 1;
        Step::Retry { after_ms }
    }
    /// The next model whose keys do not all rest; the last one in any case: better asked than refused unasked.
    fn fallback(&mut self, keys: &Keys, now_ms: i64) -> Step {
        while let Some(model) = self.later.pop() {
            if self.later.is_empty() || !matches!(keys.pick(&model.provider, now_ms), Pick::Rest { .. }) {
                (self.model, self.retries) = (model.clone(), 0);
                return Step::Fallback(model);
            }
        }
        Step::GiveUp
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::catalog::Catalog;
    use crate::config::Env;
    use serde_json::{Value, json};
    fn model(name: &str) -> ModelRef {
        let (provider, model) = name.split_once('/').unwrap();
        ModelRef { provider: provider.to_owned(), model: model.to_owned() }
    }
    fn keys() -> Keys {
        let env = Env::from([
            ("OPENAI_API_KEY", "key-oooo"),
            ("GEMINI_API_KEY", "key-1111"),
            ("GOOGLE_API_KEY", "key-2222"),
        ]);
        let root = json!({});
        Keys::collect(&Catalog::read(&root, false), &root, &Value::Null, &env, 0)
    }
    /// The steps that the same error leads to, until the end.
    fn steps(kind: ErrorKind, models: &[&str]) -> Vec<Step> {
        let mut keys = keys();
        let mut way = Attempts::new(models.iter().map(|it| model(it)).collect()).unwrap();
        let mut out = vec![];
        while out.last() != Some(&Step::GiveUp) {
            let key = match keys.pick(&way.model().provider, 0) {
                Pick::Use(key) => Some(key.id.clone()),
                _ => None,
            };
            out.push(way.next(&TurnError::new(kind, ""), false, key.as_deref(), &mut keys, 0));
            assert!(out.len() < 20, "it never ends: {out:?}");
        }
        out
    }
    #[test]
    fn every_kind_comes_to_an_end() {
        use Step::{Fallback, GiveUp, Retry};
        let after = |after_ms| Retry { after_ms };
        let two = ["google/a", "openai/b"];
        let limit = |retry_after_ms| ErrorKind::RateLimit { retry_after_ms };
        assert_eq!(
            steps(ErrorKind::Overloaded, &two),
            [after(500), after(2000), Fallback(model("openai/b")), after(500), after(2000), GiveUp]
        );
        assert_eq!(steps(ErrorKind::Auth, &two), [after(0), Fallback(model("openai/b")), GiveUp]);
        assert_eq!(steps(limit(Some(3000)), &["openai/b"]), [after(3000), after(3000), GiveUp]);
        assert_eq!(steps(limit(Some(60_000)), &["openai/b"]), [GiveUp]);
        assert_eq!(steps(limit(Some(3000)), &["ollama/x"]), [after(3000), after(3000), GiveUp]);
        let slow = ErrorKind::Timeout(Wait::FirstByte);
        assert_eq!(steps(slow, &two), [Fallback(model("openai/b")), after(0), GiveUp]);
        for kind in [
            ErrorKind::Cancelled,
            ErrorKind::ContextOverflow,
            ErrorKind::BadRequest,
            ErrorKind::Timeout(Wait::Total),
        ] {
            assert_eq!(steps(kind, &two), [GiveUp]);
        }
        for kind in [ErrorKind::NotFound, ErrorKind::Protocol] {
            assert_eq!(steps(kind, &two), [Fallback(model("openai/b")), GiveUp]);
        }
    }
    #[test]
    fn a_shown_answer_is_not_begun_again() {
        let (mut keys, mut way) =
            (keys(), Attempts::new(vec![model("openai/b"), model("google/a")]).unwrap());
        let broke = TurnError::new(ErrorKind::Network, "");
        assert_eq!(way.next(&broke, true, None, &mut keys, 0), Step::GiveUp);
        assert!(Attempts::new(vec![]).is_none());
    }
    #[test]
    fn resting_providers_are_passed_over() {
        let mut keys = keys();
        keys.failed("openai", "OPENAI_API_KEY", ErrorKind::Billing, 0);
        let mut way = Attempts::new(vec![model("xai/a"), model("openai/b"), model("google/c")]).unwrap();
        let lost = TurnError::new(ErrorKind::NotFound, "");
        assert_eq!(way.next(&lost, false, None, &mut keys, 0), Step::Fallback(model("google/c")));
        // Two models of one provider, whose only key is refused.
        let mut way = Attempts::new(vec![model("openai/a"), model("openai/b")]).unwrap();
        let refused = TurnError::new(ErrorKind::Auth, "");
        let next = way.next(&refused, false, Some("OPENAI_API_KEY"), &mut keys, 0);
        assert_eq!(next, Step::Fallback(model("openai/b")));
    }
}
