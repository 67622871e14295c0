"""Writes tests/grammar/vectors/schema_suite.json from the JSON Schema Test Suite, as the source distribution of the
Python package jsonschema carries it (folder json/; MIT licence, (c) 2012 Julian Berman):

    pip download --no-binary :all: --no-deps jsonschema==4.23.0 && tar xzf jsonschema-4.23.0.tar.gz
    python3 schema_suite.py jsonschema-4.23.0/json ../grammar/vectors/schema_suite.json

Kept are draft 2020-12, the tests of the formats that grammars know, and the optional tests of regular expressions and
big numbers. A file of the suite becomes a list of groups, a group a schema with the texts that satisfy it and those
that do not. Left out: the metaschema's own URLs, which only a validator with a network has.
"""
import json
import pathlib
import sys

FORMATS = "date time date-time duration email hostname ipv4 ipv6 uri uuid".split()
OPTIONAL = ["bignum", "ecmascript-regex", "non-bmp-regex", "float-overflow"]


def text(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def groups(path):
    for group in json.loads(path.read_text()):
        schema = group["schema"]
        if isinstance(schema, dict):
            schema.pop("$schema", None)
        yield {
            "name": group["description"],
            "schema": schema,
            "accept": [text(test["data"]) for test in group["tests"] if test["valid"]],
            "reject": [text(test["data"]) for test in group["tests"] if not test["valid"]],
        }


def main(suite, out):
    draft = pathlib.Path(suite) / "tests/draft2020-12"
    paths = sorted(path for path in draft.glob("*.json") if path.stem not in ("format", "vocabulary"))
    paths += [draft / "optional" / f"{name}.json" for name in OPTIONAL]
    paths += [draft / "optional/format" / f"{name}.json" for name in FORMATS]
    lines = [f'"{path.stem}":[\n' + ",\n".join(map(text, groups(path))) + "]" for path in paths]
    pathlib.Path(out).write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
