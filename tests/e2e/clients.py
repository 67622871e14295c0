"""The official Python clients against a running server. usage: clients.py CALLER SAYER FORMER: the base addresses (ending
in /v1) of servers whose models play a part (scripted.py): CALLER's calls get_weather({"city":"Rome"}) and then says
what SAYER's says at once, "It is sunny in Paris!"; FORMER's says {"city":"Oslo","degrees":20}; all after the reasoning
"I should look, evidently"."""
import asyncio
import os
import subprocess
import sys
import tempfile
import traceback

import agents
import anthropic
import openai
import pydantic

caller_url, sayer_url, former_url = sys.argv[1:4]
caller, sayer, former = (openai.OpenAI(base_url=url, api_key="none", max_retries=0) for url in sys.argv[1:4])
SAID, THOUGHT, ARGUMENTS = "It is sunny in Paris!", "I should look, evidently", '{"city":"Rome"}'
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
ASK = [{"role": "user", "content": "How is the weather?"}]
CHAT_TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "The weather", "parameters": PARAMETERS}}]
TOOLS = [{"type": "function", "name": "get_weather", "description": "The weather", "parameters": PARAMETERS}]
checks = []


class Report(pydantic.BaseModel):
    city: str
    degrees: int


class get_weather(pydantic.BaseModel):
    """The weather"""

    city: str


REPORT = Report(city="Oslo", degrees=20)


def check(function):
    checks.append(function)
    return function


# ---- openai: Chat Completions


@check
def openai_chat_answers_with_reasoning_and_usage():
    a = sayer.chat.completions.create(model="m", messages=ASK)
    assert (a.choices[0].message.content, a.choices[0].finish_reason) == (SAID, "stop"), a
    assert a.choices[0].message.reasoning_content == THOUGHT and a.choices[0].message.reasoning == THOUGHT, a
    assert a.usage.completion_tokens_details.reasoning_tokens > 0 and a.usage.total_tokens == a.usage.prompt_tokens + a.usage.completion_tokens


@check
def openai_chat_streams_the_same():
    text = thought = ""
    for chunk in sayer.chat.completions.create(model="m", messages=ASK, stream=True, stream_options={"include_usage": True}):
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
            thought += getattr(chunk.choices[0].delta, "reasoning_content", None) or ""
    assert (text, thought) == (SAID, THOUGHT) and chunk.usage.completion_tokens > 0, (text, thought, chunk)


