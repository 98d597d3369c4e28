//! Every limit of the daemon, each with its origin. Units are in the names.
//!
//! "reference" is the measured behaviour of the original gateway; "latest" its newest release.

/// Request line and headers together. Reference: 16 KiB (Node's default `--max-http-header-size`).
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Header lines of one request. Ours: no client of the original sends more than 20.
pub const HEAD_LINES_MAX: usize = 100;
/// From the first byte of a request (or the accept) to the end of its head, in total. Ours: stops slowloris in 10 s (reference: 79 s).
pub const HEAD_DEADLINE_MS: u64 = 10_000;
/// How long a client may take nothing of an answer that comes in pieces. Ours: longer than any pause of a network that still works.
pub const STREAM_STALL_MS: u64 = 60_000;
/// An idle keep-alive HTTP connection. Ours: longer than the usual 5 s probe interval of a monitor, short enough to free sockets.
pub const KEEP_ALIVE_IDLE_MS: u64 = 30_000;
/// Empty lines skipped in front of a request (RFC 9112 section 2.2 asks for at least one). Ours.
pub const BLANK_LINES_MAX: usize = 4;
/// Pipelined bytes held while an answer is being made. Ours: one more head's worth.
pub const PIPELINE_BYTES_MAX: usize = 2 * HEAD_BYTES_MAX;
/// A chunk-size line with its extensions (RFC 9112 section 7.1.1 asks for a limit). Ours.
pub const CHUNK_LINE_BYTES_MAX: usize = 1024;
/// A body on a route that reads none. Ours: enough for any client's habit, too small to be a weapon.
pub const BODY_UNUSED_BYTES_MAX: u64 = 64 * 1024;
/// Grace before the minimum rate counts.
pub const BODY_GRACE_MS: u64 = 10_000;
/// Minimum rate of a request body after the grace, bytes a second. Ours (reliability plan R2).
pub const BODY_RATE_MIN: u64 = 1024;

/// A WebSocket message before `connect` was accepted. Latest: 64 KiB.
pub const PREAUTH_FRAME_BYTES_MAX: usize = 64 * 1024;
/// A WebSocket message after `connect`; advertised as `policy.maxPayload`. Reference: 512 KiB.
pub const FRAME_BYTES_MAX: usize = 512 * 1024;
/// Queued output at which a client counts as slow; advertised as `policy.maxBufferedBytes`. Reference: 1.5 MiB.
pub const OUT_QUEUE_BYTES_MAX: usize = 1536 * 1024;
/// From the upgrade to an accepted `connect`. Reference: 10 s.
pub const HANDSHAKE_DEADLINE_MS: u64 = 10_000;
/// How long a closing connection may take to drain before it is cut. Ours.
pub const LINGER_MS: u64 = 5_000;
/// Sockets that have not authenticated, in all. Ours: 512 idle ones cost about 1 MB.
pub const PREAUTH_SOCKETS_MAX: usize = 512;
/// How many of those only loopback peers may use, so that a remote flood never locks the owner out. Ours.
pub const PREAUTH_LOOPBACK_RESERVE: usize = 64;
/// Descriptors kept for files (state, logs, jobs) when the socket ceiling is derived from RLIMIT_NOFILE. Reliability plan R4.
pub const FD_RESERVE: u64 = 32;
/// `tick` event interval; advertised as `policy.tickIntervalMs`. Reference: 30 s.
pub const TICK_MS: u64 = 30_000;
/// Close reasons are cut to this many UTF-8 bytes. Reference: 120.
pub const CLOSE_REASON_BYTES_MAX: usize = 120;

/// Wrong secrets of one peer in `AUTH_WINDOW_MS` before it is locked out. Latest: 10.
pub const AUTH_ATTEMPTS_MAX: u32 = 10;
/// Latest: 60 s.
pub const AUTH_WINDOW_MS: u64 = 60_000;
/// Latest: 5 minutes.
pub const AUTH_LOCKOUT_MS: u64 = 300_000;
/// Loopback peers without an Origin are never locked out; past the limit each refusal is held back this long. Ours.
pub const AUTH_SLOW_MS: u64 = 500;
/// Peers whose failures are remembered; the oldest is forgotten first. Ours: 64 bytes each.
pub const AUTH_PEERS_MAX: usize = 4096;
/// Clock skew allowed to a device signature. Reference: 10 minutes either way.
pub const SIGNATURE_SKEW_MS: i64 = 600_000;
/// A pending pairing request lives this long. Reference: 5 minutes.
pub const PAIRING_TTL_MS: i64 = 300_000;
/// Pending pairing requests kept; the oldest of the busiest address goes first. Ours.
pub const PAIRING_PENDING_MAX: usize = 64;
/// Paired devices. Ours: 400 bytes each, and a household has ten.
pub const PAIRED_MAX: usize = 512;
/// Signatures without a nonce remembered against replays. Ours: 72 bytes each; real clients send one only when this machine is too busy to challenge.
pub const OLD_SIGNATURES_MAX: usize = 256;
/// Characters of what a client says of itself (name, platform, version …). Ours: real ones stay under 80.
pub const IDENTITY_CHARS_MAX: usize = 256;
/// Scopes that a connection asks for. Ours: five mean anything.
pub const SCOPES_MAX: usize = 32;

