# tokenize, detokenize, render and parse as a user calls them.
program=$1 tests=$2
. "$tests/apps/lib.sh"

equal "$(printf 'Hello world' | "$program" tokenize)" "[13225,2375]" "tokenize"
equal "$(printf '' | "$program" tokenize)" "[]" "tokenize of nothing"
equal "$(echo '[13225,2375]' | "$program" detokenize)" "Hello world" "detokenize"
equal "$(echo '[]' | "$program" detokenize)" "" "detokenize of nothing"
equal "$(printf '<|start|>' | "$program" tokenize --special)" "[200006]" "tokenize --special"
equal "$(echo '[200006]' | "$program" detokenize --special)" "<|start|>" "detokenize --special"
case "$(printf '<|start|>' | "$program" tokenize)" in *200006*) fail "text became a control token" ;; esac
printf 'Grüße, Привет, 你好, 🌍\n\tx\r\n\0end' >text
"$program" tokenize <text | "$program" detokenize | cmp - text || fail "a text of many scripts changed on the way"
head -c 100000 "$program" | "$program" tokenize >/dev/null || fail "tokenize of a binary file failed"
equal "$(printf 'a "b"\n' | "$program" tokenize --pieces | tail -n 1)" '   1092  "\"\n"' "the last piece"

refuse() { # WORDS COMMAND, standard input given
    "$program" "$2" >out 2>err && fail "$2 accepted $1"
    grep -qF -- "$1" err || fail "$2 did not say '$1': $(cat err)"
    [ ! -s out ] || fail "$2 printed something for bad input"
}
echo '[200006]' | refuse "control token <|start|>" detokenize
echo '[1,2' | refuse "not JSON" detokenize
echo '[1,-2]' | refuse "standard input[1]: not a whole number" detokenize
echo '[1,1.5]' | refuse "standard input[1]: not a whole number" detokenize
echo '[99999999]' | refuse "standard input[0]: the tokenizer has no token 99999999" detokenize
echo '{}' | refuse "not an array" detokenize
echo '{}' | refuse "messages" render
echo '[]' | refuse "messages" render
echo '{"messages":[{"role":"nobody","content":"x"}]}' | refuse "role" render
echo '{"messages":[],"mode":"shout"}' | refuse "mode" render
echo '{"messages":[],"drop":"all"}' | refuse "drop" render
echo '{"messages":[],"drop":"none","auto_drop":true}' | refuse "exclude" render
echo '{"messages":[],"next_role":"nobody"}' | refuse "next_role" render
echo '{"ids":[1],"role":"nobody"}' | refuse "role" parse
echo '{"ids":"x"}' | refuse "ids" parse
echo '7' | refuse "'ids' must be an array" parse
echo '7 8' | refuse "line 1, column 3" parse

equal "$(echo '{"messages":[{"role":"user","content":"hi"}]}' | "$program" render)" \
    '{"text":"<|start|>user<|message|>hi<|end|><|start|>assistant","ids":[200006,1428,200008,3686,200007,200006,173781]}' render
equal "$(echo '{"ids":[200005,17196,200008,3686,200002],"role":"assistant"}' | "$program" parse)" \
    '{"messages":[{"role":"assistant","content":"hi","channel":"final"}],"repairs":[]}' parse
equal "$(echo '{"ids":[200006,1428,200008,3686,200007],"role":null}' | "$program" parse)" \
    '{"messages":[{"role":"user","content":"hi"}],"repairs":[]}' "parse without a role"
echo '{"ids":[3686],"role":"assistant"}' | "$program" parse | grep -q '"repairs":\[{"kind":"[a-z_]*","position":[0-9]*,"message":[0-9]*}' ||
    fail "a broken message was read without a repair"

# Some cases of the published vectors, through the program; tests/harmony runs all of them.
python3 - "$program" "$tests" <<'PYTHON'
import json, subprocess, sys
program, tests = sys.argv[1:]
cases = json.load(open(tests + "/harmony/vectors/harmony_render.json"))["cases"]
for case in cases[::9]:
    request = {key: case[key] for key in ("messages", "mode", "auto_drop", "next_role") if key in case}
    done = subprocess.run([program, "render"], input=json.dumps(request).encode(), capture_output=True)
    assert done.returncode == 0, (case["name"], done.stderr)
    found = json.loads(done.stdout)
    assert sorted(found) == ["ids", "text"], found.keys()
    assert found["ids"] == case["ids"], (case["name"], found["text"], case["text"])
    assert found["text"] == case["text"], case["name"]
print(len(cases[::9]), "conversations rendered")
PYTHON
[ $? = 0 ] || fail "a published conversation renders differently"