@check
def openai_chat_calls_a_tool_and_goes_on():
    a = caller.chat.completions.create(model="m", messages=ASK, tools=CHAT_TOOLS)
    call = a.choices[0].message.tool_calls[0]
    assert a.choices[0].finish_reason == "tool_calls" and (call.function.name, call.function.arguments) == ("get_weather", ARGUMENTS), a
    messages = [*ASK, a.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
    b = caller.chat.completions.create(model="m", messages=messages, tools=CHAT_TOOLS)
    assert b.choices[0].message.content == SAID, b
    assert b.usage.prompt_tokens_details.cached_tokens > 0, b.usage


@check
def openai_chat_stream_helper_collects_a_call():
    with caller.chat.completions.stream(model="m", messages=ASK, tools=CHAT_TOOLS) as stream:
        kinds = {event.type for event in stream}
        a = stream.get_final_completion()
    assert "tool_calls.function.arguments.done" in kinds, kinds
    assert a.choices[0].message.tool_calls[0].function.arguments == ARGUMENTS, a


@check
def openai_chat_gives_several_choices_with_logprobs():
    a = sayer.chat.completions.create(model="m", messages=ASK, n=2, logprobs=True, top_logprobs=2)
    assert [c.index for c in a.choices] == [0, 1] and all(c.message.content == SAID for c in a.choices), a
    tokens = a.choices[0].logprobs.content
    assert "".join(t.token for t in tokens) == SAID and all(len(t.top_logprobs) == 2 for t in tokens), tokens


@check
def openai_chat_stops_at_a_string_and_at_a_length():
    a = sayer.chat.completions.create(model="m", messages=ASK, stop=[" in"])
    assert (a.choices[0].message.content, a.choices[0].finish_reason) == ("It is sunny", "stop"), a
    a = sayer.chat.completions.create(model="m", messages=ASK, max_completion_tokens=3)
    assert a.choices[0].finish_reason == "length", a


@check
def openai_chat_parses_answers_and_calls_into_models():
    a = former.chat.completions.parse(model="m", messages=ASK, response_format=Report)
    assert a.choices[0].message.parsed == REPORT, a
    with former.chat.completions.stream(model="m", messages=ASK, response_format=Report) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.parsed == REPORT
    a = caller.chat.completions.parse(model="m", messages=ASK, tools=[openai.pydantic_function_tool(get_weather)])
    assert a.choices[0].message.tool_calls[0].function.parsed_arguments == get_weather(city="Rome"), a


# ---- openai: Responses


@check
def openai_responses_answer():
    a = sayer.responses.create(model="m", input="How is the weather?", reasoning={"effort": "high"}, metadata={"k": "v"})
    assert (a.status, a.output_text, a.reasoning.effort, a.metadata) == ("completed", SAID, "high", {"k": "v"}), a
    assert [item.type for item in a.output] == ["reasoning", "message"] and a.output[0].content[0].text == THOUGHT, a


@check
def openai_responses_stream_every_event_and_one_end():
    events = list(sayer.responses.create(model="m", input="How is the weather?", stream=True))
    assert [e.sequence_number for e in events] == list(range(len(events)))
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == SAID
    assert "".join(e.delta for e in events if e.type == "response.reasoning_text.delta") == THOUGHT
    ends = [e for e in events if e.type in ("response.completed", "response.failed", "response.incomplete")]
    assert len(ends) == 1 and events[-1] is ends[0] and ends[0].response.output_text == SAID


@check
def openai_responses_stream_helper_gives_the_final_response():
    with sayer.responses.stream(model="m", input="How is the weather?") as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().output_text == SAID


def result_of_the_call(a):
    call = next(item for item in a.output if item.type == "function_call")
    assert (call.name, call.arguments, call.status) == ("get_weather", ARGUMENTS, "completed"), a
    return {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}


@check
def openai_responses_call_and_continue_by_id():
    a = caller.responses.create(model="m", input="How is the weather?", tools=TOOLS)
    b = caller.responses.create(model="m", previous_response_id=a.id, input=[result_of_the_call(a)], tools=TOOLS)
    assert b.output_text == SAID and b.previous_response_id == a.id and b.usage.input_tokens_details.cached_tokens > 0, b


@check
def openai_responses_call_and_continue_by_sending_everything_back():
    a = caller.responses.create(model="m", input="How is the weather?", tools=TOOLS, store=False, include=["reasoning.encrypted_content"])
    items = [item.model_dump(exclude_none=True) for item in a.output]
    b = caller.responses.create(model="m", input=[*ASK, *items, result_of_the_call(a)], tools=TOOLS, store=False)
    assert b.output_text == SAID, b


@check
def openai_responses_parse_answers_and_calls_into_models():
    assert former.responses.parse(model="m", input="How is the weather?", text_format=Report).output_parsed == REPORT
    with former.responses.stream(model="m", input="How is the weather?", text_format=Report) as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().output_parsed == REPORT
    a = caller.responses.parse(model="m", input="How is the weather?", tools=[openai.pydantic_function_tool(get_weather)])
    assert a.output[-1].parsed_arguments == get_weather(city="Rome"), a


@check
def openai_responses_go_on_over_a_websocket():
    with caller.responses.connect() as socket:
        def ask(**body):
            socket.response.create(model="m", tools=TOOLS, store=False, **body)
            for event in socket:
                assert event.type != "error", event
                if event.type == "response.completed":
                    return event.response

        a = ask(input="How is the weather?")
        assert ask(previous_response_id=a.id, input=[result_of_the_call(a)]).output_text == SAID
        warm = ask(generate=False, input="How is the weather?")
        assert warm.output == [] and ask(previous_response_id=warm.id, input="Now?").output[-1].type == "function_call"


@check
def openai_responses_are_compacted_and_go_on():
    a = sayer.responses.compact(model="m", input=[*ASK, {"role": "assistant", "content": "Sunny."}])
    assert [item.type for item in a.output] == ["message", "compaction"] and a.usage.output_tokens > 0, a
    items = [item.model_dump(exclude_none=True) for item in a.output]
    assert sayer.responses.create(model="m", input=[*items, *ASK]).output_text == SAID


@check
def openai_responses_count_their_input():
    n = sayer.responses.input_tokens.count(model="m", input="How is the weather?").input_tokens
    assert n == sayer.responses.create(model="m", input="How is the weather?").usage.input_tokens


@check
def openai_responses_are_stored_listed_and_deleted():
    a = sayer.responses.create(model="m", input=[*ASK, {"role": "user", "content": "And now?"}])
    assert sayer.responses.retrieve(a.id).output_text == SAID
    items = list(sayer.responses.input_items.list(a.id, limit=1, order="asc"))
    assert [item.content[0].text for item in items] == ["How is the weather?", "And now?"], items
    sayer.responses.delete(a.id)
    try:
        sayer.responses.retrieve(a.id)
        raise AssertionError("it is still there")
    except openai.NotFoundError:
        pass


@check
def openai_responses_run_in_the_background():
    a = sayer.responses.create(model="m", input="How is the weather?", background=True)
    while a.status in ("queued", "in_progress"):
        a = sayer.responses.retrieve(a.id)
    assert a.status == "completed" and a.output_text == SAID, a


@check
def openai_errors_are_the_right_exceptions():
    for make, kind in ((lambda: sayer.responses.create(model="m", input="x", temperature=9), openai.BadRequestError),
                       (lambda: sayer.responses.create(model="m", input="x" * 400000), openai.BadRequestError),
                       (lambda: sayer.responses.retrieve("resp_0"), openai.NotFoundError)):
        try:
            make()
            raise AssertionError("it was accepted")
        except kind as error:
            assert error.body and error.body.get("message"), error.body


@check
def openai_models_completions_and_a_client_that_hangs_up():
    assert [m.id for m in sayer.models.list()] and sayer.models.retrieve("sayer").id == "sayer"
    assert sayer.completions.create(model="m", prompt="It", max_tokens=2).choices[0].finish_reason == "length"
    stream = sayer.responses.create(model="m", input="How is the weather?", stream=True)
    next(iter(stream))
    stream.close()
    assert sayer.responses.create(model="m", input="How is the weather?").output_text == SAID


@check
def openai_async_client_runs_many_at_once():
    async def all_of_them():
        async with openai.AsyncOpenAI(base_url=sayer_url, api_key="none") as client:
            return await asyncio.gather(*(client.responses.create(model="m", input=f"Weather {i}?") for i in range(20)))

    assert all(a.output_text == SAID for a in asyncio.run(all_of_them()))


# ---- anthropic


def claude(url):
    return anthropic.Anthropic(base_url=url.removesuffix("/v1"), api_key="none", max_retries=0)


@check
def anthropic_answers_thinks_and_counts():
    a = claude(sayer_url).messages.create(model="m", max_tokens=100, messages=ASK, thinking={"type": "enabled", "budget_tokens": 1024})
    assert [b.type for b in a.content] == ["thinking", "text"] and a.content[1].text == SAID and a.stop_reason == "end_turn", a
    assert a._request_id.startswith("req_"), a._request_id
    assert claude(sayer_url).messages.count_tokens(model="m", messages=ASK).input_tokens > 10


@check
def anthropic_streams_calls_and_goes_on():
    tools = [{"name": "get_weather", "description": "The weather", "input_schema": PARAMETERS}]
    with claude(caller_url).messages.stream(model="m", max_tokens=100, messages=ASK, tools=tools) as stream:
        for _ in stream:
            pass
        a = stream.get_final_message()
    use = next(b for b in a.content if b.type == "tool_use")
    assert (use.name, use.input, a.stop_reason) == ("get_weather", {"city": "Rome"}, "tool_use"), a
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}
    b = claude(caller_url).messages.create(model="m", max_tokens=100, tools=tools, messages=[
        *ASK, {"role": "assistant", "content": a.content}, {"role": "user", "content": [result]}])
    assert b.content[-1].text == SAID, b


