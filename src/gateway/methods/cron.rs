//! `cron.list` and `cron.status`: the stored jobs. Read side: nothing runs them yet.
use crate::base::ids::sha256_hex;
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::gateway::{Core, World};
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::scope::Access;
use crate::protocol::types::{NoParams, Paged};
use crate::shaped;
use crate::store::cron::{jobs, store_path};
use serde::Serialize;
use serde_json::Value;
use std::path::PathBuf;

pub const METHODS: &[Method] = &[Method::of::<CronList>(), Method::of::<CronStatus>()];

shaped! { struct CronListParams { include_disabled = "includeDisabled": Option<bool> } }

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct CronListReply {
    /// By next run; jobs without one last.
    jobs: Vec<Value>,
    #[serde(flatten)]
    page: Option<Page>,
}

/// Where the jobs stand in the whole list: protocol 4 clients ask for it in pages.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct Page {
    /// Changes with the list.
    snapshot_revision: String,
    total: usize,
    offset: usize,
    limit: usize,
    has_more: bool,
    next_offset: Option<usize>,
}

/// Cuts `jobs` down to the page that was asked for.
fn page(jobs: &mut Vec<Value>, offset: Option<usize>, limit: Option<usize>) -> Page {
    let text = serde_json::to_vec(jobs).expect("JSON values serialise");
    let (total, offset) = (jobs.len(), offset.unwrap_or(0));
    let limit = limit.unwrap_or(total);
    let end = offset.saturating_add(limit).min(total);
    jobs.truncate(end);
    jobs.drain(..offset.min(end));
    let has_more = end < total;
    Page {
        snapshot_revision: format!("sha256:{}", sha256_hex(&text)),
        total,
        offset,
        limit,
        has_more,
        next_offset: has_more.then_some(end),
    }
}

fn store(world: &World) -> PathBuf {
    store_path(&world.paths.state, &world.paths.home, world.config.config.cron.store.as_deref())
}

fn enabled(job: &Value) -> bool {
    job["enabled"].as_bool().unwrap_or(true)
}

fn next_run(job: &Value) -> Option<i64> {
    job["state"]["nextRunAtMs"].as_f64().map(|it| it as i64)
}

enum CronList {}
impl Rpc for CronList {
    const NAME: &'static str = "cron.list";
    const ACCESS: Access = Access::Read;
    type Params = Paged<CronListParams>;
    type Reply = CronListReply;
    fn call(core: &mut Core, call: Call, params: Paged<CronListParams>) -> RpcResult<Answer<CronListReply>> {
        let store = store(&core.world);
        Ok(Answer::read(move || {
            let mut jobs = jobs(&store).map_err(RpcError::unavailable)?;
            jobs.retain(|it| params.own.include_disabled == Some(true) || enabled(it));
            jobs.sort_by_key(|it| next_run(it).unwrap_or(i64::MAX));
            let page = (call.protocol >= 4).then(|| page(&mut jobs, params.offset, params.limit));
            Ok(CronListReply { jobs, page })
        }))
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct CronStatusReply {
    enabled: bool,
    store_path: String,
    jobs: usize,
    next_wake_at_ms: Option<i64>,
}

enum CronStatus {}
impl Rpc for CronStatus {
    const NAME: &'static str = "cron.status";
    const ACCESS: Access = Access::Read;
    type Params = NoParams;
    type Reply = CronStatusReply;
    fn call(core: &mut Core, _: Call, _: NoParams) -> RpcResult<Answer<CronStatusReply>> {
        let (store, disabled) = (store(&core.world), core.world.config.config.cron.disabled);
        Ok(Answer::read(move || {
            let jobs = jobs(&store).map_err(RpcError::unavailable)?;
            Ok(CronStatusReply {
                enabled: !disabled,
                store_path: store.display().to_string(),
                jobs: jobs.len(),
                next_wake_at_ms: jobs.iter().filter(|it| enabled(it) && !disabled).filter_map(next_run).min(),
            })
        }))
    }
}
