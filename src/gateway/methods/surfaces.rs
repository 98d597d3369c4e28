//! Where a node's pages find what is served to them, told anew.
use crate::gateway::Core;
use crate::gateway::registry::{Answer, Call, Method, Rpc};
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::hello::Surfaces;
use crate::protocol::scope::Access;
use crate::protocol::types::NonEmpty;
use crate::shaped;
use serde::Serialize;

pub const METHODS: &[Method] = &[Method::of::<NodePluginSurfaceRefresh>()];

shaped! {
    struct NodePluginSurfaceRefreshParams {
        surface = "surface": NonEmpty,
        #[expect(dead_code, reason = "what the node has in hand; what it is told is right in any case")]
        observed_url = "observedUrl": Option<String>,
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct NodePluginSurfaceRefreshReply {
    surface: &'static str,
    plugin_surface_urls: Surfaces,
}

/// What `hello-ok` said holds as long as the connection, so it is said again.
enum NodePluginSurfaceRefresh {}
impl Rpc for NodePluginSurfaceRefresh {
    const NAME: &'static str = "node.pluginSurface.refresh";
    const ACCESS: Access = Access::NodeOnly;
    type Params = NodePluginSurfaceRefreshParams;
    type Reply = NodePluginSurfaceRefreshReply;
    fn call(
        core: &mut Core,
        call: Call,
        params: NodePluginSurfaceRefreshParams,
    ) -> RpcResult<Answer<NodePluginSurfaceRefreshReply>> {
        let known = Some(&*params.surface).filter(|it| it.trim() == "canvas");
        let own = known.and_then(|_| core.clients.get(&call.conn)?.ready()?.canvas.as_ref());
        let canvas = own.ok_or_else(|| {
            RpcError::unavailable_text(format!("{} plugin surface unavailable", params.surface.trim()))
        })?;
        let plugin_surface_urls = Surfaces { canvas: canvas.url() };
        Ok(Answer::Now(NodePluginSurfaceRefreshReply { surface: "canvas", plugin_surface_urls }))
    }
}
