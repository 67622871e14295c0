// The official JavaScript clients against a running server. usage: clients.mjs CALLER SAYER FORMER, as clients.py says.
import assert from "node:assert/strict";
import Anthropic from "@anthropic-ai/sdk";
import { Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, setTracingDisabled, tool } from "@openai/agents";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, stepCountIs, streamText, tool as aiTool } from "ai";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat, zodResponsesFunction, zodTextFormat } from "openai/helpers/zod";
import { ResponsesWS } from "openai/resources/responses/ws";
import { z } from "zod";

const [callerUrl, sayerUrl, formerUrl] = process.argv.slice(2);
const options = { apiKey: "none", maxRetries: 0 };
const caller = new OpenAI({ baseURL: callerUrl, ...options });
const sayer = new OpenAI({ baseURL: sayerUrl, ...options });
const former = new OpenAI({ baseURL: formerUrl, ...options });
const Report = z.object({ city: z.string(), degrees: z.number().int() }), REPORT = { city: "Oslo", degrees: 20 };
const City = z.object({ city: z.string() });
const SAID = "It is sunny in Paris!", THOUGHT = "I should look, evidently", ARGUMENTS = '{"city":"Rome"}';
const question = "How is the weather?", ask = [{ role: "user", content: question }];
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"], additionalProperties: false };
const chatTools = [{ type: "function", function: { name: "get_weather", description: "The weather", parameters } }];
const responseTools = [{ type: "function", name: "get_weather", description: "The weather", parameters, strict: false }];

async function collect(iterable) {
  const all = [];
  for await (const one of iterable) all.push(one);
  return all;
}

