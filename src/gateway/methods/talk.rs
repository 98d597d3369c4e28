//! `talk.mode`: voice conversation goes on or off on every client.
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::gateway::{Core, events};
use crate::protocol::connect::ClientMode;
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::scope::Access;
use crate::shaped;
use serde::Serialize;

pub const METHODS: &[Method] = &[Method::of::<TalkMode>()];

shaped! { struct TalkModeParams { enabled = "enabled": bool, phase = "phase": Option<String> } }

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct TalkModeReply {
    enabled: bool,
    phase: Option<String>,
    /// Milliseconds since 1970.
    ts: i64,
}

enum TalkMode {}
impl Rpc for TalkMode {
    const NAME: &'static str = "talk.mode";
    const ACCESS: Access = Access::Write;
    type Params = TalkModeParams;
    type Reply = TalkModeReply;
    /// A web chat has no microphone of its own: it needs a phone that has.
    fn gate(core: &Core, call: Call) -> RpcResult<()> {
        let is_webchat = core
            .clients
            .get(&call.conn)
            .and_then(|it| it.ready())
            .is_some_and(|it| it.mode == ClientMode::Webchat);
        let has_phone = core
            .connected_nodes()
            .any(|it| ["ios", "android"].iter().any(|os| it.platform.to_lowercase().starts_with(os)));
        if is_webchat && !has_phone {
            let mut error = RpcError::unavailable("");
            error.message = "talk disabled: no connected iOS/Android nodes".into();
            return Err(error);
        }
        Ok(())
    }
    fn call(core: &mut Core, call: Call, params: TalkModeParams) -> RpcResult<Answer<TalkModeReply>> {
        let reply = TalkModeReply { enabled: params.enabled, phase: params.phase, ts: call.now.unix_ms };
        core.broadcast(&events::TALK_MODE, &reply);
        Ok(Answer::Now(reply))
    }
}
