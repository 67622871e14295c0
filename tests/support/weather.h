/* What the tests of others' defects have in common: a tool, and a model that thinks and then answers or calls it. */
#ifndef SUPPORT_WEATHER_H
#define SUPPORT_WEATHER_H

static const char answer_script[] = "<|channel|>analysis<|message|>Think.<|end|><|start|>assistant<|channel|>final"
                                    "<|message|>It is sunny.<|return|>";
static const char call_script[] =
    "<|channel|>analysis<|message|>I need the weather.<|end|><|start|>assistant<|channel|>commentary "
    "to=functions.get_weather <|constrain|>json<|message|>{\"city\":  \"Paris\", \"b\": 1, \"a\": 2}<|call|>";
#define TOOL "{\"type\":\"function\",\"name\":\"get_weather\",\"parameters\":{\"type\":\"object\",\"properties\":{}}}"
#define CHAT_TOOL "{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"parameters\":{\"type\":\"object\"}}}"

#endif
