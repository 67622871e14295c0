#!/usr/bin/env bash
# usage: planted.sh [SECONDS [FUZZER]]   Plants one known bug at a time in a copy of the sources, by removing a check, and
# expects the fuzzer concerned to find it within SECONDS (default 60) from its committed corpus. Needs clang.
set -euo pipefail
seconds=${1:-60} only=${2:-}
top=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
sanitizers=-fsanitize=address,undefined
flags=(-g -O1 -std=gnu17 -D_GNU_SOURCE "-DTEST_DATA=\"$top/tests\"" "-DO200K_PLANES=\"$top/src/text/data/o200k_base.bin\""
    -ffp-contract=off -fno-sanitize-recover=all "-I$work/src" "-I$work/include" "-I$top/tests")

compile() { # FILE of $work or $top/tests
    clang "${flags[@]}" $sanitizers,fuzzer-no-link -c "$1" -o "$work/objects/$(basename "$(dirname "$1")")_$(basename "$1" .c).o"
}

# Everything that the fuzzers reach, as it is; then each bug compiles one file again.
mkdir "$work/objects"
cp -r "$top/src" "$top/include" "$work"/
for file in "$work"/src/{base,weights,text,harmony,grammar,engine,agent,store,api,model}/*.c "$work"/src/net/{url,guard}.c \
    "$top"/tests/support/{grammar,harmony}.c; do
    compile "$file" &
    [ "$(jobs -r | wc -l)" -lt "$(nproc)" ] || wait -n
done
wait

# try FUZZER FILE CHECK REPLACEMENT: the text CHECK, which must be in FILE once, gives way to REPLACEMENT.
try() {
    local name=$1 file=$2 check=$3 replacement=$4
    [ -z "$only" ] || [ "$only" = "$name" ] || return 0
    python3 - "$work/$file" "$check" "$replacement" <<'PY'
import sys
path, check, replacement = sys.argv[1:]
text = open(path).read()
assert text.count(check) == 1, f"{path}: '{check}' is there {text.count(check)} times"
open(path, "w").write(text.replace(check, replacement))
PY
    compile "$work/$file"
    rm -rf "$work/library.a" "$work/corpus"
    ar rcs "$work/library.a" "$work"/objects/*.o
    clang "${flags[@]}" $sanitizers,fuzzer "$top/tests/fuzz/fuzz_$name.c" "$work/library.a" -o "$work/fuzz" \
        -ljansson -lcrypto -lsqlite3 -lcmocka -lpthread -lm
    mkdir "$work/corpus"
    if timeout $((seconds + 60)) "$work/fuzz" -max_total_time="$seconds" -artifact_prefix="$work/" "$work/corpus" \
        "$top/tests/fuzz/corpus/$name" >"$work/log" 2>&1; then
        echo "$name: NOT found: ${check%%$'\n'*}" && failed=1
    else
        echo "$name: found: $(grep -m1 -oE 'ERROR: [A-Za-z]+: [A-Za-z-]+|runtime error: .*' "$work/log" | cut -c1-70) (${check%%$'\n'*})"
    fi
    cp "$top/$file" "$work/$file"
    compile "$work/$file"
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
try url src/net/url.c '{0x20, 0x7e, 0, 0, 1}' '{0x01, 0x7e, 0, 0, 1}'
try url src/net/guard.c '&& digits > 0 && digits <= 5 && port[1 + digits] == 0' ''
try request src/api/fields.c 'if (n < 5 || p[0]' 'if (p[0]'
try request src/api/completions.c 'API_MAX_CHOICES, 1);' '1 << 20, 1);'
try request src/api/completions.c 'if (n > API_MAX_PROMPTS) {' 'if (0) {'
try request src/text/json_write.c "c >= 0x20 && c != '\"' && c" "c >= 0x20 && c"
try schema src/grammar/regex.c 'if (r->depth == REGEX_DEPTH)' 'if (0)'
try schema src/grammar/mask.c 'node->counted && (n_char < node->least || n_char > node->most)' 'node->counted && n_char > node->most'
try schema src/grammar/mask.c '    memset(scratch->inside, 0, (size_t)run->trie->n_word * sizeof *scratch->inside);' ''
exit $failed
