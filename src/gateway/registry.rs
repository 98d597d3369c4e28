//! The method table. A method is one `impl Rpc` in one file under `methods/`; everything else about it follows from that.
use super::Core;
use super::ws_log::Asked;
use crate::base::clock::Now;
use crate::base::ids::ConnId;
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::frame::raw;
use crate::protocol::scope::Access;
use crate::protocol::shape::{Kind, Shaped, join};
use crate::store::stores::Stores;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use serde_json::value::RawValue;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Who calls, and when.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    pub conn: ConnId,
    pub protocol: u32,
    pub now: Now,
    /// The request itself, for what is answered more than once, or much later.
    pub asked: &'a Asked,
}

/// What a handler gives back. The dispatcher, not the handler, knows about frames and sockets.
pub enum Answer<T> {
    /// Ready.
    Now(T),
    /// Comes from a worker, and perhaps finishes on the core.
    Later(Work<T>),
    /// As [`Answer::Later`], from a thread of its own: it asks somebody else, and may take long.
    Apart(Work<T>),
    /// As [`Answer::Later`], from the one thread that writes state files: in the order in which they were asked.
    Stored(StoreWork<T>),
    /// As [`Answer::Later`], once the store thread has said where to look.
    Located(Locate<T>),
    /// Comes when what it waits for has happened: the handler has kept the request.
    Held,
}

/// Runs on a worker; what it returns runs on the core.
pub type Work<T> = Box<dyn FnOnce() -> Finish<T> + Send>;
/// Runs where state files are written; what it returns runs on the core.
pub type StoreWork<T> = Box<dyn FnOnce(&mut Stores) -> Finish<T> + Send>;
/// Runs where state files are written; the work that it returns runs on a worker.
pub type Locate<T> = Box<dyn FnOnce(&mut Stores) -> Work<T> + Send>;
/// Runs on the core, behind its [`Work`].
pub type Finish<T> = Box<dyn FnOnce(&mut Core, Now) -> RpcResult<T> + Send>;

fn plain<T: Send + 'static>(work: impl FnOnce() -> RpcResult<T> + Send + 'static) -> Work<T> {
    Box::new(move || {
        let result = work();
        Box::new(move |_, _| result)
    })
}

impl<T: Send + 'static> Answer<T> {
    /// Reads something on a worker.
    pub fn read(work: impl FnOnce() -> RpcResult<T> + Send + 'static) -> Answer<T> {
        Answer::Later(plain(work))
    }
    /// Asks somebody else, on a thread of its own.
    pub fn apart(work: impl FnOnce() -> RpcResult<T> + Send + 'static) -> Answer<T> {
        Answer::Apart(plain(work))
    }
    /// Reads or changes what the store thread owns, and answers what came of it.
    pub fn store(work: impl FnOnce(&mut Stores) -> RpcResult<T> + Send + 'static) -> Answer<T> {
        Answer::Stored(Box::new(move |stores| {
            let result = work(stores);
            Box::new(move |_, _| result)
        }))
    }
    /// Asks the store thread what there is, and reads files that need not stop it on a worker.
    pub fn locate<R>(find: impl FnOnce(&mut Stores) -> RpcResult<R> + Send + 'static) -> Answer<T>
    where
        R: FnOnce() -> RpcResult<T> + Send + 'static,
    {
        Answer::Located(Box::new(move |stores| {
            let read = find(stores);
            Box::new(move || {
                let result = read.and_then(|it| it());
                Box::new(move |_, _| result)
            })
        }))
    }
    /// Makes something durable, then lets the core know it. A failed write changes nothing.
    pub fn write(
        work: impl FnOnce() -> Result<(), String> + Send + 'static,
        then: impl FnOnce(&mut Core, Now) -> RpcResult<T> + Send + 'static,
    ) -> Answer<T> {
        Answer::Stored(Box::new(move |_| match work() {
            Ok(()) => Box::new(then) as Finish<T>,
            Err(err) => Box::new(move |_, _| Err(RpcError::unavailable(err))),
        }))
    }
}

/// One method.
pub trait Rpc {
    const NAME: &'static str;
    const ACCESS: Access;
    /// Protocol 4 asks for less in a few places.
    const ACCESS_V4: Access = Self::ACCESS;
    type Params: DeserializeOwned + Shaped + Described;
    type Reply: Serialize + Described + Send + 'static;
    /// What is checked even before the params.
    ///
    /// # Errors
    /// What the caller is told.
    fn gate(_core: &Core, _call: Call) -> RpcResult<()> {
        Ok(())
    }
    /// Puts right what some clients say in another form.
    fn adapt(_params: &mut Value) {}
    /// # Errors
    /// What the caller is told.
    fn call(core: &mut Core, call: Call, params: Self::Params) -> RpcResult<Answer<Self::Reply>>;
}

/// A type with a JSON Schema. Only the tests need it, so only they ask for it.
#[cfg(test)]
pub trait Described: schemars::JsonSchema {}
#[cfg(test)]
impl<T: schemars::JsonSchema> Described for T {}
#[cfg(not(test))]
pub trait Described {}
#[cfg(not(test))]
impl<T> Described for T {}

