#!/usr/bin/env python3
"""Asks SmolLM2-135M-Instruct, in its own chat form, some hundred everyday questions and keeps its short answers, so
that teaching it Harmony does not cost it what it knows.

    distill.py MODEL.gguf TOKENIZER.json OUT.jsonl [--count N]

One JSON object a line: {"kind", "topic", "prompt", "answer"}. A killed run continues where it stopped."""
import argparse
import itertools
import json
import os
import random

import torch
from tokenizers import Tokenizer

from llama import Llama

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
END, BATCH, LONGEST = 2, 128, 80  # SmolLM2's <|im_end|>; prompts at once; tokens of an answer

THINGS = """photosynthesis;gravity;a volcano;the water cycle;a rainbow;electricity;magnetism;the moon;the sun;a solar eclipse;
an earthquake;evolution;DNA;a virus;bacteria;vaccines;the heart;the brain;the immune system;sleep;democracy;inflation;
supply and demand;a bank;taxes;insurance;the stock market;a computer;the internet;a database;an algorithm;encryption;
machine learning;a compiler;an operating system;open source software;a web browser;a variable in programming;recursion;
a telescope;a microscope;a battery;a bicycle;an airplane;a train;a ship;a bridge;glass;paper;plastic;steel;concrete;
bread;coffee;tea;chocolate;honey;cheese;rice;sourdough;fermentation;an orchestra;jazz;a symphony;a novel;poetry;
a metaphor;grammar;a dictionary;a library;a museum;theatre;photography;painting;sculpture;chess;football;swimming;
yoga;running;climate change;recycling;renewable energy;solar panels;wind power;nuclear energy;a desert;a rainforest;
the ocean;a glacier;a river;a mountain;an island;a whale;a dolphin;an elephant;a penguin;bees;butterflies;spiders;
dogs;cats;horses;owls;dinosaurs;fossils;Ancient Rome;Ancient Egypt;the Renaissance;the Industrial Revolution;
the printing press;the wheel;the compass;a clock;a calendar;a map;money;a contract;a constitution;philosophy;logic;
mathematics;geometry;probability;statistics;a prime number;zero;infinity;the speed of light;atoms;molecules;water;
oxygen;carbon;iron;gold;salt;fire;ice;lightning;thunder;clouds;snow;tides;seasons""".replace("\n", "").split(";")
GOALS = """sleep better;learn a new language;save money;stay focused at work;eat healthier;start running;write clearly;
read more books;make new friends;prepare for an interview;learn to program;keep a tidy home;cook at home;grow tomatoes;
reduce stress;manage my time;give a good presentation;pack for a trip;take better photos;care for a houseplant;
train a puppy;remember names;study for an exam;use less plastic;save energy at home;drink more water;wake up early;
be more patient;write a letter;start a garden;learn the guitar;draw;stay fit in winter;plan a birthday party;
protect my passwords;back up my files;debug a program;work in a team;listen better;ask good questions""".replace("\n", "").split(";")
SCENES = """the sea;autumn;a small robot;a lost key;the night sky;an old tree;a cat and a mouse;rain;a lighthouse;friendship;
a train journey;the first snow;a dragon who bakes bread;a gardener;a quiet village;the city at night;a kind stranger;
a river;a clock that stopped;a child and a kite;the desert;a library;a fisherman;morning;hope;winter;a fox;the wind""".replace("\n", "").split(";")
LISTS = """fruits;vegetables;animals that live in the sea;musical instruments;sports;colors;countries in Europe;planets;
programming languages;kinds of weather;tools in a workshop;things in a kitchen;flowers;birds;trees;metals;emotions;
professions;means of transport;pieces of clothing;school subjects;hobbies;board games;spices;insects;
things to take on a hike;things to do on a rainy day;breakfast ideas;names for a cat;names for a dog""".replace("\n", "").split(";")
SENTENCES = """The cat sat on the mat.;She quickly ran to the store before it closed.;The meeting was moved to Friday because
 the manager is ill.;Our team finished the project two weeks early and under budget.;I cannot find my keys and I am late for
 work.;The old bridge across the river will be closed for repairs until spring.;He have two brother and one sister.;
The weather are nice today.;Me and him goes to school every day.;This book don't have no pictures.;
The results were good but not as good as we hoped they would be.;Please send me the report as soon as you can.;
The train was late again, so many people missed their connection.;We are happy to tell you that your order has been shipped.
;The museum is open from Tuesday to Sunday and closed on Mondays.;Children under six travel free of charge.""".replace("\n", "").split(";")
PLACES = """France;Japan;Brazil;Egypt;Canada;Italy;India;Australia;Mexico;Kenya;Norway;Greece;Spain;Germany;China;Peru;
Iceland;Turkey;Portugal;Ireland;New Zealand;Morocco;Thailand;Vietnam;Paris;London;Rome;Tokyo;New York;Berlin""".replace("\n", "").split(";")