/// Calls of nodes that wait for their results; more are answered `UNAVAILABLE`. Ours: each keeps its question, not what it carries.
pub const NODE_INVOKES_MAX: usize = 1_000;
/// `node.invoke` without a timeout. Reference: 30 s.
pub const NODE_INVOKE_MS: u64 = 30_000;
/// The longest wait for a node or for an approval, whatever a client asks for. Ours: a day.
pub const NODE_WAIT_MS_MAX: u64 = 86_400_000;
/// Capabilities, commands or permissions that one node declares; more are not looked at. Ours: real ones have under 30.
pub const NODE_NAMES_MAX: usize = 128;
/// One text that a node says of itself. Ours.
pub const NODE_TEXT_BYTES_MAX: usize = 1024;
/// Nodes kept as paired; further ones are refused until one goes. Ours.
pub const NODES_PAIRED_MAX: usize = 1024;
/// How old the note of a node's last connection may be before it is written anew. Ours: a node that flaps must not wear out a card.
pub const NODE_SEEN_MS: i64 = 60_000;
/// Sessions that one node listens to. Ours.
pub const NODE_SUBSCRIPTIONS_MAX: usize = 64;
/// What a node's user says at once, in characters. Reference: 20,000.
pub const NODE_MESSAGE_CHARS_MAX: usize = 20_000;
/// The end of a node's output that goes into a system event, in characters. Ours.
pub const NODE_OUTPUT_CHARS_MAX: usize = 2_000;
/// Approvals that wait for a person, and as many that were given and not yet used. Ours.
pub const APPROVALS_MAX: usize = 256;
/// An approval without a timeout. Reference: 120 s.
pub const APPROVAL_MS: u64 = 120_000;
/// How long a given approval may be used. Ours: its client does so at once.
pub const APPROVAL_USE_MS: u64 = 120_000;
/// A command that a person is asked about: more than that nobody reads. Ours.
pub const APPROVAL_BYTES_MAX: usize = 64 * 1024;

/// Presence entries kept. Reference: 200.
pub const PRESENCE_MAX: usize = 200;
/// Roles, and scopes, that one presence entry gathers. Ours: there are two roles and five scopes.
pub const PRESENCE_NAMES_MAX: usize = 32;
/// A presence entry lives this long after its `ts`. Reference: 5 minutes.
pub const PRESENCE_TTL_MS: i64 = 300_000;
/// A cached health snapshot older than this is refreshed while clients are connected. Reference: 60 s.
pub const HEALTH_REFRESH_MS: u64 = 60_000;
/// No two refreshes start closer than this, however often `health` is called. Ours.
pub const HEALTH_REFRESH_MIN_MS: u64 = 1_000;
/// Queued system events of a session; the oldest goes first. Reference: 20.
pub const SYSTEM_EVENTS_MAX: usize = 20;
/// Of all sessions together; the oldest goes first. Ours: nodes name sessions.
pub const SYSTEM_EVENTS_ALL_MAX: usize = 400;
/// Text of a system event, presence field or wake, in bytes. Ours: a frame may be far larger than what is worth keeping.
pub const EVENT_TEXT_BYTES_MAX: usize = 4096;
/// Wake words: at most 32 of 64 characters. Reference.
pub const WAKE_WORDS_MAX: usize = 32;
/// See [`WAKE_WORDS_MAX`].
pub const WAKE_WORD_CHARS_MAX: usize = 64;
/// Bad frames or refused calls a connection may make in `ERROR_WINDOW_MS` before it is closed. Ours (security plan 1.2).
pub const ERRORS_MAX: u32 = 1_000;
/// See [`ERRORS_MAX`].
pub const ERROR_WINDOW_MS: u64 = 10_000;