/// An [`Answer`] with its type erased.
pub type Outcome = Answer<Box<RawValue>>;

/// One row of the table.
pub struct Method {
    pub name: &'static str,
    /// Whether `hello-ok.features.methods` names it.
    listed: bool,
    access: Access,
    access_v4: Access,
    run: fn(&mut Core, Call, Value) -> RpcResult<Outcome>,
    #[cfg(test)]
    pub schema: fn(&mut schemars::SchemaGenerator) -> (schemars::Schema, schemars::Schema),
}

impl Method {
    pub const fn of<M: Rpc>() -> Method {
        Method {
            name: M::NAME,
            listed: true,
            access: M::ACCESS,
            access_v4: M::ACCESS_V4,
            run: run::<M>,
            #[cfg(test)]
            schema: |generator| {
                (generator.subschema_for::<M::Params>(), generator.subschema_for::<M::Reply>())
            },
        }
    }
    /// Answered, but not told of: as in the reference.
    pub const fn unlisted(self) -> Method {
        Method { listed: false, ..self }
    }
    pub fn access(&self, protocol: u32) -> Access {
        if protocol >= 4 { self.access_v4 } else { self.access }
    }
    #[cfg(test)]
    pub fn ignores_unknown_params(&self, protocol: u32) -> bool {
        ignores_unknown_params(self.access_v4, protocol)
    }
    /// # Errors
    /// What the caller is told.
    pub fn call(&self, core: &mut Core, call: Call, params: Value) -> RpcResult<Outcome> {
        (self.run)(core, call, params)
    }
}

/// Newer clients send readers what this version does not know (limit, offset, traceparent …).
fn ignores_unknown_params(access_v4: Access, protocol: u32) -> bool {
    protocol >= 4 && access_v4 == Access::Read
}

fn run<M: Rpc>(core: &mut Core, call: Call, params: Value) -> RpcResult<Outcome> {
    M::gate(core, call)?;
    let mut params = if params.is_null() { Value::Object(Default::default()) } else { params };
    M::adapt(&mut params);
    let mut complaints = M::Params::SHAPE.check(&params);
    if ignores_unknown_params(M::ACCESS_V4, call.protocol) {
        complaints.retain(|it| !(it.at.is_empty() && matches!(it.kind, Kind::Unexpected(_))));
    }
    if !complaints.is_empty() {
        return Err(RpcError::invalid(format!("invalid {} params: {}", M::NAME, join(&complaints))));
    }
    let params = serde_json::from_value(params)
        .map_err(|err| RpcError::invalid(format!("invalid {} params: {err}", M::NAME)))?;
    M::call(core, call, params).map(erased::<M>)
}

/// As the dispatcher carries it out.
pub(super) fn erased<M: Rpc>(answer: Answer<M::Reply>) -> Outcome {
    match answer {
        Answer::Now(reply) => Answer::Now(raw(&reply)),
        Answer::Later(work) => Answer::Later(Box::new(move || erase(M::NAME, caught(work)))),
        Answer::Apart(work) => Answer::Apart(Box::new(move || erase(M::NAME, caught(work)))),
        Answer::Stored(work) => Answer::Stored(Box::new(move |stores| {
            let done = caught(|| work(stores));
            if done.is_none() {
                stores.forget();
            }
            erase(M::NAME, done)
        })),
        Answer::Located(find) => Answer::Located(Box::new(move |stores| {
            let read = caught(|| find(stores));
            if read.is_none() {
                stores.forget();
            }
            Box::new(move || erase(M::NAME, read.and_then(caught)))
        })),
        Answer::Held => Answer::Held,
    }
}

/// None when it has panicked.
fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// A panic becomes this one caller's error.
fn erase<T: Serialize + Send + 'static>(
    name: &'static str,
    done: Option<Finish<T>>,
) -> Finish<Box<RawValue>> {
    match done {
        Some(finish) => Box::new(move |core: &mut Core, now: Now| finish(core, now).map(|it| raw(&it))),
        None => Box::new(move |_, _| {
            Err(RpcError::unavailable(format!("{name} failed inside the gateway; see its log")))
        }),
    }
}

/// All methods, sorted by name for look-up and kept in the order of the families for `features.methods`.
pub struct Registry {
    rows: Vec<&'static Method>,
    names: Vec<&'static str>,
}

impl Registry {
    pub fn new(families: &[&'static [Method]]) -> Registry {
        let mut rows: Vec<&'static Method> = families.iter().copied().flatten().collect();
        let names = rows.iter().filter(|it| it.listed).map(|it| it.name).collect();
        rows.sort_by_key(|it| it.name);
        assert!(rows.windows(2).all(|it| it[0].name < it[1].name), "two methods share a name");
        Registry { rows, names }
    }
    pub fn get(&self, name: &str) -> Option<&'static Method> {
        self.rows.binary_search_by(|it| it.name.cmp(name)).ok().map(|at| self.rows[at])
    }
    pub fn names(&self) -> &[&'static str] {
        &self.names
    }
}
