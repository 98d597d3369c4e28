// OpenAI's own client for Node against a gateway: 25 checks. Usage: checks.mjs BASE_URL TOKEN AGENT (parrot or stub).
import assert from "node:assert/strict";
import { deflateSync, crc32 } from "node:zlib";
import OpenAI from "openai";

const [baseURL, apiKey, agent] = process.argv.slice(2);
const model = `openclaw/${agent}`;
const options = { baseURL, apiKey, maxRetries: 0, timeout: 60_000 };
const client = new OpenAI(options);
const look = { name: "look", description: "Looks.", parameters: { type: "object", properties: { at: { type: "string" } } } };
const LOOK = { type: "function", function: look };
const FLAT = { type: "function", ...look, strict: false };
const CALL = 'call look {"at":"sky"}';
const SLOW = 'call exec {"command":"sleep 30"}';
const mark = `${Date.now()}`;

const user = (content) => [{ role: "user", content }];
const chat = (text, more = {}, options) => client.chat.completions.create({ model, messages: user(text), ...more }, options);
const said = (it) => it.choices[0].message.content;
// What a model says to `text` behind an earlier answer.
const second = (text) => (agent === "parrot" ? `You said: ${text}` : `Answer 2 to: ${text}`);
const all = async (stream) => { const out = []; for await (const it of stream) out.push(it); return out; };
const inTime = async (work) => {
  const begun = Date.now();
  await work();
  assert.ok(Date.now() - begun < 15_000, "the run went on");
};

function png() {
  const number = (n) => { const out = Buffer.alloc(4); out.writeUInt32BE(n); return out; };
  const crc = crc32 ?? ((it) => { // Node before 20.15 has none.
    let sum = ~0;
    for (const byte of it) { sum ^= byte; for (let n = 0; n < 8; n += 1) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0); }
    return ~sum >>> 0;
  });
  const chunk = (name, data) => { const it = Buffer.concat([Buffer.from(name), data]); return Buffer.concat([number(data.length), it, number(crc(it))]); };
  const head = Buffer.concat([number(1), number(1), Buffer.from([8, 2, 0, 0, 0])]);
  return Buffer.concat([Buffer.from("\x89PNG\r\n\x1a\n", "latin1"), chunk("IHDR", head), chunk("IDAT", deflateSync(Buffer.from([0, 255, 0, 0]))), chunk("IEND", Buffer.alloc(0))]);
}

