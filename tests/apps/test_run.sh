# run on the toy model: one answer whatever the machine does, and the fields of --json.
program=$1 tests=$2 tools=$3
. "$tests/apps/lib.sh"
"$tools/make_toy" hf toy || fail "no toy folder"

"$program" run -m toy --seed 3 --threads 1 --isa scalar --json hello there >first 2>/dev/null || fail "run failed"
python3 - <<'PYTHON' || fail "run --json is not as promised: $(cat first)"
import json
answer = json.load(open("first"))
assert list(answer) == ["text", "reasoning", "finish_reason", "usage", "settings", "messages", "repairs", "prompt_ids",
                        "ids"], list(answer)
assert answer["finish_reason"] in ("stop", "tool_call", "length")
assert answer["usage"]["prompt_tokens"] == len(answer["prompt_ids"])
assert answer["usage"]["answer_tokens"] == len(answer["ids"])
assert 0 <= answer["usage"]["reasoning_tokens"] <= answer["usage"]["answer_tokens"]
assert answer["settings"] == {"effort": "medium", "date": None, "system": None, "seed": 3, "temperature": 1.0,
                              "top_p": 1.0, "top_k": 0, "min_p": 0.0}
assert all(message["role"] == "assistant" for message in answer["messages"])
assert all(sorted(repair) == ["kind", "position"] for repair in answer["repairs"])
PYTHON

for options in "--threads 2" "--threads 3 --isa avx2 --chunk 7" "--isa avx512 --chunk 1" "--context 131072" "--chunk 4096"; do
    case $(uname -m) in x86_64) ;; *) options=$(echo "$options" | sed 's/--isa avx[0-9]*/--isa neon/') ;; esac
    # shellcheck disable=SC2086 # a list of words is meant
    "$program" run -m toy --seed 3 --json $options hello there >again || fail "run $options failed"
    cmp first again || fail "run $options gives another answer"
done
printf 'hello there\n' | "$program" run -m toy --seed 3 --json | cmp - first || fail "a prompt on standard input is another one"
"$program" run -m toy --seed 4 --json hello there | cmp -s - first && fail "the seed changes nothing"
equal "$("$program" run -m toy --seed 3 hello there)" \
    "$(python3 -c 'import json; print(json.load(open("first"))["text"].rstrip("\n"))')" "the answer without --json"

option() { "$program" run -m toy --json "$@" hi | python3 -c 'import json,sys; a=json.load(sys.stdin); print(a["usage"]["answer_tokens"], a["finish_reason"], bytes(i for i in a["prompt_ids"] if i < 256).decode())'; }
case $(option --max-tokens 2 --temperature 0.01) in "2 length"*) ;; *) fail "--max-tokens 2 is not obeyed" ;; esac
case $(option --effort high --date 2031-02-03 --system "Be kind.") in
*"Current date: 2031-02-03"*"Reasoning: high"*"Be kind."*hi*) ;;
*) fail "effort, date or system do not reach the prompt" ;;
esac
case $(option --date today) in *"Current date: $(date -u +%Y)-"*) ;; *) fail "--date today is not this year" ;; esac
case $(option) in *"Current date"*) fail "a date was told without --date" ;; esac

echo '{"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": false}' >schema
"$program" run -m toy --effort none --schema schema --context 2048 hello | python3 -c 'import json,sys; assert json.load(sys.stdin)["n"] in (1, 2)' ||
    fail "an answer does not satisfy --schema"
echo '{"items": {"uniqueItems": true}}' >schema
expect 1 "/items/uniqueItems" "$program" run -m toy --schema schema hello
expect 1 "nothing.json" "$program" run -m toy --schema nothing.json hello

expect 1 "context" "$program" run -m toy --context 100 hello
expect 1 "model 'toys': no such file" "$program" run -m toys hello

# Ctrl-C while a long prompt is read: 130, soon, and no other words than these.
head -c 100000 /dev/zero | tr '\0' a >long
"$program" run -m toy --context 131072 --isa scalar --threads 1 <long >out 2>err &
job=$!
sleep 1
kill -INT $job
begin=$SECONDS
wait $job
found=$?
[ $found = 130 ] || fail "an interrupted run ended with $found, not 130: $(cat err)"
grep -q interrupted err || fail "an interrupted run says: $(cat err)"
[ $((SECONDS - begin)) -le 20 ] || fail "Ctrl-C took $((SECONDS - begin)) s"

python3 "$tests/apps/terminal.py" "$program" run || exit 1