/// The configuration file. Ours: the largest seen is 250 KB.
pub const CONFIG_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// The audit log of the configuration before it is put aside; one older is kept. Ours: some 3,000 changes.
pub const AUDIT_BYTES_MAX: u64 = 1024 * 1024;
/// Files that include each other in a row. Reference: 10.
pub const INCLUDE_DEPTH_MAX: usize = 10;
/// Inclusions in all, so that files which include others twice cannot multiply without end. Ours.
pub const INCLUDES_MAX: usize = 100;
/// The `.env` file of the state folder. Ours.
pub const DOTENV_BYTES_MAX: u64 = 64 * 1024;
/// Mistakes of a configuration that are told, of each kind: a person fixes a few and looks again. Ours.
pub const ISSUES_MAX: usize = 100;
/// The configuration file must lie still this long before it is read again, besides `gateway.reload.debounceMs`. Reference: 200 ms.
pub const CONFIG_STABLE_MS: u64 = 200;
/// Between two restarts of one process. Reliability plan R13: 30 s.
pub const RESTART_COOLDOWN_MS: u64 = 30_000;
/// Before a restart that a client asked for, when it does not say. Reference: 2 s, at most a minute.
pub const RESTART_DELAY_MS: u64 = 2_000;
/// See [`RESTART_DELAY_MS`].
pub const RESTART_DELAY_MS_MAX: u64 = 60_000;
/// Configuration writes of one client in `CONFIG_WRITES_WINDOW_MS`. Latest: 3 a minute.
pub const CONFIG_WRITES_MAX: usize = 3;
/// See [`CONFIG_WRITES_MAX`].
pub const CONFIG_WRITES_WINDOW_MS: u64 = 60_000;
/// A state file (sessions.json, jobs.json, paired.json). Ours.
pub const STATE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// A workspace file read or written by `agents.files.*`. Ours: a frame cannot carry more.
pub const WORKSPACE_FILE_BYTES_MAX: u64 = FRAME_BYTES_MAX as u64;
/// One transcript read for usage totals. Ours.
pub const TRANSCRIPT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// One line of a transcript or journal. Ours: the largest image a client may attach (5 MB, reference) in base64, several times.
pub const LINE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long a changed session index may wait to be written, so that a run costs one write (SD cards). Ours.
pub const INDEX_WRITE_MS: u64 = 2_000;
/// How long after a failed write of it. Ours: a full disk is no reason to spin.
pub const INDEX_RETRY_MS: u64 = 5_000;
/// Transcripts that come back when a session index is broken, newest first. Ours.
pub const RECOVERED_MAX: usize = 100;
/// The messages of one `chat.history` answer, as JSON. Reference: 6 MiB.
pub const HISTORY_BYTES_MAX: usize = 6 * 1024 * 1024;
/// A session's key. Latest: 512.
pub const SESSION_KEY_BYTES_MAX: usize = 512;
/// Keys that one `sessions.preview` looks at; those behind them are left out. Reference: 64.
pub const PREVIEW_KEYS_MAX: usize = 64;
/// Messages that one `sessions.preview` shows of a session. Reference: 50.
pub const PREVIEW_ITEMS_MAX: usize = 50;
/// How long an answer is remembered by its idempotency key. Reference: 5 minutes.
pub const DEDUPE_TTL_MS: i64 = 300_000;
/// Answers remembered; the oldest goes first. Reference: 1000.
pub const DEDUPE_MAX: usize = 1000;
/// The journal of accepted messages is rewritten when it is twice what it was, and at least twice this. Ours.
pub const ACCEPTED_BYTES_MIN: u64 = 64 * 1024;
/// A log file before it is rotated; five are kept. Reliability plan R20.
pub const LOG_FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// Log files kept.
pub const LOG_FILES_MAX: usize = 5;
/// Log lines a second from one call site. Reliability plan R20.
pub const LOG_SITE_LINES_MAX: u32 = 10;
/// One log message, in bytes. Ours.
pub const LOG_LINE_BYTES_MAX: usize = 2048;
/// Lines waiting for the log thread; more are counted and dropped. Ours.
pub const LOG_QUEUE_MAX: usize = 1024;

