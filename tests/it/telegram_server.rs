//! A Bot API of our own: chats that people write in, what the bot says there, and whatever goes wrong on the way.
//!
//! ```text
//! let telegram = Telegram::start();
//! telegram.say(7, "hello");                      // somebody writes
//! let said = telegram.wait_for_text(7, "hello"); // the bot has said something that holds this
//! telegram.fail(|method, n| …);                  // what becomes of the calls
//! ```
use crate::harness::DEADLINE;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

pub const TOKEN: &str = "123456:test-token";

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    Fine,
    /// It is answered so, and not done.
    Refuse(u16, Value),
    /// It is done, and answered so.
    DoneThen(u16),
    /// It is done, and the connection breaks.
    DoneThenGone,
    /// Not done, and the connection breaks.
    Gone,
    /// Nothing is answered for so long.
    Silent(Duration),
}

#[derive(Debug, Clone)]
pub struct Message {
    pub chat: i64,
    pub id: i64,
    pub own: bool,
    pub text: String,
    pub gone: bool,
    pub params: Value,
}

type Fail = Box<dyn FnMut(&str, usize) -> Fate + Send>;

#[derive(Default)]
struct State {
    updates: Vec<Value>,
    next_update: i64,
    next_message: i64,
    messages: Vec<Message>,
    calls: Vec<(String, Value)>,
    fail: Option<Fail>,
    files: BTreeMap<String, Vec<u8>>,
    down: bool,
}

#[derive(Clone)]
pub struct Telegram {
    pub addr: SocketAddr,
    state: Arc<(Mutex<State>, Condvar)>,
}

pub fn flood(s: u64) -> Fate {
    Fate::Refuse(
        429,
        json!({ "description": "Too Many Requests: retry later", "parameters": { "retry_after": s } }),
    )
}