const checks = {
  async openai_chat_answers_and_streams() {
    const a = await sayer.chat.completions.create({ model: "m", messages: ask });
    assert.equal(a.choices[0].message.content, SAID);
    assert.equal(a.choices[0].message.reasoning_content, THOUGHT);
    const chunks = await collect(await sayer.chat.completions.create({ model: "m", messages: ask, stream: true }));
    assert.equal(chunks.map((c) => c.choices[0]?.delta.content ?? "").join(""), SAID);
  },

  async openai_chat_run_tools_helper_completes_the_loop() {
    const seen = [];
    const runner = caller.chat.completions.runTools({
      model: "m", messages: ask,
      tools: [{ type: "function", function: { name: "get_weather", description: "The weather", parameters, parse: JSON.parse,
        function: ({ city }) => (seen.push(city), "sunny") } }],
    });
    assert.equal(await runner.finalContent(), SAID);
    assert.deepEqual(seen, ["Rome"]);
  },

  async openai_chat_stream_helper_collects_a_call() {
    const stream = caller.chat.completions.stream({ model: "m", messages: ask, tools: chatTools });
    const a = await stream.finalChatCompletion();
    assert.equal(a.choices[0].message.tool_calls[0].function.arguments, ARGUMENTS);
  },

  async openai_chat_parses_answers_and_calls_into_objects() {
    const format = zodResponseFormat(Report, "report");
    const a = await former.chat.completions.parse({ model: "m", messages: ask, response_format: format });
    assert.deepEqual(a.choices[0].message.parsed, REPORT);
    const b = await former.chat.completions.stream({ model: "m", messages: ask, response_format: format }).finalChatCompletion();
    assert.deepEqual(b.choices[0].message.parsed, REPORT);
    const tools = [zodFunction({ name: "get_weather", parameters: City })];
    const c = await caller.chat.completions.parse({ model: "m", messages: ask, tools });
    assert.deepEqual(c.choices[0].message.tool_calls[0].function.parsed_arguments, { city: "Rome" });
  },

  async openai_responses_parse_answers_and_calls_into_objects() {
    const text = { format: zodTextFormat(Report, "report") };
    assert.deepEqual((await former.responses.parse({ model: "m", input: question, text })).output_parsed, REPORT);
    const tools = [zodResponsesFunction({ name: "get_weather", parameters: City })];
    const a = await caller.responses.parse({ model: "m", input: question, tools });
    assert.deepEqual(a.output.at(-1).parsed_arguments, { city: "Rome" });
  },

  async openai_responses_go_on_over_a_websocket() {
    const socket = new ResponsesWS(caller);
    const answered = (body) => new Promise((resolve, reject) => {
      socket.once("response.completed", (event) => resolve(event.response));
      socket.once("error", reject);
      socket.send({ type: "response.create", model: "m", tools: responseTools, store: false, ...body });
    });
    const a = await answered({ input: question });
    const output = { type: "function_call_output", call_id: a.output.at(-1).call_id, output: "sunny" };
    const b = await answered({ previous_response_id: a.id, input: [output] });
    assert.equal(b.output.at(-1).content[0].text, SAID);
    socket.close();
  },

  async openai_responses_answer_and_stream() {
    const a = await sayer.responses.create({ model: "m", input: question });
    assert.equal(a.output_text, SAID);
    const events = await collect(await sayer.responses.create({ model: "m", input: question, stream: true }));
    assert.equal(events.at(-1).type, "response.completed");
    assert.equal(events.filter((e) => e.type === "response.output_text.delta").map((e) => e.delta).join(""), SAID);
    const final = await sayer.responses.stream({ model: "m", input: question }).finalResponse();
    assert.equal(final.output_text, SAID);
  },

  async openai_responses_call_and_continue() {
    const a = await caller.responses.create({ model: "m", input: question, tools: responseTools });
    const call = a.output.find((item) => item.type === "function_call");
    assert.equal(call.arguments, ARGUMENTS);
    const output = { type: "function_call_output", call_id: call.call_id, output: "sunny" };
    const b = await caller.responses.create({ model: "m", previous_response_id: a.id, input: [output], tools: responseTools });
    assert.equal(b.output_text, SAID);
    const c = await caller.responses.create({ model: "m", input: [...ask, ...a.output, output], tools: responseTools, store: false });
    assert.equal(c.output_text, SAID);
  },

  async openai_responses_are_stored_and_errors_are_classes() {
    const a = await sayer.responses.create({ model: "m", input: question });
    assert.equal((await sayer.responses.retrieve(a.id)).output_text, SAID);
    await sayer.responses.delete(a.id);
    await assert.rejects(sayer.responses.retrieve(a.id), OpenAI.NotFoundError);
    await assert.rejects(sayer.responses.create({ model: "m", input: question, temperature: 9 }), OpenAI.BadRequestError);
  },

  async anthropic_streams_a_call_and_goes_on() {
    const client = new Anthropic({ baseURL: callerUrl.replace(/\/v1$/, ""), ...options });
    const tools = [{ name: "get_weather", description: "The weather", input_schema: parameters }];
    const a = await client.messages.stream({ model: "m", max_tokens: 100, messages: ask, tools }).finalMessage();
    const use = a.content.find((block) => block.type === "tool_use");
    assert.deepEqual(use.input, { city: "Rome" });
    const result = { type: "tool_result", tool_use_id: use.id, content: "sunny" };
    const b = await client.messages.create({ model: "m", max_tokens: 100, tools,
      messages: [...ask, { role: "assistant", content: a.content }, { role: "user", content: [result] }] });
    assert.equal(b.content.at(-1).text, SAID);
  },

  async agents_sdk_runs_a_tool_over_both_interfaces() {
    setTracingDisabled(true);
    for (const Model of [OpenAIResponsesModel, OpenAIChatCompletionsModel])
      for (const stream of [false, true]) {
        const seen = [];
        const weather = tool({ name: "get_weather", description: "The weather", strict: false, parameters,
          execute: async ({ city }) => (seen.push(city), "sunny") });
        const agent = new Agent({ name: "a", instructions: "Help.", model: new Model(caller, "m"), tools: [weather] });
        const result = await new Runner().run(agent, question, { stream });
        if (stream) await collect(result);
        assert.equal(result.finalOutput, SAID);
        assert.deepEqual(seen, ["Rome"]);
      }
  },

  async ai_sdk_runs_a_tool_over_every_interface() {
    const compatible = createOpenAICompatible({ name: "here", baseURL: callerUrl });
    const openai = createOpenAI({ baseURL: callerUrl, apiKey: "none" });
    for (const model of [openai.responses("m"), openai.chat("m"), compatible("m")]) {
      const tools = { get_weather: aiTool({ description: "The weather", inputSchema: z.object({ city: z.string() }), strict: false,
        execute: async ({ city }) => `sunny in ${city}` }) };
      const whole = await generateText({ model, prompt: question, tools, stopWhen: stepCountIs(3) });
      assert.equal(whole.text, SAID);
      const stream = streamText({ model, prompt: question, tools, stopWhen: stepCountIs(3) });
      assert.equal((await collect(stream.textStream)).join(""), SAID);
      assert.equal((await stream.steps)[0].toolCalls[0].input.city, "Rome");
    }
  },
};

let failed = 0;
for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
    console.log("ok  ", name);
  } catch (error) {
    failed++;
    console.log("FAIL", name, error);
  }
}
console.log(`${Object.keys(checks).length - failed} of ${Object.keys(checks).length}: openai, anthropic, agents, ai for JavaScript`);
process.exit(failed ? 1 : 0);