/// A call that took this long is logged without `--verbose` too. Ours: a person begins to notice.
pub const SLOW_CALL_MS: u64 = 50;
/// Worker threads for jobs. Ours: disk and child processes, never long.
pub const WORKERS: usize = 2;
/// Calls whose answer a worker is making or waits to; more are answered `UNAVAILABLE`. Ours.
pub const JOBS_MAX: usize = 256;
/// Jobs in the queue of the workers; what has no room waits with the core, whose askers have limits of their own.
pub const JOB_QUEUE_MAX: usize = JOBS_MAX + 64;
/// Batches between the net and the core thread, each way. Ours.
pub const MAILBOX_BATCHES_MAX: usize = 64;
/// Inputs handled in a batch before its effects travel back. Ours: keeps latency flat under a burst.
pub const BATCH_INPUTS_MAX: usize = 256;
/// Stack of every thread we start. Ours: measured use is under 64 KiB; committed lazily.
pub const THREAD_STACK_BYTES: usize = 512 * 1024;
/// Connections accepted in one turn of the loop, so that a flood leaves time for those who are in. Ours.
pub const ACCEPTS_A_TURN: usize = 64;
/// Bytes read from one connection in one turn. Ours: half a frame.
pub const READ_BYTES_A_TURN: usize = 256 * 1024;
/// How long a stopping gateway waits for its last bytes to leave. Ours: well under the second that a stop may take.
pub const STOP_FLUSH_MS: u64 = 500;

/// How often it is looked whether somebody who has sent his last byte still waits for the answer. Ours: most answers come sooner.
pub const EOF_PROBE_MS: u64 = 2_000;
/// A picture of an agent. Ours: one of 4 megapixels fits.
pub const AVATAR_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How long the text of a PDF may take to read. Ours: whoever sent it waits for as long, and so does a worker.
pub const PDF_TIMEOUT_MS: u64 = 10_000;
/// The most of its text that is kept, before `files.maxChars` cuts it. Ours: four bytes for each of 200,000 characters.
pub const PDF_TEXT_BYTES_MAX: usize = 800_000;
/// What is kept of what went wrong with it. Ours: a line or two.
pub const PDF_ERROR_BYTES_MAX: usize = 1024;
/// Answers at a time that have a thread each: tool calls over HTTP, and what asks somebody else. Ours.
pub const ANSWER_THREADS_MAX: usize = 8;
/// The body of such a call. Reference: 2 MiB.
pub const TOOL_BODY_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// Wrong webhook tokens of one peer in `AUTH_WINDOW_MS` before it is locked out. Latest: 20.
pub const HOOK_ATTEMPTS_MAX: u32 = 20;
/// How long. Latest: a minute.
pub const HOOK_LOCKOUT_MS: u64 = 60_000;
/// The name of a webhook, in characters. Ours: it stands in front of a line.
pub const HOOK_NAME_CHARS_MAX: usize = 80;
/// An idempotency key of a webhook. Latest: 256.
pub const HOOK_KEY_BYTES_MAX: usize = 256;
/// What the main session is told of a run that it did not make, in characters. Reference: 2000.
pub const SUMMARY_CHARS_MAX: usize = 2_000;
/// The body of a webhook. Reference: 256 KiB.
pub const HOOK_BODY_BYTES_MAX: u64 = 256 * 1024;
/// The most that `hooks.maxBodyBytes` may make of it. Ours: it is held in memory.
pub const HOOK_BODY_BYTES_CAP: u64 = 16 * 1024 * 1024;

/// A file of certificates or with a key. Ours: all the roots that browsers trust take 250 KB.
pub const PEM_BYTES_MAX: u64 = 1024 * 1024;

/// `tailscale whois`, for somebody who waits in the handshake. Ours: half of its time.
pub const WHOIS_MS: u64 = 5_000;
/// How long its answer holds. Ours: reconnects cost nothing, and a changed owner is noticed within a minute.
pub const WHOIS_TTL_MS: u64 = 60_000;
/// How long it is not asked again about an address that it does not know. Ours.
pub const WHOIS_MISS_TTL_MS: u64 = 5_000;
/// Addresses it has answered for. Ours.
pub const WHOIS_KEPT_MAX: usize = 256;
/// Connections that wait for its answer; more are treated as if they had claimed nothing. Ours.
pub const WHOIS_WAITING_MAX: usize = 64;
/// `tailscale serve`, `funnel`, `status`. Ours: the daemon may have to fetch a certificate first.
pub const TAILSCALE_MS: u64 = 30_000;
/// `tailscale serve reset` while the gateway stops. Ours.
pub const TAILSCALE_RESET_MS: u64 = 5_000;

