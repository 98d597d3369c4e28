//! `channels.status`: what each chat network does, as measured; `channels.logout`: an account forgets its token.
use super::config::patch;
use crate::base::limits::{PROBE_MS, PROBE_MS_MIN};
use crate::channels::named;
use crate::config::{DEFAULT_ACCOUNT, File, normal_id};
use crate::gateway::Core;
use crate::gateway::channels::status;
use crate::gateway::registry::{Answer, Call, Finish, Method, Rpc};
use crate::gateway::reload;
use crate::protocol::error::{RpcError, RpcResult};
use crate::protocol::scope::Access;
use crate::protocol::shape::Int;
use crate::protocol::types::Text;
use crate::shaped;
use serde::Serialize;
use serde_json::{Map, Value, json};

pub const METHODS: &[Method] = &[Method::of::<ChannelsStatus>(), Method::of::<ChannelsLogout>()];

shaped! { struct ChannelsStatusParams { probe = "probe": Option<bool>, timeout_ms = "timeoutMs": Option<Int<0>> } }

/// Every map is keyed by channel id.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct ChannelsStatusReply {
    ts: i64,
    channel_order: Vec<String>,
    channel_labels: Map<String, Value>,
    channel_detail_labels: Map<String, Value>,
    channel_system_images: Map<String, Value>,
    channel_meta: Vec<Value>,
    channels: Map<String, Value>,
    channel_accounts: Map<String, Value>,
    channel_default_account_id: Map<String, Value>,
}

impl ChannelsStatusReply {
    fn new(it: status::Snapshot, ts: i64) -> ChannelsStatusReply {
        let metas: Vec<_> = it.order.iter().filter_map(|id| Some(named(id)?.meta())).collect();
        let map = |of: fn(&crate::channels::Meta) -> &'static str| {
            metas.iter().map(|it| (it.id.to_owned(), of(it).into())).collect::<Map<_, _>>()
        };
        let meta = |it: &crate::channels::Meta| json!({ "id": it.id, "label": it.label, "detailLabel": it.detail_label, "systemImage": it.system_image });
        ChannelsStatusReply {
            ts,
            channel_labels: map(|it| it.label),
            channel_detail_labels: map(|it| it.detail_label),
            channel_system_images: map(|it| it.system_image),
            channel_meta: metas.iter().map(meta).collect(),
            channel_order: it.order.iter().map(|it| (*it).to_owned()).collect(),
            channels: it.channels,
            channel_accounts: it.accounts,
            channel_default_account_id: it.defaults,
        }
    }
}

enum ChannelsStatus {}
impl Rpc for ChannelsStatus {
    const NAME: &'static str = "channels.status";
    const ACCESS: Access = Access::Read;
    type Params = ChannelsStatusParams;
    type Reply = ChannelsStatusReply;
    fn call(
        core: &mut Core,
        call: Call,
        params: ChannelsStatusParams,
    ) -> RpcResult<Answer<ChannelsStatusReply>> {
        let mut snapshot = status::snapshot(core);
        let ts = call.now.unix_ms;
        if params.probe != Some(true) {
            return Ok(Answer::Now(ChannelsStatusReply::new(snapshot, ts)));
        }
        let ms = params.timeout_ms.map_or(PROBE_MS, |it| (it.0 as u64).clamp(PROBE_MS_MIN, PROBE_MS));
        let (probes, clock) = (status::probes(core), core.clock);
        Ok(Answer::read(move || {
            snapshot.probe(&probes, ms, || clock.now().unix_ms);
            Ok(ChannelsStatusReply::new(snapshot, ts))
        }))
    }
}

shaped! {
    struct ChannelsLogoutParams {
        channel = "channel": Text<1, { usize::MAX }>,
        account_id = "accountId": Option<String>,
    }
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
struct ChannelsLogoutReply {
    channel: String,
    account_id: String,
    /// There was a token in the configuration file.
    cleared: bool,
    /// There is one in the environment, which stays.
    env_token: bool,
    logged_out: bool,
}

/// Takes the token out of the configuration file; the account then stops by itself.
enum ChannelsLogout {}
impl Rpc for ChannelsLogout {
    const NAME: &'static str = "channels.logout";
    const ACCESS: Access = Access::Admin;
    type Params = ChannelsLogoutParams;
    type Reply = ChannelsLogoutReply;
    fn call(
        core: &mut Core,
        call: Call,
        params: ChannelsLogoutParams,
    ) -> RpcResult<Answer<ChannelsLogoutReply>> {
        let channel = params.channel.trim().to_lowercase();
        if named(&channel).is_none() || !core.channels.has(&channel) {
            return Err(RpcError::invalid("invalid channels.logout channel"));
        }
        let account = params.account_id.as_deref().map(str::trim).filter(|it| !it.is_empty());
        let account = account.map_or_else(|| DEFAULT_ACCOUNT.to_owned(), normal_id);
        let (world, unix_ms) = (core.world.clone(), call.now.unix_ms);
        Ok(Answer::Stored(Box::new(move |_| {
            let outcome = (|| {
                let file = File::load(&world.paths, &world.env);
                if !file.valid() {
                    return Err(RpcError::invalid("config invalid; fix it before logging out"));
                }
                let section = &file.parsed["channels"][&channel];
                let (mut wanted, mut cleared) = (json!({}), false);
                // As the file spells it.
                let names = section["accounts"].as_object().into_iter().flatten().map(|it| it.0.clone());
                let own = names.into_iter().find(|it| normal_id(it) == account);
                for field in ["botToken", "tokenFile"] {
                    if account == DEFAULT_ACCOUNT && section.get(field).is_some() {
                        (wanted[field], cleared) = (Value::Null, true);
                    }
                    if let Some(name) =
                        own.as_ref().filter(|it| section["accounts"][it.as_str()].get(field).is_some())
                    {
                        (wanted["accounts"][name][field], cleared) = (Value::Null, true);
                    }
                }
                if cleared {
                    patch(
                        &world,
                        &json!({ "channels": { channel.clone(): wanted } }),
                        "channels.logout",
                        unix_ms,
                    )?;
                }
                let variable = format!("{}_BOT_TOKEN", channel.to_uppercase());
                let env_token = account == DEFAULT_ACCOUNT
                    && world.env.get(&variable).is_some_and(|it| !it.trim().is_empty());
                Ok(ChannelsLogoutReply {
                    channel,
                    account_id: account,
                    cleared,
                    env_token,
                    logged_out: cleared && !env_token,
                })
            })();
            Box::new(move |core: &mut Core, now| {
                if outcome.as_ref().is_ok_and(|it: &ChannelsLogoutReply| it.cleared) {
                    reload::written(core, now);
                }
                outcome
            }) as Finish<ChannelsLogoutReply>
        })))
    }
}
