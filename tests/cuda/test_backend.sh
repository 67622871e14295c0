# --backend with the emulated GPU's library beside the program: found, loaded, and the CPU's digest.
program=$1 tests=$2 tools=$3
. "$tests/apps/lib.sh"
"$tools/make_toy" hf toy || fail "no toy folder"
[ ! -e "$tools/libgossamer_cuda.so" ] || fail "the library lies beside the programs of other tests, which then run on it"
ids=$(seq -s, 0 59)
mkdir -p bin lib/gossamer
cp "$program" bin/gossamer
program=$work/bin/gossamer

expect 1 "there is no libgossamer_cuda.so" "$program" score -m toy --ids 1 --backend cuda
"$program" score -m toy --ids "$ids" --top 3 >cpu || fail "score without a library failed"
"$program" doctor | grep -q "GPU *none: there is no lib" || fail "doctor does not say that there is no GPU"

echo "no library" >bin/libgossamer_cuda.so
expect 1 "cannot be loaded" "$program" score -m toy --ids 1 --backend cuda
"$program" score -m toy --ids 1 >/dev/null || fail "auto fails where the library cannot be loaded"
cp "$tools/libserve_leak.so" bin/libgossamer_cuda.so
expect 1 "of another version" "$program" score -m toy --ids 1 --backend cuda
rm bin/libgossamer_cuda.so

# A GPU that gives other bits is not used, and said to be wrong.
cp "$tools/wrong/libgossamer_cuda.so" bin/
expect 1 "wrong GPU: does not give the CPU's bits (in a prompt)" "$program" score -m toy --ids 1 --backend cuda
"$program" score -m toy --ids "$ids" --top 3 | cmp cpu - || fail "auto computes on a GPU that is wrong"
"$program" doctor >out && fail "doctor passes a GPU that is wrong"
grep -q "cuda *WRONG: a prompt" out || fail "doctor does not say what is wrong: $(cat out)"
rm bin/libgossamer_cuda.so

cp "$tools/emulated/libgossamer_cuda.so" lib/gossamer/
"$program" score -m toy --ids "$ids" --top 3 --backend cpu | cmp cpu - || fail "cpu differs from auto without a library"
for options in "--backend cuda" "--backend auto --chunk 7" "--backend cuda --chunk 1"; do
    # shellcheck disable=SC2086 # a list of words is meant
    "$program" score -m toy --ids "$ids" --top 3 $options >again || fail "score $options failed"
    cmp cpu again || fail "score $options gives other bits"
done
mv lib/gossamer/libgossamer_cuda.so bin/
"$program" score -m toy --ids "$ids" --top 3 --backend cuda | cmp cpu - || fail "the library beside the program is not used"
"$program" doctor >out || fail "doctor finds fault with the GPU: $(cat out)"
grep -q "cuda *equal, bit for bit" out || fail "doctor does not check the GPU: $(cat out)"
grep -q "GPU *emulated GPU" out || fail "doctor does not name the GPU"
"$program" run -m toy --backend cpu --seed 3 -n 20 "hello" >cpu.text 2>/dev/null || fail "run on the CPU failed"
"$program" run -m toy --backend cuda --seed 3 -n 20 "hello" >cuda.text 2>/dev/null || fail "run on the GPU failed"
cmp cpu.text cuda.text || fail "an answer of the GPU differs"

# A GPU with less and less memory: the CPU takes the experts of one layer after the other, then all, and no bit differs.
split_of() { # LIMIT COMMAND ..: the layers whose experts are on the CPU; the output is in `again`
    limit=$1
    shift
    "$program" "$@" --chunk 8 --context 256 --gpu-memory "$limit" 2>err >again || return 1
    sed -n 's/.*; experts of \([0-9]\) of 4 layers: CPU (.*/\1/p' err
}
seen=""
for limit in 0.0016 0.0014 0.0012 0.0010 0.0009 0.0008 0.0007 0.0006 0.0005 0.0004 0.0003 0.0001; do
    split=$(split_of "$limit" score -m toy --ids "$ids" --top 3) || fail "auto with --gpu-memory $limit: $(cat err)"
    cmp cpu again || fail "other bits with --gpu-memory $limit"
    seen="$seen$split"
done
[ "$seen" = 1234 ] || fail "with less and less memory the experts of $seen layers were on the CPU"
for limit in 0.0010 0.0009 0.0008; do
    split=$(split_of "$limit" run -m toy --backend cuda --seed 3 -n 20 "hello") || fail "run --gpu-memory $limit: $(cat err)"
    cmp cpu.text again || fail "an answer of both differs"
    [ -n "$split" ] && break
done
[ -n "$split" ] || fail "run does not use the CPU"
for limit in 0.0001 0.0003; do # too little for the weights, or for keys and values beside them
    expect 1 "without experts" "$program" score -m toy --ids 1 --chunk 8 --context 256 --backend cuda --gpu-memory "$limit"
done
"$program" bench -m toy --prefill 8 --depth 0 --repeat 1 --no-cold --backend cuda --json >bench.json || fail "bench on the GPU failed"
python3 -c '
import json
report = json.load(open("bench.json"))
assert "weights" not in report and report["prefill"][0]["int8_rate_share"] is None, report
assert report["decode"][0]["memory_rate_share"] is None, report' || fail "bench holds a GPU against the limits of the CPU"
"$program" doctor | grep -q "gpt-oss-20b  *15 of 24 (8k)" || fail "doctor does not say how much of a model fits on the GPU"
"$program" doctor --json | python3 -c 'import json,sys; r=json.load(sys.stdin); assert r["gpu_fit"][1]["contexts"][2]=={"context":131072,"fits":True,"expert_layers":0}' ||
    fail "doctor --json does not say how much of a model fits on the GPU"
