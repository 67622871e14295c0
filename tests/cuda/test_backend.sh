# --backend with the emulated GPU's library beside the program: found, loaded, and the CPU's digest.
program=$1 tests=$2 tools=$3
. "$tests/apps/lib.sh"
"$tools/make_toy" hf toy || fail "no toy folder"
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

cp "$tools/libgossamer_cuda.so" lib/gossamer/
"$program" score -m toy --ids "$ids" --top 3 --backend cpu | cmp cpu - || fail "cpu differs from auto without a library"
for options in "--backend cuda" "--backend auto --chunk 7" "--backend cuda --chunk 1"; do
    # shellcheck disable=SC2086 # a list of words is meant
    "$program" score -m toy --ids "$ids" --top 3 $options >again || fail "score $options failed"
    cmp cpu again || fail "score $options gives other bits"
done
mv lib/gossamer/libgossamer_cuda.so bin/
"$program" score -m toy --ids "$ids" --top 3 --backend cuda | cmp cpu - || fail "the library beside the program is not used"
"$program" doctor | grep -q "GPU *emulated GPU" || fail "doctor does not name the GPU"
"$program" run -m toy --backend cpu --seed 3 -n 20 "hello" >cpu.text 2>/dev/null || fail "run on the CPU failed"
"$program" run -m toy --backend cuda --seed 3 -n 20 "hello" >cuda.text 2>/dev/null || fail "run on the GPU failed"
cmp cpu.text cuda.text || fail "an answer of the GPU differs"
