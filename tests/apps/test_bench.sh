# bench: the machine alone, and the toy model with the fields of --json.
program=$1 tests=$2 tools=$3
. "$tests/apps/lib.sh"
"$tools/make_toy" gguf toy.gguf || fail "no toy"

"$program" bench --threads 1 >out || fail "bench of the machine failed"
grep -q "memory read .* GB/s" out && grep -q "int8 products .* Gop/s" out || fail "the machine's rates are missing: $(cat out)"

bench() { "$program" bench -m toy.gguf --threads 1 --repeat 2 "$@"; }
bench --prefill 16,33 --depth 0,40 --json >out 2>err || fail "bench failed: $(cat err)"
python3 - <<'PYTHON' || fail "bench --json is not as promised: $(cat out)"
import json
report = json.load(open("out"))
assert list(report) == ["machine", "weights", "prefill", "decode", "model", "peak_memory_bytes"], list(report)
def spread(figure):
    return 0 < figure["least"] <= figure["median"] <= figure["most"]
machine, model, weights = report["machine"], report["model"], report["weights"]
assert machine["threads"] == 1
assert spread(machine["read_bytes_per_second"]) and machine["read_bytes_per_second"]["median"] > 1e8
assert spread(machine["int8_ops_per_second"]) and machine["int8_ops_per_second"]["median"] > 1e8
assert [row["tokens"] for row in report["prefill"]] == [16, 33]
assert [row["depth"] for row in report["decode"]] == [0, 40]
for row, share in [(row, "int8_rate_share") for row in report["prefill"]] + \
                  [(row, "memory_rate_share") for row in report["decode"]]:
    assert spread(row["tokens_per_second"]) and len(row["runs"]) == 2
    assert row["tokens_per_second"]["least"] == min(row["runs"]) and row["tokens_per_second"]["most"] == max(row["runs"])
    assert row[share] > 0
assert 0 < model["load_seconds"] <= model["first_token_seconds"]
assert spread(model["load_spread"]) and spread(model["first_token_spread"])
for row in report["decode"]: # the share is one of a rate that was measured; keys and values add little here
    rate = row["tokens_per_second"]["median"] * model["weight_bytes_per_token"] / row["memory_rate_share"]
    assert 0.5 * machine["read_bytes_per_second"]["least"] <= rate <= machine["read_bytes_per_second"]["most"]
assert weights["copied"] is False and spread(weights["read_bytes_per_second"])
share = weights["read_bytes_per_second"]["median"] / weights["memory_rate_share"]
assert machine["read_bytes_per_second"]["least"] <= share <= machine["read_bytes_per_second"]["most"]
cold = model["cold"]
assert 0 < cold["load_seconds"] <= cold["first_token_seconds"] and 0 <= cold["still_in_memory"] <= 1
# The toy's weights are 32-bit norms and small matrices: a token reads some of the file, and memory holds all of it but
# not the buffer that the machine's rate was measured with.
assert 1e4 < model["weight_bytes_per_token"] < 1e7
assert 1e6 < report["peak_memory_bytes"] < 2e8, report["peak_memory_bytes"]
PYTHON

bench --prefill 33 --depth 40 --no-cold --isa scalar >out 2>err || fail "bench without a cold start failed: $(cat err)"
grep -q "prefill of 33 .* tokens/s .* % of the int8 rate" out || fail "no prefill: $(cat out)"
grep -q "weights read, mapped .* GB/s .* % of the memory rate" out || fail "no rate of the weights: $(cat out)"
grep -q "decode at depth 40 .* tokens/s .* % of the memory rate" out || fail "no decode: $(cat out)"
grep -q "first token, warm" out && ! grep -q cold out || fail "--no-cold is not obeyed: $(cat out)"

# --seconds ends the repetitions, of which one is always made. An empty list leaves one of the two out; a list without a
# standard must not be empty.
"$program" bench -m toy.gguf --threads 1 --prefill '' --depth 3 --repeat 1000 --seconds 0 --no-cold --json >out || fail "bench --seconds failed"
python3 -c '
import json
report = json.load(open("out"))
assert not report["prefill"] and [len(row["runs"]) for row in report["decode"]] == [1], report' || fail "--prefill '' or --seconds 0: $(cat out)"
expect 2 "ids" "$program" score -m toy.gguf --ids ''

expect 1 "context" "$program" bench -m toy.gguf --threads 1 --prefill 131072 --depth 0 --seconds 0 --no-cold
expect 2 "'mmx'" "$program" bench --isa mmx
expect 1 "toys" "$program" bench -m toys

# Ctrl-C while a long prompt is read: 130, soon.
"$program" bench -m toy.gguf --threads 1 --isa scalar --prefill 65536 --depth 0 --no-cold >out 2>err &
job=$!
for _ in $(seq 300); do grep -q toy.gguf out && break || sleep 0.1; done
kill -INT $job
begin=$SECONDS
wait $job
found=$?
[ $found = 130 ] || fail "an interrupted bench ended with $found, not 130: $(cat err)"
grep -q interrupted err || fail "an interrupted bench says: $(cat err)"
[ $((SECONDS - begin)) -le 20 ] || fail "Ctrl-C took $((SECONDS - begin)) s"