impl Telegram {
    pub fn start() -> Telegram {
        Telegram::start_on("127.0.0.1")
    }
    /// On an address of the network that this thread sees.
    pub fn start_on(ip: &str) -> Telegram {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let state: Arc<(Mutex<State>, Condvar)> = Arc::default();
        state.0.lock().unwrap().next_message = 100;
        let it = Telegram { addr, state };
        let server = it.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let (socket, server) = (socket.unwrap(), server.clone());
                std::thread::spawn(move || drop(server.serve(socket)));
            }
        });
        it
    }
    pub fn root(&self) -> String {
        format!("http://{}", self.addr)
    }
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap()
    }
    fn changed(&self) {
        self.state.1.notify_all();
    }

    // What people do.

    /// Somebody writes in the chat that is theirs; the number of the message.
    pub fn say(&self, person: i64, text: &str) -> i64 {
        self.message(person, person, json!({ "text": text }))
    }
    /// A message of `person`, with these fields, in a chat. Groups have negative numbers.
    pub fn message(&self, chat: i64, person: i64, fields: Value) -> i64 {
        let mut state = self.state();
        state.next_message += 1;
        let id = state.next_message;
        let kind = if chat < 0 { "supergroup" } else { "private" };
        let mut message = json!({
            "message_id": id, "date": 1_795_000_000, "chat": { "id": chat, "type": kind, "title": if chat < 0 { json!("Team") } else { Value::Null } },
            "from": { "id": person, "is_bot": false, "first_name": format!("P{person}"), "username": format!("user{person}") },
        });
        for (name, value) in fields.as_object().unwrap() {
            message[name] = value.clone();
        }
        let text = message["text"].as_str().unwrap_or_default().to_owned();
        state.messages.push(Message { chat, id, own: false, text, gone: false, params: Value::Null });
        drop(state);
        self.update(json!({ "message": message }));
        id
    }
    /// Any update; its number.
    pub fn update(&self, fields: Value) -> i64 {
        let mut state = self.state();
        state.next_update += 1;
        let number = 1000 + state.next_update;
        let mut update = json!({ "update_id": number });
        update.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        state.updates.push(update);
        drop(state);
        self.changed();
        number
    }
    pub fn file(&self, id: &str, bytes: &[u8]) {
        self.state().files.insert(id.to_owned(), bytes.to_owned());
    }

    /// Somebody takes a message away.
    pub fn delete(&self, chat: i64, id: i64) {
        self.state()
            .messages
            .iter_mut()
            .filter(|it| (it.chat, it.id) == (chat, id))
            .for_each(|it| it.gone = true);
    }

    // What goes wrong.

    pub fn fail(&self, fail: impl FnMut(&str, usize) -> Fate + Send + 'static) {
        self.state().fail = Some(Box::new(fail));
    }
    pub fn heal(&self) {
        self.state().fail = None;
    }
    /// Nobody answers; connections that are open break.
    pub fn down(&self, down: bool) {
        self.state().down = down;
        self.changed();
    }

    // What the bot did.

    pub fn own(&self, chat: i64) -> Vec<Message> {
        self.state().messages.iter().filter(|it| it.own && it.chat == chat && !it.gone).cloned().collect()
    }
    pub fn all_own(&self) -> Vec<Message> {
        self.state().messages.iter().filter(|it| it.own && !it.gone).cloned().collect()
    }
    /// Calls besides those that only ask what is new.
    pub fn calls(&self) -> Vec<(String, Value)> {
        let quiet = ["getUpdates", "getMe", "setMyCommands", "deleteMyCommands", "deleteWebhook"];
        self.state().calls.iter().filter(|it| !quiet.contains(&it.0.as_str())).cloned().collect()
    }
    pub fn calls_of(&self, method: &str) -> Vec<Value> {
        self.state().calls.iter().filter(|it| it.0 == method).map(|it| it.1.clone()).collect()
    }
    /// Updates that the bot has not confirmed.
    pub fn unconfirmed(&self) -> usize {
        self.state().updates.len()
    }
    /// Waits until it holds.
    pub fn wait<T>(&self, what: &str, mut test: impl FnMut(&Telegram) -> Option<T>) -> T {
        self.wait_for(DEADLINE, what, &mut test)
    }
    pub fn wait_for<T>(&self, long: Duration, what: &str, test: &mut dyn FnMut(&Telegram) -> Option<T>) -> T {
        let deadline = Instant::now() + long;
        loop {
            if let Some(it) = test(self) {
                return it;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what} did not happen; calls: {:#?}", self.calls());
            let state = self.state();
            drop(self.state.1.wait_timeout(state, left.min(Duration::from_millis(50))).unwrap());
        }
    }
    /// A message of the bot that holds this text.
    pub fn wait_for_text(&self, chat: i64, text: &str) -> Message {
        self.wait(&format!("{text:?} in {chat}"), |it| {
            it.own(chat).into_iter().find(|it| it.text.contains(text))
        })
    }

    // The server.

    fn serve(&self, socket: TcpStream) -> std::io::Result<()> {
        socket.set_nodelay(true)?;
        let mut reader = BufReader::new(socket.try_clone()?);
        let mut socket = socket;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 || self.state().down {
                return Ok(());
            }
            let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
            let (mut length, mut media_type) = (0, String::new());
            loop {
                let mut line = String::new();
                reader.read_line(&mut line)?;
                let Some((name, value)) = line.trim().split_once(':') else { break };
                match name.to_lowercase().as_str() {
                    "content-length" => length = value.trim().parse().unwrap(),
                    "content-type" => media_type = value.trim().to_owned(),
                    "transfer-encoding" => panic!("the length is said: {line}"),
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body)?;
            let params = if media_type.starts_with("multipart/") {
                multipart(&media_type, &body)
            } else {
                serde_json::from_slice(&body).unwrap_or_default()
            };
            if let Some(file) = path.strip_prefix(&format!("/file/bot{TOKEN}/")) {
                let bytes = self.state().files.get(file).cloned();
                let (status, bytes) = bytes.map_or((404, vec![]), |it| (200, it));
                write!(socket, "HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", bytes.len())?;
                socket.write_all(&bytes)?;
                continue;
            }
            let Some(method) = path.strip_prefix(&format!("/bot{TOKEN}/")) else {
                answer(
                    &mut socket,
                    401,
                    &json!({ "ok": false, "error_code": 401, "description": "Unauthorized" }),
                )?;
                continue;
            };
            let fate = self.fate(method, &params);
            match fate {
                Fate::Gone => return Ok(()),
                Fate::Silent(long) => {
                    std::thread::sleep(long);
                    return Ok(());
                }
                Fate::Refuse(code, mut it) => {
                    (it["ok"], it["error_code"]) = (false.into(), code.into());
                    answer(&mut socket, code, &it)?;
                }
                Fate::DoneThen(code) => {
                    drop(self.method(method, &params));
                    write!(socket, "HTTP/1.1 {code} x\r\ncontent-length: 6\r\n\r\n<html>")?;
                }
                Fate::DoneThenGone => {
                    drop(self.method(method, &params));
                    return Ok(());
                }
                Fate::Fine => {
                    let done = if method == "getUpdates" {
                        self.poll(&params)
                    } else {
                        self.method(method, &params)
                    };
                    if self.state().down {
                        return Ok(());
                    }
                    match done {
                        Ok(result) => answer(&mut socket, 200, &json!({ "ok": true, "result": result }))?,
                        Err(text) => answer(
                            &mut socket,
                            400,
                            &json!({ "ok": false, "error_code": 400, "description": format!("Bad Request: {text}") }),
                        )?,
                    }
                }
            }
        }
    }

    fn fate(&self, method: &str, params: &Value) -> Fate {
        let mut state = self.state();
        let n = state.calls.iter().filter(|it| it.0 == method).count();
        state.calls.push((method.to_owned(), params.clone()));
        let fate = state.fail.as_mut().map_or(Fate::Fine, |it| it(method, n));
        drop(state);
        self.changed();
        fate
    }

    fn poll(&self, params: &Value) -> Result<Value, String> {
        let offset = params["offset"].as_i64().unwrap_or(0);
        let deadline = Instant::now() + Duration::from_secs(params["timeout"].as_u64().unwrap_or(0).min(20));
        let mut state = self.state();
        state.updates.retain(|it| it["update_id"].as_i64() >= Some(offset));
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if !state.updates.is_empty() || left.is_zero() || state.down {
                let most = params["limit"].as_u64().unwrap_or(100) as usize;
                return Ok(state.updates.iter().take(most).cloned().collect());
            }
            state = self.state.1.wait_timeout(state, left.min(Duration::from_millis(100))).unwrap().0;
        }
    }

    fn method(&self, method: &str, params: &Value) -> Result<Value, String> {
        let mut state = self.state();
        let number = |it: &Value| it.as_i64().or_else(|| it.as_str()?.parse().ok());
        let chat = number(&params["chat_id"]).unwrap_or(0);
        let message = number(&params["message_id"]).unwrap_or(0);
        let text = ["text", "caption", "question"]
            .iter()
            .find_map(|it| params[*it].as_str())
            .unwrap_or_default()
            .to_owned();
        let done = match method {
            "getMe" => {
                Ok(json!({ "id": 123_456, "is_bot": true, "username": "OurBot", "first_name": "Our" }))
            }
            "getWebhookInfo" => Ok(json!({ "url": "", "has_custom_certificate": false })),
            "getFile" => {
                let id = params["file_id"].as_str().unwrap_or_default();
                match state.files.contains_key(id) {
                    true => Ok(json!({ "file_id": id, "file_path": id })),
                    false => Err("invalid file_id".into()),
                }
            }
            "sendMessage" | "sendPhoto" | "sendDocument" | "sendVoice" | "sendAudio" | "sendVideo"
            | "sendAnimation" | "sendSticker" | "sendPoll" => {
                // What the Bot API does not take as HTML.
                if params["parse_mode"] == "HTML" && text.contains("REFUSE-HTML") {
                    Err("can't parse entities: on purpose".into())
                } else if text.encode_utf16().count() > 4096 + 2000 {
                    Err("message is too long".into())
                } else {
                    state.next_message += 1;
                    let id = state.next_message;
                    state.messages.push(Message {
                        chat,
                        id,
                        own: true,
                        text,
                        gone: false,
                        params: params.clone(),
                    });
                    Ok(json!({ "message_id": id, "chat": { "id": chat }, "poll": { "id": "poll-1" } }))
                }
            }
            "editMessageText" | "editMessageCaption" => {
                match state.messages.iter_mut().find(|it| it.chat == chat && it.id == message && !it.gone) {
                    None => Err("message to edit not found".into()),
                    Some(it) if !it.own => Err("message can't be edited".into()),
                    Some(it) if it.text == text => Err("message is not modified".into()),
                    Some(it) => {
                        it.text = text;
                        Ok(json!({ "message_id": message }))
                    }
                }
            }
            "deleteMessage" => match state.messages.iter_mut().find(|it| it.chat == chat && it.id == message)
            {
                None => Err("message to delete not found".into()),
                Some(it) => {
                    it.gone = true;
                    Ok(true.into())
                }
            },
            _ => Ok(true.into()),
        };
        drop(state);
        self.changed();
        done
    }
}

fn answer(socket: &mut TcpStream, status: u16, body: &Value) -> std::io::Result<()> {
    let body = body.to_string();
    write!(
        socket,
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The fields of a form; files by their names.
fn multipart(media_type: &str, body: &[u8]) -> Value {
    let line = format!("--{}", media_type.split("boundary=").nth(1).unwrap());
    let text = String::from_utf8_lossy(body).into_owned();
    let mut out = json!({});
    for part in text.split(&line).skip(1) {
        let Some((head, value)) = part.trim_start_matches("\r\n").split_once("\r\n\r\n") else { continue };
        let word = |name: &str| Some(head.split(&format!("{name}=\"")).nth(1)?.split('"').next()?.to_owned());
        let value = value.trim_end_matches("\r\n");
        let named = word("; name").unwrap_or_default();
        out[named] = word("filename").map_or(value.into(), |it| json!({ "name": it, "bytes": value.len() }));
    }
    out
}
