//! `models.list`: the models of the configured providers.
use crate::config::Model;
use crate::gateway::Core;
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::protocol::error::RpcResult;
use crate::protocol::scope::Access;
use crate::protocol::types::NoParams;
use serde::Serialize;

pub const METHODS: &[Method] = &[Method::of::<ModelsList>()];

/// Sorted by provider, then name.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ModelsListReply {
    models: Vec<Model>,
}

enum ModelsList {}
impl Rpc for ModelsList {
    const NAME: &'static str = "models.list";
    const ACCESS: Access = Access::Read;
    type Params = NoParams;
    type Reply = ModelsListReply;
    fn call(core: &mut Core, _: Call, _: NoParams) -> RpcResult<Answer<ModelsListReply>> {
        Ok(Answer::Now(ModelsListReply { models: core.world.config.config.models.clone() }))
    }
}