# ---- the Agents SDK


def run_agent(model_class, url, stream):
    seen = []

    @agents.function_tool(strict_mode=False)
    def get_weather(city: str) -> str:
        seen.append(city)
        return "sunny"

    async def run():
        async with openai.AsyncOpenAI(base_url=url, api_key="none") as client:
            model = model_class(model="m", openai_client=client)
            agent = agents.Agent(name="a", instructions="Help.", model=model, tools=[get_weather])
            if not stream:
                return (await agents.Runner.run(agent, "How is the weather?")).final_output
            result = agents.Runner.run_streamed(agent, "How is the weather?")
            async for _ in result.stream_events():
                pass
            return result.final_output

    agents.set_tracing_disabled(True)
    assert asyncio.run(run()) == SAID and seen == ["Rome"], seen


@check
def agents_sdk_runs_a_tool_over_responses():
    run_agent(agents.OpenAIResponsesModel, caller_url, False)


@check
def agents_sdk_streams_a_tool_run_over_responses():
    run_agent(agents.OpenAIResponsesModel, caller_url, True)


@check
def agents_sdk_runs_a_tool_over_chat_completions():
    run_agent(agents.OpenAIChatCompletionsModel, caller_url, False)


@check
def agents_sdk_streams_a_tool_run_over_chat_completions():
    run_agent(agents.OpenAIChatCompletionsModel, caller_url, True)


# ---- llm


@check
def llm_answers_and_continues_a_conversation():
    with tempfile.TemporaryDirectory() as home:
        model = f'- model_id: here\n  model_name: sayer\n  api_base: "{sayer_url}"\n'
        with open(os.path.join(home, "extra-openai-models.yaml"), "w") as file:
            file.write(model)
        environment = {**os.environ, "LLM_USER_PATH": home, "OPENAI_API_KEY": "none"}
        program = os.path.join(os.path.dirname(sys.executable), "llm")
        for arguments in (["-m", "here", "How is the weather?"], ["-c", "-m", "here", "And now?"], ["-m", "here", "--no-stream", "Well?"]):
            out = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, timeout=120)
            assert out.returncode == 0 and out.stdout.strip() == SAID, (arguments, out.stdout, out.stderr[-800:])


failed = 0
for function in checks:
    try:
        function()
        print("ok  ", function.__name__, flush=True)
    except Exception:
        failed += 1
        print("FAIL", function.__name__, traceback.format_exc()[-1500:], flush=True)
print(f"{len(checks) - failed} of {len(checks)}: openai {openai.__version__}, anthropic {anthropic.__version__}, llm, agents")
sys.exit(failed > 0)
