//! `GET /v1/models` and `/v1/models/ID`: each agent is a model.
use super::{Exchange, error};
use crate::base::clock::Now;
use crate::conn::answer::Answer;
use crate::gateway::{Core, sessions};
use serde_json::{Value, json};

pub(super) fn answer(core: &mut Core, it: Exchange, _: Now) {
    let world = core.world.clone();
    core.respond_later(it.conn, move || {
        let agents = sessions::agent_ids(&world).into_iter().map(|it| format!("openclaw/{it}"));
        let ids: Vec<String> =
            ["openclaw".into(), "openclaw/default".into()].into_iter().chain(agents).collect();
        match it.request.head.path.strip_prefix("/v1/models/") {
            None => Answer::json(
                200,
                &json!({ "object": "list", "data": ids.iter().map(|it| model(it)).collect::<Vec<_>>() }),
            ),
            Some(id) if ids.iter().any(|it| it == id) => Answer::json(200, &model(id)),
            Some(id) => error(404, &format!("The model '{id}' does not exist"), "invalid_request_error"),
        }
    });
}

fn model(id: &str) -> Value {
    json!({ "id": id, "object": "model", "created": 0, "owned_by": "openclaw" })
}
