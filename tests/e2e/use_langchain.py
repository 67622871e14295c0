"""LangChain against a running server. usage: use_langchain.py CALLER SAYER FORMER, as clients.py says."""
import asyncio
import sys
import traceback

import pydantic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

caller, sayer, former = sys.argv[1:4]
SAID, QUESTION = "It is sunny in Paris!", "How is the weather?"


class Report(pydantic.BaseModel):
    city: str
    degrees: int


@tool
def get_weather(city: str) -> str:
    """The weather"""
    return f"sunny in {city}"


def model(url, responses):
    return ChatOpenAI(model="m", base_url=url, api_key="none", max_retries=0, use_responses_api=responses)


def answers_and_streams(responses):
    assert model(sayer, responses).invoke(QUESTION).text == SAID
    assert "".join(chunk.text for chunk in model(sayer, responses).stream(QUESTION)) == SAID


def calls_a_tool_and_goes_on(responses):
    bound = model(caller, responses).bind_tools([get_weather])
    messages = [HumanMessage(QUESTION)]
    messages.append(bound.invoke(messages))
    assert [call["args"] for call in messages[-1].tool_calls] == [{"city": "Rome"}], messages[-1]
    messages += [ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]) for call in messages[-1].tool_calls]
    assert bound.invoke(messages).text == SAID


def gives_structured_output(responses):
    bound = model(former, responses).with_structured_output(Report, method="json_schema")
    assert bound.invoke(QUESTION) == Report(city="Oslo", degrees=20)


def answers_many_at_once(_):
    async def ask():
        return await asyncio.gather(*(model(sayer, way).ainvoke(QUESTION) for way in (False, True) * 3))

    assert all(a.text == SAID and a.usage_metadata["output_tokens"] > 5 for a in asyncio.run(ask()))


checks = [(check, way) for check in (answers_and_streams, calls_a_tool_and_goes_on, gives_structured_output)
          for way in ("chat", "responses")]
failed, n = 0, len(checks) + 1
for check, way in [*checks, (answers_many_at_once, "both")]:
    name = f"langchain_{check.__name__}_over_{way}"
    try:
        check(way == "responses")
        print("ok  ", name, flush=True)
    except Exception:
        failed += 1
        print("FAIL", name, traceback.format_exc()[-1500:], flush=True)
print(f"{n - failed} of {n}: langchain-openai")
sys.exit(failed > 0)