const checks = {
  async "models are listed"() {
    const ids = (await all(client.models.list())).map((it) => it.id);
    for (const it of ["openclaw", "openclaw/default", model]) assert.ok(ids.includes(it), ids);
  },
  async "a model is found"() {
    assert.equal((await client.models.retrieve(model)).owned_by, "openclaw");
  },
  async "an unknown model is not"() {
    await assert.rejects(client.models.retrieve("gpt-1"), OpenAI.NotFoundError);
  },
  async "a wrong key is refused"() {
    const stranger = new OpenAI({ ...options, apiKey: "wrong" });
    await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
    await assert.rejects(stranger.responses.create({ model, input: "hi" }), OpenAI.AuthenticationError);
  },
  async "a completion"() {
    const it = await chat("good morning");
    assert.ok(said(it).endsWith("good morning"));
    assert.deepEqual([it.choices[0].finish_reason, it.choices[0].message.role, it.model, it.object], ["stop", "assistant", model, "chat.completion"]);
  },
  async "a completion says what it cost"() {
    const { usage } = await chat("good morning");
    assert.ok(usage.prompt_tokens > 0 && usage.completion_tokens > 0);
    assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
  },
  async "system and developer messages"() {
    const messages = [{ role: "system", content: "Be short." }, { role: "developer", content: "Be kind." }, ...user("well")];
    assert.ok(said(await client.chat.completions.create({ model, messages })).endsWith("well"));
  },
  async "history is told"() {
    const messages = [...user("one"), { role: "assistant", content: "1" }, ...user("two")];
    assert.equal(said(await client.chat.completions.create({ model, messages })), second("two"));
  },
  async "a user has a session"() {
    await chat("one", { user: `nan${mark}` });
    assert.equal(said(await chat("two", { user: `nan${mark}` })), second("two"));
  },
  async "an image"() {
    const image = (it) => [{ type: "text", text: "what is this" }, { type: "image_url", image_url: { url: `data:image/png;base64,${it}` } }];
    const it = await client.chat.completions.create({ model, messages: user(image(png().toString("base64"))) });
    assert.ok(agent !== "parrot" || said(it).includes("I see 1 image(s)"));
    await assert.rejects(client.chat.completions.create({ model, messages: user(image("aGVsbG8=")) }), OpenAI.BadRequestError);
  },
  async "a stream"() {
    const chunks = await all(await chat("a few words more", { stream: true }));
    const words = chunks.map((it) => it.choices[0].delta.content ?? "");
    assert.ok(words.join("").endsWith("a few words more") && words.filter(Boolean).length > 2);
    assert.deepEqual(chunks.slice(-2).map((it) => it.choices[0].finish_reason), [null, "stop"]);
    assert.deepEqual([chunks[0].choices[0].delta.role, new Set(chunks.map((it) => it.id)).size], ["assistant", 1]);
  },
  async "a stream says what it cost"() {
    const last = (await all(await chat("hi", { stream: true, stream_options: { include_usage: true } }))).at(-1);
    assert.ok(last.choices.length === 0 && last.usage.completion_tokens > 0 && last.usage.prompt_tokens > 0);
  },
  async "the stream helper"() {
    const stream = client.chat.completions.stream({ model, messages: user("helped") });
    let deltas = 0;
    stream.on("content", () => { deltas += 1; });
    const whole = await stream.finalChatCompletion();
    assert.ok(deltas > 0 && said(whole).endsWith("helped") && whole.choices[0].finish_reason === "stop");
  },
  async "a tool is called"() {
    const { finish_reason, message } = (await chat(CALL, { tools: [LOOK] })).choices[0];
    assert.deepEqual([finish_reason, message.content, message.tool_calls[0].function.name], ["tool_calls", null, "look"]);
    assert.deepEqual(JSON.parse(message.tool_calls[0].function.arguments), { at: "sky" });
  },
  async "tools there and back"() {
    const messages = user(CALL);
    const { message } = (await client.chat.completions.create({ model, messages, tools: [LOOK] })).choices[0];
    messages.push(message, { role: "tool", tool_call_id: message.tool_calls[0].id, content: "it is blue" });
    const after = (await client.chat.completions.create({ model, messages, tools: [LOOK] })).choices[0];
    assert.ok(after.finish_reason === "stop" && after.message.content.trim().endsWith("it is blue"), after.message.content);
  },
  async "the tool runner"() {
    const told = [];
    const run = (args) => { told.push(args); return "it is blue"; };
    const tool = { type: "function", function: { ...look, parse: JSON.parse, function: run } };
    const runner = client.chat.completions.runTools({ model, messages: user(CALL), tools: [tool] });
    assert.ok((await runner.finalContent()).trim().endsWith("it is blue"));
    assert.deepEqual(told, [{ at: "sky" }]);
  },
  async "a streamed tool call"() {
    const stream = client.chat.completions.stream({ model, messages: user(CALL), tools: [LOOK] });
    const { finish_reason, message } = (await stream.finalChatCompletion()).choices[0];
    assert.deepEqual([finish_reason, JSON.parse(message.tool_calls[0].function.arguments)], ["tool_calls", { at: "sky" }]);
  },
  async "a bad request"() {
    const err = await client.chat.completions.create({ model, messages: [] }).catch((it) => it);
    assert.ok(err instanceof OpenAI.BadRequestError && err.message.includes("Missing user message"), err);
    assert.equal(err.type, "invalid_request_error");
    await assert.rejects(chat("hi", { tool_choice: "required" }), /no tools were provided/);
  },
  async "a response"() {
    const it = await client.responses.create({ model, instructions: "Be short.", input: "good morning" });
    assert.ok(it.output_text.endsWith("good morning") && it.status === "completed");
    assert.equal(it.usage.total_tokens, it.usage.input_tokens + it.usage.output_tokens);
  },
  async "a streamed response"() {
    const events = await all(await client.responses.create({ model, input: "a few words", stream: true }));
    const deltas = events.filter((it) => it.type === "response.output_text.delta").map((it) => it.delta);
    const begin = ["created", "in_progress", "output_item.added", "content_part.added"];
    const end = ["output_text.done", "content_part.done", "output_item.done", "completed"];
    const kinds = [...begin, ...deltas.map(() => "output_text.delta"), ...end].map((it) => `response.${it}`);
    assert.deepEqual(events.map((it) => it.type), kinds);
    assert.deepEqual(events.map((it) => it.sequence_number), events.map((_, n) => n));
    assert.equal(deltas.join(""), events.at(-1).response.output[0].content[0].text);
    const whole = await client.responses.stream({ model, input: "helped" }).finalResponse();
    assert.ok(whole.output_text.endsWith("helped"));
  },
  async "response items"() {
    const input = [...user("one"), { role: "assistant", content: "1" }, ...user([{ type: "input_text", text: "two" }])];
    assert.equal((await client.responses.create({ model, input })).output_text, second("two"));
  },
  async "response tools, and what went before"() {
    const first = await client.responses.create({ model, input: CALL, tools: [FLAT] });
    const call = first.output.find((it) => it.type === "function_call");
    assert.deepEqual([call.name, JSON.parse(call.arguments)], ["look", { at: "sky" }]);
    const input = [{ type: "function_call_output", call_id: call.call_id, output: "it is blue" }];
    const after = await client.responses.create({ model, previous_response_id: first.id, input, tools: [FLAT] });
    assert.ok(after.output_text.trim().endsWith("it is blue"), after.output_text);
    // The same, told again with all that went before.
    const again = await client.responses.create({ model, input: [...user(CALL), ...first.output, ...input], tools: [FLAT] });
    assert.ok(again.output_text.trim().endsWith("it is blue"), again.output_text);
  },
  async "a bad response request"() {
    const err = await client.responses.create({ model, input: "hi", truncation: "zz" }).catch((it) => it);
    assert.ok(err instanceof OpenAI.BadRequestError && err.message.includes("truncation: Invalid option"), err);
  },
  async "a timeout stops the run"() {
    await assert.rejects(chat(SLOW, { user: `bob${mark}` }, { timeout: 1500 }), OpenAI.APIConnectionTimeoutError);
    // A session has one run at a time.
    await inTime(() => chat("well", { user: `bob${mark}` }));
  },
  async "a stream that is closed stops the run"() {
    const stream = await client.responses.create({ model, user: `eve${mark}`, input: SLOW, stream: true });
    for await (const it of stream) if (it.type === "response.in_progress") break;
    const abort = new AbortController();
    const waiting = chat(SLOW, { user: `mia${mark}` }, { signal: abort.signal });
    setTimeout(() => abort.abort(), 1000);
    await assert.rejects(waiting, OpenAI.APIUserAbortError);
    await inTime(() => client.responses.create({ model, user: `eve${mark}`, input: "well" }));
    await inTime(() => chat("well", { user: `mia${mark}` }));
  },
};

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  await check().catch((err) => {
    failed += 1;
    console.log(`FAILED ${name}: ${err.name}: ${String(err.message).slice(0, 600)}`);
  });
}
const count = Object.keys(checks).length;
console.log(`${count - failed} of ${count} checks passed: openai ${process.env.OPENAI_SDK ?? ""} for Node, ${model}`);
process.exit(failed > 0 ? 1 : 0);