/// Name look-up, and TCP connect with TLS, of a model server; each. Ours: a Pi on slow Wi-Fi needs 3 s.
pub const MODEL_CONNECT_MS: u64 = 15_000;
/// From the request to the answer's head. Reliability plan R15.
pub const MODEL_FIRST_BYTE_MS: u64 = 60_000;
/// Silence in the middle of an answer. Reliability plan R15.
pub const MODEL_IDLE_MS: u64 = 120_000;
/// One model call in all, when the run has no shorter limit. Reference: 10 minutes a run.
pub const MODEL_TOTAL_MS: u64 = 600_000;
/// One line of a model's stream. Ours: the longest real one repeats a whole answer.
pub const MODEL_LINE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// One answer of a model, framing included. Ours: 100,000 tokens, 300 bytes of framing each.
pub const MODEL_ANSWER_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// The body of a refusal that is read for its reason. Ours.
pub const MODEL_REFUSAL_BYTES_MAX: u64 = 64 * 1024;
/// A model server's own words in an error, in characters. Ours: a chat error event carries 240 in the reference.
pub const MODEL_REASON_CHARS_MAX: usize = 300;
/// Tool calls in one answer. Ours: real ones stay under 20.
pub const MODEL_TOOL_CALLS_MAX: usize = 128;
/// Runs at a time whatever the configuration says; each has a thread. Ours.
pub const RUNS_MAX: usize = 128;
/// Runs that are under way or wait, in all sessions; each holds its message. Ours.
pub const RUNS_WAITING_MAX: usize = 256;
/// The longest a run may take, whatever a client asks for. Ours: a day.
pub const RUN_TIMEOUT_MS_MAX: u64 = 86_400_000;
/// How often a run is begun again after the process ended in the middle of it. Ours: a message that kills the gateway does so each time.
pub const RUN_LIVES_MAX: u32 = 3;
/// `agent.wait` without a timeout. Reference: 30 s.
pub const RUN_WAIT_MS: u64 = 30_000;
/// How long the end of a run is remembered for `agent.wait`. Reference: 10 minutes.
pub const RUN_WAIT_TTL_MS: u64 = 600_000;
/// Calls of `agent.wait` that wait at a time. Ours.
pub const RUN_WAITS_MAX: usize = 256;
/// How long `sessions.delete` waits for the runs that it ends. Reference: 15 s.
pub const SESSION_IDLE_WAIT_MS: u64 = 15_000;
/// What a stop may take in all: [`DRAIN_MS`], [`STOP_FLUSH_MS`], and room for a slow disk. The supervisor is told (demand row 12).
pub const STOP_MS: u64 = DRAIN_MS + STOP_FLUSH_MS + 15_000;
/// How long a stopping gateway waits for what is being answered. Ours: well below the 90 s that systemd gives a service to stop.
pub const DRAIN_MS: u64 = 30_000;
/// Between two `chat` deltas of a run. Reference: 150 ms.
pub const CHAT_DELTA_MS: u64 = 150;
/// A message up to this long is told delta by delta in `agent` events, as the reference does with all of them.
pub const TEXT_FREE_BYTES: usize = 8 * 1024;
/// What the `agent` events of a longer one may take of a client's line, about: a text of 64 KiB is told 18 times a second.
pub const TEXT_PACE_BYTES_A_MS: usize = 1024;
/// Characters of a chat event's error. Reference: 240.
pub const ERROR_CHARS_MAX: usize = 240;
/// A body of `/v1/chat/completions`. Reference: 1 MiB.
pub const CHAT_BODY_BYTES_MAX: u64 = 1024 * 1024;
/// A body that is read on the core's thread. Ours: reading it takes less than handing it over twice.
pub const HTTP_BODY_BYTES_SMALL: usize = 16 * 1024;
/// Pictures and files that one HTTP request names by URLs. Latest: 8.
pub const HTTP_URLS_MAX: usize = 8;
/// Pixels of a picture over HTTP. Ours: a phone's have 50 million at most; model servers unpack them.
pub const IMAGE_PIXELS_MAX: u64 = 64_000_000;
/// One attached image, decoded. Reference: 5,000,000 bytes.
pub const ATTACHMENT_BYTES_MAX: usize = 5_000_000;
/// Answers with tool calls in one run, so that a model that only calls tools comes to an end. Ours.
pub const RUN_TURNS_MAX: usize = 200;
/// Name look-ups that may hang at one time; each holds a thread. Ours.
pub const LOOKUPS_MAX: usize = 16;
/// Calls repeated after a passing failure, on the same model. Ours.
pub const MODEL_RETRIES_MAX: u32 = 2;
/// Before the first repetition; four times as long before the second. Ours.
pub const MODEL_RETRY_MS: u64 = 500;
/// The longest wait a server may ask for while the person waits too. Ours.
pub const MODEL_RETRY_WAIT_MS_MAX: u64 = 10_000;
/// The first rest of a key that was refused; five times as long at each failure. Reference's documentation: 1 minute.
pub const KEY_REST_MS: i64 = 60_000;
/// See [`KEY_REST_MS`]. Reference's documentation: 1 hour.
pub const KEY_REST_MS_MAX: i64 = 3_600_000;
/// The first rest of a key without credit, in hours; twice as long at each failure. Reference's documentation: 5.
pub const BILLING_REST_HOURS: f64 = 5.0;
/// See [`BILLING_REST_HOURS`]. Reference's documentation: 24.
pub const BILLING_REST_HOURS_MAX: f64 = 24.0;
/// A key without failure for so long starts afresh. Reference's documentation: 24.
pub const FAILURE_WINDOW_HOURS: f64 = 24.0;

