#!/usr/bin/env bash
# usage: planted.sh [SECONDS]   Plants one known bug per fuzzer in a copy of the sources, by removing a check, and
# expects the fuzzer to find it within SECONDS (default 60) from its committed corpus. Needs clang.
set -euo pipefail
seconds=${1:-60}
top=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

# try FUZZER FILE CHECK REPLACEMENT: the text CHECK, which must be in FILE once, gives way to REPLACEMENT.
try() {
    local name=$1 file=$2 check=$3 replacement=$4
    rm -rf "$work"/* && cp -r "$top/src" "$top/include" "$work"/
    python3 - "$work/$file" "$check" "$replacement" <<'PY'
import sys
path, check, replacement = sys.argv[1:]
text = open(path).read()
assert text.count(check) == 1, f"{path}: '{check}' is there {text.count(check)} times"
open(path, "w").write(text.replace(check, replacement))
PY
    clang -g -O1 -std=gnu17 -D_GNU_SOURCE -I"$work/src" -I"$work/include" -I"$top/tests" -ffp-contract=off \
        -fsanitize=address,undefined,fuzzer -fno-sanitize-recover=all "$top/tests/fuzz/fuzz_$name.c" \
        "$work"/src/base/*.c "$work"/src/weights/*.c "$work"/src/model/{config,config_read,fields}.c "$work"/src/net/{url,guard}.c \
        -o "$work/fuzz" -ljansson -lcrypto -lpthread -lm
    mkdir "$work/corpus"
    if timeout $((seconds + 60)) "$work/fuzz" -max_total_time="$seconds" -artifact_prefix="$work/" "$work/corpus" \
        "$top/tests/fuzz/corpus/$name" >"$work/log" 2>&1; then
        echo "$name: NOT found: ${check%%$'\n'*}" && failed=1
    else
        echo "$name: found: $(grep -m1 -oE 'ERROR: [A-Za-z]+: [A-Za-z-]+|runtime error: .*' "$work/log" | cut -c1-70) (${check%%$'\n'*})"
    fi
}

try safetensors src/weights/safetensors.c 'if (last > size)' 'if (0)'
try safetensors src/weights/tensor.c 'if (x->data + x->bytes > y->data)' 'if (0)'
try gguf src/weights/gguf.c 'if (n > r->left)
        return error_set(error, GOSS_E_FORMAT, "%s: %s: a string' 'if (0)
        return error_set(error, GOSS_E_FORMAT, "%s: %s: a string'
try gguf src/weights/gguf.c '|| t->bytes > size - offset[i]' ''
try config src/model/config_read.c 'else if (c->n_stop == MODEL_MAX_STOPS)' 'else if (0)'
try packed src/weights/packed.c '|| s->bytes > end - s->offset' ''
try packed src/weights/packed.c '|| s->offset < from' ''
try url src/net/url.c 'if (low < 0 || high' 'if (high'
exit $failed