TEMPLATES = {
    "explain": (THINGS, ["What is {}?", "Explain {} in one sentence.", "Explain {} to a child.", "Why does {} matter?",
                         "Tell me about {} in two sentences.", "Give me one interesting fact about {}.",
                         "In simple words, how would you describe {}?", "Can you briefly explain {}?"]),
    "advice": (GOALS, ["Give me three short tips to {}.", "How can I {}?", "What is the best way to {}?",
                       "I want to {}. Where do I start? Answer briefly.", "Give me one good idea to {}."]),
    "write": (SCENES, ["Write a short poem about {}.", "Write two sentences about {}.", "Begin a story about {}.",
                       "Write a haiku about {}.", "Describe {} in one sentence."]),
    "list": (LISTS, ["List three {}.", "Name five {}.", "Give me a short list of {}.", "What are some {}?"]),
    "rewrite": (SENTENCES, ["Rewrite this sentence in a more formal way: {}", "Correct the grammar: {}",
                            "Make this shorter: {}", "Summarize in a few words: {}"]),
    "place": (PLACES, ["What is {} known for?", "Tell me something about {} in two sentences.",
                       "Name two things to see in {}.", "What do people eat in {}?"]),
}


def prompts(count):
    every = [(kind, topic, template.format(topic)) for kind, (topics, templates) in TEMPLATES.items()
             for topic, template in itertools.product(topics, templates)]
    random.Random(1).shuffle(every)
    return every[:count]


def is_usable(ids, text):
    words = text.split()
    repeats = len(words) > 12 and len(set(words)) < 0.45 * len(words)
    return ids[-1] == END and 0 < len(text) < 600 and not repeats and "SmolLM" not in text


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("gguf")
    parser.add_argument("tokenizer")
    parser.add_argument("out")
    parser.add_argument("--count", type=int, default=1536)
    options = parser.parse_args()
    tokenizer, model = Tokenizer.from_file(options.tokenizer), Llama(options.gguf)
    todo, state = prompts(options.count), options.out + ".done"
    done = int(open(state).read()) if os.path.exists(state) else 0
    while done < len(todo):
        batch = todo[done : done + BATCH]
        chats = [f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{p}<|im_end|>\n<|im_start|>assistant\n"
                 for _, _, p in batch]
        random_state = torch.Generator().manual_seed(done)
        answers = model.generate([tokenizer.encode(c).ids for c in chats], {END}, LONGEST, 0.4, 0.9, random_state)
        with open(options.out, "a", encoding="utf-8") as f:
            for (kind, topic, prompt), ids in zip(batch, answers):
                text = tokenizer.decode(ids).strip()
                if is_usable(ids, text):
                    f.write(json.dumps({"kind": kind, "topic": topic, "prompt": prompt, "answer": text}) + "\n")
        done += len(batch)
        with open(state, "w", encoding="utf-8") as f:
            f.write(str(done))


if __name__ == "__main__":
    main()