/// One text that is read aloud, in UTF-16 units. Reference: 4096.
pub const SPEECH_CHARS_MAX: usize = 4096;
/// One request to a service that reads aloud. Reference: 30 s.
pub const SPEECH_MS: u64 = 30_000;
/// How long what was read aloud stays on disk. Reference: 5 minutes.
pub const SPEECH_KEPT_MS: i64 = 300_000;
/// How many of them stay at most. Ours: some 10 MB of speech.
pub const SPEECHES_KEPT_MAX: usize = 64;

/// What one tool call tells the model, in bytes. Reference: 50 KiB for `read`; its `exec` keeps 200,000 characters.
pub const TOOL_TEXT_BYTES_MAX: usize = 50 * 1024;
/// How much of that is the beginning of a command's output, when its middle is left out. Ours: errors stand at the end.
pub const EXEC_HEAD_BYTES: usize = 10 * 1024;
/// A path in a tool call. Linux: PATH_MAX; what is deeper can be made a folder at a time, and hardly be removed again.
pub const TOOL_PATH_BYTES_MAX: usize = 4096;
/// The text of a tool result in an event, in characters. Reference: 8000.
pub const TOOL_EVENT_CHARS_MAX: usize = 8000;
/// One line that says what a call does, in characters. Ours.
pub const TOOL_META_CHARS_MAX: usize = 200;
/// The end of a running command's output that an update carries, in characters. Reference: 2000.
pub const EXEC_TAIL_CHARS: usize = 2000;
/// Between two updates of a running command. Ours: what chat deltas use (reference: one for every piece of output).
pub const EXEC_UPDATE_MS: u64 = 150;
/// A command may run so long when neither the call nor `tools.exec.timeoutSec` says. Reference: 1800 s.
pub const EXEC_TIMEOUT_S: u64 = 1800;
/// The longest a call may ask for. Ours: a day; a run ends much earlier.
pub const EXEC_TIMEOUT_S_MAX: u64 = 86_400;
/// From SIGTERM to SIGKILL. Ours: enough to remove a lock file, short enough for a person who pressed stop.
pub const EXEC_KILL_MS: u64 = 1_000;
/// How long output is still read once the command itself has ended, while something holds its pipe. Ours.
pub const EXEC_DRAIN_MS: u64 = 100;
/// Lines that `read` shows at once. Reference: 2000.
pub const READ_LINES_MAX: usize = 2000;
/// A file that `read` goes through, as a stream. Ours: longer ones are for grep and tail.
pub const READ_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// A picture that `read` gives to the model. Reference: what a client may attach.
pub const READ_IMAGE_BYTES_MAX: u64 = 5_000_000;
/// A file that `edit` changes or `write` makes. Ours: it is held in memory, twice.
pub const EDIT_FILE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// A compiled time zone file. Ours: the largest of the system has 4 KB, the fat form some 10.
pub const ZONE_BYTES_MAX: u64 = 64 * 1024;

