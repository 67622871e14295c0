# pack, inspect and score on the toy model: the same bits from every form, thread count, instruction set and chunk.
program=$1 tests=$2 tools=$3
. "$tests/apps/lib.sh"
mkdir -p "$HOME/.local/share/gossamer/models"
"$tools/make_toy" hf toy || fail "no toy folder"
"$tools/make_toy" gguf toy.gguf || fail "no toy GGUF"
ln -s "$work/toy" "$HOME/.local/share/gossamer/models/little"

ids=$(seq -s, 0 79)
"$program" score -m toy --ids "$ids" --top 3 --threads 1 --isa scalar >first || fail "score failed"
ls "$HOME"/.cache/gossamer/* >/dev/null 2>&1 || fail "the packed file is not in the cache"
[ -z "$(find . "$HOME" -name '*.partial')" ] || fail "a partial file was left"

python3 - <<'PYTHON' || fail "the lines of score are not as promised"
import json
lines = [json.loads(line) for line in open("first")]
assert len(lines) == 81
for i, line in enumerate(lines[:80]):
    assert list(line) == ["pos", "id", "logprob", "top"], line
    assert line["pos"] == i and line["id"] == i
    assert (line["logprob"] is None) == (i == 79)
    assert len(line["top"]) == 3 and all(len(entry) == 2 for entry in line["top"])
    assert line["top"] == sorted(line["top"], key=lambda entry: (-entry[1], entry[0]))
    assert all(entry[1] <= 0 for entry in line["top"])
    if i < 79:
        found = dict(map(tuple, line["top"])).get(i + 1)
        assert found is None or found == line["logprob"]
        assert line["logprob"] <= line["top"][0][1]
assert list(lines[80]) == ["logits_sha256"] and len(lines[80]["logits_sha256"]) == 64
PYTHON

for options in "--threads 2" "--threads 3 --isa avx2 --chunk 7" "--isa avx512 --chunk 1" "--context 80 --backend cpu" \
    "--copy-weights --threads 2" \
    "--chunk 4096 --backend auto"; do
    case $(uname -m) in x86_64) ;; *) options=$(echo "$options" | sed 's/--isa avx[0-9]*/--isa neon/') ;; esac
    # shellcheck disable=SC2086 # a list of words is meant
    "$program" score -m little --ids "$ids" --top 3 $options >again || fail "score $options failed"
    cmp first again || fail "score $options gives other bits"
done

"$program" score -m toy --ids 1,2 --copy-weights 2>&1 >/dev/null | grep -q "^copying" || fail "nothing was copied"
"$program" score -m toy --ids "$ids" --top 3 --logits logits.f32 | cmp first - || fail "--logits changes what is printed"
grep -q "$(sha256sum logits.f32 | cut -d' ' -f1)" first || fail "the digest is not that of the logits written"
expect 1 "no/such/folder" "$program" score -m toy --ids 1 --logits no/such/folder/x

"$program" pack toy.gguf -o packed.goss >out 2>err || fail "pack failed: $(cat err)"
grep -q "packed.goss" out || fail "pack does not name its file: $(cat out)"
grep -q "100 %" err || fail "pack shows no progress: $(cat err)"
"$program" score -m packed.goss --ids "$ids" --top 3 >again || fail "score of the packed file failed"
"$program" score -m toy.gguf --ids "$ids" --top 3 | cmp - again || fail "a GGUF and its packed file differ"
cmp -s first again || fail "the Hugging Face folder and the Q8_0 GGUF differ"
expect 2 "is a packed file already" "$program" pack packed.goss
"$program" pack toy --dense bf16 --json -o dense.goss >out || fail "pack --dense bf16 failed"
python3 -c 'import json,os; o=json.load(open("out")); assert sorted(o)==["bytes","path","seconds"]; assert o["bytes"]==os.path.getsize(o["path"])' ||
    fail "pack --json is not as promised: $(cat out)"
"$program" score -m dense.goss --ids "$ids" --top 3 | cmp -s - first && fail "--dense bf16 changes nothing"

for model in toy toy.gguf packed.goss; do
    "$program" inspect $model >out || fail "inspect $model failed"
    grep -q "n_layer\|layers" out || fail "inspect $model prints no configuration"
    "$program" inspect --json $model >out || fail "inspect --json $model failed"
    python3 - $model <<'PYTHON' || fail "inspect --json $model is not as promised"
import hashlib, json, sys
report = json.load(open("out"))
assert list(report)[:4] == ["path", "format", "config", "tensors"], list(report)
assert report["path"] == sys.argv[1]
assert len(report["tensors"]) > 20
for tensor in report["tensors"]:
    assert list(tensor) == ["name", "type", "shape", "bytes", "sha256"], tensor
    assert len(tensor["sha256"]) == 64
if report["format"].startswith("packed"):
    assert all("sha256" in source for source in report["sources"])
PYTHON
done
cp packed.goss flipped.goss
printf '\377' | dd of=flipped.goss bs=1 seek=5000 conv=notrunc status=none
expect 1 "does not match its SHA-256" "$program" inspect flipped.goss
"$program" inspect --no-digests flipped.goss >/dev/null || fail "inspect --no-digests reads the bytes"
"$program" inspect --json --no-digests toy | grep -q sha256 && fail "--no-digests prints digests"

echo "hello, hello" >text
equal "$("$program" score -m toy --text text | tail -n 1)" \
    "$("$program" score -m toy --ids "$("$program" tokenize -m toy <text | tr -d '[]')" | tail -n 1)" "score --text"
equal "$(printf 'hi <|end|>' | "$program" tokenize -m toy | "$program" detokenize -m toy)" "hi <|end|>" "the toy's tokenizer"

expect 2 "one of --ids and --text" "$program" score -m toy
expect 2 "one of --ids and --text" "$program" score -m toy --ids 1 --text text
expect 2 "320" "$program" score -m toy --ids 1,320
expect 1 "nowhere" "$program" score -m toy --text nowhere
expect 1 "--backend cuda" "$program" score -m toy --ids 1 --backend cuda
expect 1 "at most 131072" "$program" score -m toy --ids 1 --context 131073
expect 1 "80" "$program" score -m toy --ids "$ids" --context 79
expect 1 "config.json" "$program" score -m "$HOME" --ids 1
head -c 5000 toy.gguf >short.gguf
expect 1 "short.gguf" "$program" inspect short.gguf
expect 1 "short.gguf" "$program" pack short.gguf -o short.goss
[ ! -e short.goss ] && [ -z "$(find . -name '*.partial')" ] || fail "a failed pack left a file"
expect 1 "text" "$program" inspect text

"$program" doctor >out || fail "doctor finds fault: $(cat out)"
grep -q "scalar *equal" out && grep -q "little" out || fail "doctor lists no kernels or no models: $(cat out)"
"$program" doctor --json | python3 -c 'import json,sys; r=json.load(sys.stdin); assert list(r)==["machine","kernels","fit","models"]; assert all(k["equal"] for k in r["kernels"]); assert r["models"][0]["name"]=="little"' ||
    fail "doctor --json is not as promised"
