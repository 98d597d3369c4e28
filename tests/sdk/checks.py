"""OpenAI's own client for Python against a gateway: 25 checks. Usage: checks.py BASE_URL TOKEN AGENT (parrot or stub)."""
import asyncio
import base64
import json
import struct
import sys
import time
import zlib

import openai

base, token, agent = sys.argv[1:4]
model = f"openclaw/{agent}"
client = openai.OpenAI(base_url=base, api_key=token, max_retries=0, timeout=60)
LOOK = {"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object", "properties": {"at": {"type": "string"}}}}}
FLAT = {"type": "function", **LOOK["function"]}
CALL = 'call look {"at":"sky"}'
SLOW = 'call exec {"command":"sleep 30"}'
mark = str(time.time_ns())


def chat(text, **more):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **more)


def fails(kind, work):
    try:
        work()
    except kind as err:
        return err
    raise AssertionError(f"{kind.__name__} was expected")


def png():
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    pixels = zlib.compress(b"\0\xff\0\0")
    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def second(text):
    """What a model says to `text` behind an earlier answer."""
    return f"You said: {text}" if agent == "parrot" else f"Answer 2 to: {text}"


def models_are_listed():
    ids = [it.id for it in client.models.list()]
    assert {"openclaw", "openclaw/default", model} <= set(ids), ids


def a_model_is_found():
    assert client.models.retrieve(model).owned_by == "openclaw"


def an_unknown_model_is_not():
    assert fails(openai.NotFoundError, lambda: client.models.retrieve("gpt-1")).status_code == 404


def a_wrong_key_is_refused():
    stranger = client.with_options(api_key="wrong")
    assert fails(openai.AuthenticationError, lambda: stranger.models.list()).status_code == 401
    fails(openai.AuthenticationError, lambda: stranger.chat.completions.create(model=model, messages=[]))


def a_completion():
    it = chat("good morning")
    assert it.choices[0].message.content.endswith("good morning"), it
    assert (it.choices[0].finish_reason, it.choices[0].message.role, it.model) == ("stop", "assistant", model)
    assert it.id.startswith("chatcmpl") and abs(it.created - time.time()) < 60


def a_completion_says_what_it_cost():
    usage = chat("good morning").usage
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0, usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def system_and_developer_messages():
    messages = [{"role": "system", "content": "Be short."}, {"role": "developer", "content": "Be kind."}, {"role": "user", "content": "well"}]
    it = client.chat.completions.create(model=model, messages=messages)
    assert it.choices[0].message.content.endswith("well"), it


def history_is_told():
    messages = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "1"}, {"role": "user", "content": "two"}]
    it = client.chat.completions.create(model=model, messages=messages)
    assert it.choices[0].message.content == second("two"), it


def a_user_has_a_session():
    chat("one", user=f"ada{mark}")
    assert chat("two", user=f"ada{mark}").choices[0].message.content == second("two")


def an_image():
    url = "data:image/png;base64," + base64.b64encode(png()).decode()
    content = [{"type": "text", "text": "what is this"}, {"type": "image_url", "image_url": {"url": url}}]
    it = client.chat.completions.create(model=model, messages=[{"role": "user", "content": content}])
    assert agent != "parrot" or "I see 1 image(s)" in it.choices[0].message.content, it
    content[1]["image_url"]["url"] = "data:image/png;base64,aGVsbG8="
    fails(openai.BadRequestError, lambda: client.chat.completions.create(model=model, messages=[{"role": "user", "content": content}]))


def a_stream():
    chunks = list(chat("a few words more", stream=True))
    words = [it.choices[0].delta.content or "" for it in chunks]
    assert "".join(words).endswith("a few words more") and len([it for it in words if it]) > 2, words
    assert [it.choices[0].finish_reason for it in chunks][-2:] == [None, "stop"]
    assert chunks[0].choices[0].delta.role == "assistant" and len({it.id for it in chunks}) == 1


def a_stream_says_what_it_cost():
    last = list(chat("hi", stream=True, stream_options={"include_usage": True}))[-1]
    assert last.choices == [] and last.usage.completion_tokens > 0 and last.usage.prompt_tokens > 0, last


def the_stream_helper():
    with client.chat.completions.stream(model=model, messages=[{"role": "user", "content": "helped"}]) as stream:
        kinds = {it.type for it in stream}
        whole = stream.get_final_completion()
    assert "content.delta" in kinds and whole.choices[0].message.content.endswith("helped"), kinds
    assert whole.choices[0].finish_reason == "stop"


def a_tool_is_called():
    it = chat(CALL, tools=[LOOK]).choices[0]
    call = it.message.tool_calls[0]
    assert (it.finish_reason, call.function.name) == ("tool_calls", "look"), it
    assert json.loads(call.function.arguments) == {"at": "sky"} and it.message.content is None


def tools_there_and_back():
    messages = [{"role": "user", "content": CALL}]
    message = client.chat.completions.create(model=model, messages=messages, tools=[LOOK]).choices[0].message
    messages += [message, {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "it is blue"}]
    it = client.chat.completions.create(model=model, messages=messages, tools=[LOOK]).choices[0]
    assert it.finish_reason == "stop" and it.message.content.strip().endswith("it is blue"), it