/// How long the set-up waits for a model or a bot to show that it works. Ours: a person sits there.
pub const WIZARD_TRIAL_MS: u64 = 30_000;
/// After so long without an answer a set-up makes room for another. Ours.
pub const WIZARD_IDLE_MS: u64 = 1_800_000;
/// A token that other machines may guess at has so many characters. Ours: 64 bits and more, even of hexadecimal digits.
pub const TOKEN_CHARS_MIN: usize = 16;
/// Free space below which the doctor warns. Ours: a busy week of logs and transcripts.
pub const DISK_FREE_BYTES_LOW: u64 = 200 * 1024 * 1024;
/// Free space below which a gateway is not ready. Ours: a message and its answer must fit.
pub const DISK_FREE_BYTES_READY: u64 = 1024 * 1024;
/// Free space below which it calls the disk full. Ours.
pub const DISK_FREE_BYTES_MIN: u64 = 16 * 1024 * 1024;

/// Commands that a node runs at a time; others wait. Ours.
pub const NODE_RUNS_MAX: usize = 8;
/// Calls that wait at a node; more are answered `UNAVAILABLE`. Ours.
pub const NODE_QUEUE_MAX: usize = 256;
/// Output of one command on a node, both kinds together; the rest is left out. Reference: 200,000.
pub const NODE_OUTPUT_BYTES_MAX: usize = 200_000;
/// The end of a command's output in the event that tells of it, in characters. Reference: 20,000.
pub const NODE_EVENT_CHARS_MAX: usize = 20_000;
/// Before the first new attempt to reach the gateway; twice as long at each failure. Reference: 1 s.
pub const NODE_RETRY_MS: u64 = 1_000;
/// See [`NODE_RETRY_MS`]. Reference: 30 s.
pub const NODE_RETRY_MS_MAX: u64 = 30_000;

