//! The three frames: request, response, event.
use super::error::RpcError;
use super::json;
use super::shape::{Field, Shape, Shaped, join};
use super::types::NonEmpty;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// `{type:"req", id, method, params?}`.
#[derive(Debug)]
pub struct Request {
    pub id: String,
    pub method: String,
    /// `Null` when absent.
    pub params: Value,
}

/// Why a text is no request.
#[derive(Debug)]
pub enum BadFrame {
    /// Not JSON (or nested deeper than 128): there is no id to answer.
    NotJson,
    /// JSON of another form; the error goes to `id`.
    NotRequest { id: Value, error: RpcError },
}

const REQUEST: Shape = Shape::Named {
    name: "RequestFrame",
    shape: &Shape::Object {
        fields: &[
            Field { name: "type", shape: &Shape::Literal("req"), required: true },
            Field { name: "id", shape: &NonEmpty::SHAPE, required: true },
            Field { name: "method", shape: &NonEmpty::SHAPE, required: true },
            Field { name: "params", shape: &Shape::Any, required: false },
        ],
    },
};

impl Request {
    /// # Errors
    /// [`BadFrame`].
    pub fn parse(text: &[u8]) -> Result<Request, BadFrame> {
        let mut value = json::parse(text).map_err(|_| BadFrame::NotJson)?;
        let complaints = REQUEST.check(&value);
        if !complaints.is_empty() {
            let id = value.get("id").filter(|it| !it.is_null()).cloned().unwrap_or_else(|| "invalid".into());
            let error = RpcError::invalid(format!("invalid request frame: {}", join(&complaints)));
            return Err(BadFrame::NotRequest { id, error });
        }
        let mut take = |name: &str| value.get_mut(name).map(Value::take).unwrap_or_default();
        let mut text = |name| take(name).as_str().map(str::to_owned).expect("checked to be a string");
        let (id, method) = (text("id"), text("method"));
        Ok(Request { id, method, params: take("params") })
    }
}

/// `payload` with `ok: true`, `error` without.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "ResponseFrame"))]
struct Response<'a> {
    #[cfg_attr(test, schemars(extend("const" = "res")))]
    r#type: &'static str,
    /// The request's.
    #[cfg_attr(test, schemars(with = "String", length(min = 1)))]
    id: &'a Value,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Value"))]
    payload: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a RpcError>,
}

/// The text of a response frame.
pub fn response(id: &Value, result: Result<&RawValue, &RpcError>) -> String {
    let (payload, error) = (result.ok(), result.err());
    write(&Response { r#type: "res", id, ok: error.is_none(), payload, error })
}

/// The text of a response frame that tells what was done and, when it failed, why: `agent`'s second answer.
pub fn outcome(id: &Value, payload: &Value, error: Option<&RpcError>) -> String {
    let payload = raw(payload);
    write(&Response { r#type: "res", id, ok: error.is_none(), payload: Some(&payload), error })
}

/// Versions of the two snapshots that clients cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StateVersion {
    pub presence: u64,
    pub health: u64,
}

/// `seq` counts the broadcasts since the gateway started; what is for one connection alone has none.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(rename = "EventFrame"))]
struct Event<'a, T: Serialize> {
    #[cfg_attr(test, schemars(extend("const" = "event")))]
    r#type: &'static str,
    event: &'a str,
    payload: &'a T,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    /// With `presence` and `health` only.
    #[serde(rename = "stateVersion", skip_serializing_if = "Option::is_none")]
    state_version: Option<StateVersion>,
}

/// The text of an event frame. Targeted events carry no `seq`.
pub fn event(
    name: &str,
    payload: &impl Serialize,
    seq: Option<u64>,
    state_version: Option<StateVersion>,
) -> String {
    write(&Event { r#type: "event", event: name, payload, seq, state_version })
}

/// Any payload as raw JSON.
pub fn raw(payload: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(payload)
        .expect("protocol types have string keys and no failing Serialize")
}

/// Defines the three frames.
#[cfg(test)]
pub fn describe(generator: &mut schemars::SchemaGenerator) {
    REQUEST.json_schema(generator.definitions_mut());
    generator.subschema_for::<Response>();
    generator.subschema_for::<Event<Value>>();
}

fn write(frame: &impl Serialize) -> String {
    serde_json::to_string(frame).expect("protocol types have string keys and no failing Serialize")
}

#[cfg(test)]
mod tests {
    use super::*;
    fn refuse(text: &str, id: &str, message: &str) {
        let Err(BadFrame::NotRequest { id: got, error }) = Request::parse(text.as_bytes()) else {
            panic!("{text}")
        };
        assert_eq!((got.to_string().as_str(), error.message.as_str()), (id, message));
    }
    #[test]
    fn parse() {
        let it = Request::parse(br#"{"type":"req","id":"1","method":"health"}"#).unwrap();
        assert_eq!((it.id.as_str(), it.method.as_str(), it.params), ("1", "health", Value::Null));
        assert!(matches!(Request::parse(b"{"), Err(BadFrame::NotJson)));
        assert!(matches!(Request::parse("[".repeat(50_000).as_bytes()), Err(BadFrame::NotJson)));
        refuse("5", "\"invalid\"", "invalid request frame: must be object");
        refuse(
            r#"{"type":"res","id":"5","ok":true}"#,
            "\"5\"",
            "invalid request frame: must have required property 'method'; at root: unexpected property 'ok'; at /type: must be equal to constant",
        );
        refuse(
            r#"{"type":"req","id":"","method":"x"}"#,
            "\"\"",
            "invalid request frame: at /id: must NOT have fewer than 1 characters",
        );
    }
}