def a_streamed_tool_call():
    with client.chat.completions.stream(model=model, messages=[{"role": "user", "content": CALL}], tools=[LOOK]) as stream:
        it = stream.get_final_completion().choices[0]
    assert it.finish_reason == "tool_calls" and it.message.tool_calls[0].function.name == "look", it
    assert json.loads(it.message.tool_calls[0].function.arguments) == {"at": "sky"}


def tool_choice():
    err = fails(openai.BadRequestError, lambda: chat("hi", tool_choice="required"))
    assert "no tools were provided" in err.message
    choice = {"type": "function", "function": {"name": "zz"}}
    assert "unknown tool: zz" in fails(openai.BadRequestError, lambda: chat("hi", tools=[LOOK], tool_choice=choice)).message
    assert chat(CALL, tools=[LOOK], tool_choice="none").choices[0].finish_reason == "stop"


def a_bad_request():
    err = fails(openai.BadRequestError, lambda: client.chat.completions.create(model=model, messages=[]))
    assert "Missing user message" in err.message and err.type == "invalid_request_error"


def a_response():
    it = client.responses.create(model=model, instructions="Be short.", input="good morning")
    assert it.output_text.endswith("good morning") and it.status == "completed" and it.error is None, it
    assert it.usage.total_tokens == it.usage.input_tokens + it.usage.output_tokens > 0


def a_streamed_response():
    events = list(client.responses.create(model=model, input="a few words", stream=True))
    kinds = [it.type for it in events]
    deltas = [it.delta for it in events if it.type == "response.output_text.delta"]
    start = ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"]
    end = ["response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed"]
    assert kinds == start + ["response.output_text.delta"] * len(deltas) + end and len(deltas) > 1, kinds
    assert [it.sequence_number for it in events] == list(range(len(events)))
    assert "".join(deltas) == events[-1].response.output_text and events[-1].response.usage.output_tokens > 0
    with client.responses.stream(model=model, input="helped") as stream:
        assert stream.get_final_response().output_text.endswith("helped")


def response_items():
    content = [{"type": "input_text", "text": "two"}]
    items = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "1"}, {"role": "user", "content": content}]
    assert client.responses.create(model=model, input=items).output_text == second("two")


def response_tools_and_what_went_before():
    first = client.responses.create(model=model, input=CALL, tools=[FLAT])
    call = next(it for it in first.output if it.type == "function_call")
    assert json.loads(call.arguments) == {"at": "sky"} and call.name == "look"
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "it is blue"}
    after = client.responses.create(model=model, previous_response_id=first.id, input=[output], tools=[FLAT])
    assert after.output_text.strip().endswith("it is blue") and after.id != first.id, after
    third = client.responses.create(model=model, previous_response_id=after.id, input="and now")
    assert third.output_text.endswith("and now") and "parrot inside" not in third.output_text
    unknown = "resp_00000000-0000-4000-8000-000000000000"
    err = fails(openai.BadRequestError, lambda: client.responses.create(model=model, previous_response_id=unknown, input="x"))
    assert "not found" in err.message


def a_bad_response_request():
    err = fails(openai.BadRequestError, lambda: client.responses.create(model=model, input="hi", truncation="zz"))
    assert "truncation: Invalid option" in err.message


def in_time(work):
    begun = time.monotonic()
    work()
    assert time.monotonic() - begun < 15, "the run went on"


def a_timeout_stops_the_run():
    impatient = client.with_options(timeout=1.5)
    slow = [{"role": "user", "content": SLOW}]
    fails(openai.APITimeoutError, lambda: impatient.chat.completions.create(model=model, user=f"bob{mark}", messages=slow))
    # A session has one run at a time.
    in_time(lambda: chat("well", user=f"bob{mark}"))


async def cancelled():
    async with openai.AsyncOpenAI(base_url=base, api_key=token, max_retries=0) as other:
        stream = await other.responses.create(model=model, user=f"eve{mark}", input=SLOW, stream=True)
        async for event in stream:
            if event.type == "response.in_progress":
                break
        await stream.close()


def a_stream_that_is_closed_stops_the_run():
    asyncio.run(cancelled())
    in_time(lambda: client.responses.create(model=model, user=f"eve{mark}", input="well"))


CHECKS = [
    models_are_listed, a_model_is_found, an_unknown_model_is_not, a_wrong_key_is_refused, a_completion, a_completion_says_what_it_cost,
    system_and_developer_messages, history_is_told, a_user_has_a_session, an_image, a_stream, a_stream_says_what_it_cost,
    the_stream_helper, a_tool_is_called, tools_there_and_back, a_streamed_tool_call, tool_choice, a_bad_request, a_response,
    a_streamed_response, response_items, response_tools_and_what_went_before, a_bad_response_request, a_timeout_stops_the_run,
    a_stream_that_is_closed_stops_the_run,
]
failed = 0
for check in CHECKS:
    try:
        check()
    except Exception as err:  # noqa: BLE001
        failed += 1
        print(f"FAILED {check.__name__}: {type(err).__name__}: {str(err)[:600]}")
print(f"{len(CHECKS) - failed} of {len(CHECKS)} checks passed: openai {openai.__version__} for Python, {model}")
sys.exit(failed > 0)
