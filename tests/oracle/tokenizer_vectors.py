#!/usr/bin/env python3
"""Writes tests/text/vectors/small_*.json: a small tokenizer.json for every splitting pattern that gossamer knows, trained
here by Hugging Face tokenizers, and the ids that library gives for texts that meet each rule of the pattern.

Needs: pip install tokenizers (0.23 made the committed files). Run from anywhere.
"""
import json
import pathlib

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
BLANKS = r"\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
PATTERNS = {
    "o200k": rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{CONTRACTIONS}?|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{CONTRACTIONS}?"
    rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{BLANKS}",
    "llama3": rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{BLANKS}",
    "qwen2": rf"{CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{BLANKS}",
}
CASES = [
    "", " ", "  ", "   x", "a b", "a  b", "a   ", "\n", "\n\n", " \n ", "x \n\n  y", "\r\n", "a\r\n\r\nb", "\t\tif (x) {\n",
    "the thing's there", "THE THING'S THERE", "we'll we've we're I'm he'd don't", "WE'LL WE'VE WE'RE I'M HE'D DON'T",
    "it'\u017f", "'s", "'sat", "''ll", "o'clock 'tis", "camelCaseWords HTTPServer XMLhttp", "snake_case_words", "a1b22c333d4444",
    "12345 1 22 333", "3.14159, -2e10", "\u0661\u0662\u0663\u0664 \u2167 \u00bd", "a/b//c\n//\n/", "...///\n\n/x", "!? !?\n\n", "=> != ==",
    "caf\u00e9 cafe\u0301 \u0301x e\u0301\u0302", "\u01c5ep \u02b0A\u02b0 \u02b0", "\u0915\u093f\u0924\u093e\u092c", "\u0e01\u0e34\u0e19\u0e02\u0e49\u0e32\u0e27", "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd",
    "\u4e2d\u6587\u5b57\u7b26 \u65e5\u672c\u8a9e\u30c6\u30b9\u30c8", "\ud55c\uad6d\uc5b4 \uc785\ub2c8\ub2e4", "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440!", "\u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5", "\U0001f600\U0001f44d\U0001f3fd \U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001d400\U0001d41a",
    "a\u00a0b \u3000c\u2003\u2003d\u0085e\u2028f", "\ufeffx\u200by", "\x00\x01\x02\x1f\x7f", "    def f(self):\n        return 1\n",
    "<|one|>", "x<|one|>y", "<|one|><|one|>", "<|one|", "<|one|>more|>", "a <lit> b", "<lit><|one|>", "zyxw thing", " zyxw", "zyxw", "\U000fffff",
    "a 1 b  2", "1  2", "  1", "\n 1\n", "q'", "'", "'S'T", "a'sb'tc",
]
FOLDER = pathlib.Path(__file__).resolve().parent.parent / "text/vectors"


def pre_tokenizer(name):
    if name == "gpt2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=name == "digits")
    first = pre_tokenizers.Digits(individual_digits=True) if name == "digits" else pre_tokenizers.Split(Regex(PATTERNS[name]), "isolated")
    return pre_tokenizers.Sequence([first, byte_level])


def make(name):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer(name)
    tokenizer.decoder = decoders.ByteLevel()
    # For one pattern some bytes have no token: 0x00, 0x01 and 0xF1.
    lacking = "\u0100\u0101\u00f1" if name == "digits" else ""
    alphabet = sorted(set(pre_tokenizers.ByteLevel.alphabet()) - set(lacking))
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, special_tokens=["<|one|>", "<|one|>more|>"], show_progress=False)
    unseen = ("<", "zyxw", "\x00")
    tokenizer.train_from_iterator([case for case in CASES if not any(text in case for text in unseen)] * 3, trainer)
    tokenizer.add_tokens([AddedToken("<lit>", normalized=False)])
    spec = json.loads(tokenizer.to_str())
    # A token that no merges reach: taken as a whole piece or never.
    literal = spec["added_tokens"][-1]
    spec["model"]["vocab"]["zyxw"] = literal["id"]
    literal["id"] += 1  # an added token comes after the vocabulary: the library ignores any other id
    spec["model"]["ignore_merges"] = name in ("o200k", "llama3")
    return spec


for name in ("gpt2", "digits", *PATTERNS):
    spec = make(name)
    tokenizer = Tokenizer.from_str(json.dumps(spec))
    cases = []
    for control in (False, True):
        tokenizer.encode_special_tokens = not control
        cases += [{"text": text, "control": control, "ids": tokenizer.encode(text, add_special_tokens=False).ids}
                  for text in CASES if not control or "<" in text]
    target = FOLDER / f"small_{name}.json"
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    target.write_text(f'{{"tokenizer":{json.dumps(spec, separators=(",", ":"))},\n"cases":[\n{lines}\n]}}\n')
    print(target.name, len(spec["model"]["vocab"]), "tokens,", len(cases), "cases")