/// One answer of the Bot API. Ours: a hundred updates take some 300 KB.
pub const TELEGRAM_ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Name look-up, and TCP connect with TLS, of the Bot API; each. Ours: a Pi on slow Wi-Fi needs 3 s.
pub const TELEGRAM_CONNECT_MS: u64 = 15_000;
/// How long a connection waits for the next call. Ours: a server that closes an idle one does so later.
pub const TELEGRAM_KEEP_ALIVE_MS: u64 = 15_000;
/// How long the Bot API holds a poll. Ours: home routers forget a silent connection after a minute at the earliest.
pub const TELEGRAM_POLL_S: u64 = 30;
/// A poll's answer is awaited this much longer. Reliability plan R16: 10 s.
pub const TELEGRAM_POLL_GRACE_MS: u64 = 10_000;
/// Updates of one poll. Bot API: 100. Ours: each waits in memory until it is durable.
pub const TELEGRAM_UPDATES_MAX: u64 = 50;
/// One call that sends something. Ours.
pub const TELEGRAM_CALL_MS: u64 = 30_000;
/// One call that moves a file. Ours: 20 MB over a slow line.
pub const TELEGRAM_FILE_MS: u64 = 120_000;
/// Before the next attempt after a failed poll, twice as long each time. Reliability plan R16.
pub const TELEGRAM_RETRY_MS: u64 = 1_000;
/// See [`TELEGRAM_RETRY_MS`].
pub const TELEGRAM_RETRY_MS_MAX: u64 = 30_000;
/// Before updates that found no room are offered again. Ours.
pub const TELEGRAM_FULL_MS: u64 = 500;
/// A message's text, in UTF-16 units. Bot API.
pub const TELEGRAM_TEXT_MAX: usize = 4096;
/// A caption, in UTF-16 units. Bot API.
pub const TELEGRAM_CAPTION_MAX: usize = 1024;
/// The typing sign is shown 5 s. Bot API.
pub const TELEGRAM_TYPING_MS: u64 = 4_000;
/// The typing sign of a run of which nothing is heard. Ours: some tools take that long.
pub const TELEGRAM_LOST_MS: u64 = 1_800_000;
/// Between two steps of a text that is shown while it is made. Ours: the Bot API takes one message a second in a chat.
pub const TELEGRAM_DRAFT_MS: u64 = 1_000;
/// Messages behind the last known one among which a lost answer is looked for. Ours.
pub const TELEGRAM_SEARCH_MIN: i64 = 64;
/// The same, when so many were seen since. Ours: at the rate of the Bot API half a minute.
pub const TELEGRAM_SEARCH_MAX: i64 = 1_000;
/// Before a message that may be there is looked for. Ours: the Bot API carries out a call within a second, also one whose caller is gone.
pub const TELEGRAM_SETTLE_MS: u64 = 2_000;
/// How long answers of the last life wait until it is known what else has happened meanwhile. Ours.
pub const TELEGRAM_BEHIND_MS: u64 = 10_000;
/// The longest that the Bot API may ask to wait, in seconds. Reliability plan R16.
pub const TELEGRAM_FLOOD_S_MAX: u64 = 3_600;
/// The stack of a channel's threads. Ours: measured use is under 64 KiB.
pub const CHANNEL_STACK_BYTES: usize = 256 * 1024;
/// Orders that wait for a channel's thread. Ours.
pub const CHANNEL_ORDERS_MAX: usize = 256;
/// Accounts of one channel. Ours: each has two threads.
pub const CHANNEL_ACCOUNTS_MAX: usize = 16;
/// Chats whose words are kept until somebody addresses the bot; the one silent for longest goes first. Ours.
pub const OVERHEARD_CHATS_MAX: usize = 256;
/// Words of one such message, in characters. Ours.
pub const OVERHEARD_CHARS_MAX: usize = 1_000;
/// Messages of a group that are kept for context. Reference: 50.
pub const OVERHEARD_MAX: usize = 50;
/// Deliveries that are over and remembered, so that none is made twice. Ours.
pub const DELIVERIES_ENDED_MAX: usize = 1_000;
/// How long an answer may wait to be sent. Ours: a day; later nobody knows what it answers.
pub const DELIVERY_TTL_MS: i64 = 86_400_000;
/// People who wait to be let in on one channel. Reference: 3.
pub const SENDER_PAIRING_MAX: usize = 3;
/// How long their codes hold. Reference: 1 hour.
pub const SENDER_PAIRING_TTL_MS: i64 = 3_600_000;
/// A file from a channel where the configuration does not say. Reference: 5 MB.
pub const CHANNEL_MEDIA_MB: u64 = 5;
/// `channels.status` with `probe`, for each network. Reference: 10 s unless asked otherwise, at least 1 s.
pub const PROBE_MS: u64 = 10_000;
/// See [`PROBE_MS`].
pub const PROBE_MS_MIN: u64 = 1_000;
/// How long a source's numbers count. Bot API: after a week without updates they may begin anew. A day less.
pub const MARK_TTL_MS: i64 = 6 * 86_400_000;
/// Between two looks at a text under way that a channel gets. Ours.
pub const DRAFT_MS: u64 = 500;
/// One call of Telegram's, head and body. Security plan 1.4: 5 s.
pub const TELEGRAM_HOOK_MS: u64 = 5_000;
/// Its body. Security plan 1.4: 1 MB.
pub const TELEGRAM_HOOK_BYTES_MAX: usize = 1024 * 1024;
/// Messages of ours that are remembered, to know whose a reaction is. Ours.
pub const TELEGRAM_OWN_MAX: usize = 1_000;
/// Chats that one broadcast of an agent goes to. Ours: they are written to one after the other.
pub const BROADCAST_TARGETS_MAX: usize = 50;
/// A page of the canvas that gets the live-reload script; a larger one is served as it is. Ours: written by hand, or by a model.
pub const CANVAS_PAGE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// A file of the canvas that is answered in one go; a larger one comes in pieces of this size. Ours: what a slow client may hold.
pub const CANVAS_PIECE_BYTES: u64 = 256 * 1024;
/// Files of the canvas that are on their way in pieces. Ours: 4 MiB in all.
pub const CANVAS_DOWNLOADS_MAX: usize = 16;
/// Pages that wait for the canvas to change; one more takes the place of the oldest. Ours.
pub const CANVAS_LISTENERS_MAX: usize = 64;
/// Folders of the canvas that are watched; changes in others are not seen. Ours: the system's default for a user is 8192.
pub const CANVAS_FOLDERS_MAX: usize = 512;
/// How long the canvas must lie still before its pages load again. Reference: 75 ms.
pub const CANVAS_STILL_MS: u64 = 75;
/// The longest that a canvas which never lies still keeps its pages waiting. Ours.
pub const CANVAS_STILL_MS_MAX: u64 = 1_000;
/// One mention pattern, in characters. Ours: a name in every spelling is shorter.
pub const MENTION_PATTERN_CHARS_MAX: usize = 500;
/// Mention patterns in one list. Ours.
pub const MENTION_PATTERNS_MAX: usize = 64;
/// A compiled mention pattern. Ours: what is longer takes a text of 4,096 characters a second.
pub const MENTION_PATTERN_BYTES: usize = 64 * 1024;
/// Groups that a status asks about. Ours: one call each.
pub const TELEGRAM_AUDIT_MAX: usize = 50;
