# Wrong usage ends with status 2 and a sentence that names what is wrong and what is allowed.
program=$1 tests=$2
. "$tests/apps/lib.sh"

expect 2 "usage" "$program"
expect 2 "there is no command 'rnu'; did you mean 'run'?" "$program" rnu
expect 2 "there is no command 'zzzzzz'" "$program" zzzzzz
expect 2 "did you mean 'detokenize'?" "$program" help detokenise
expect 2 "unknown option '--efort'; did you mean '--effort'?" "$program" run --efort low
expect 2 "unknown option '--xyzzy'" "$program" run --xyzzy
expect 2 "unknown option '-q'" "$program" run -q
expect 2 "--effort needs a value: one of none, low, medium, high" "$program" run --effort
expect 2 "--effort: 'huge' is not one of none, low, medium, high" "$program" run --effort=huge
expect 2 "--threads: '0' is not a whole number from 1 to 1024" "$program" run --threads 0
expect 2 "--threads: '1025' is not" "$program" run --threads 1025
expect 2 "--threads: '3x' is not" "$program" run -t3x
expect 2 "--seed: '-1' is not" "$program" run --seed -1
expect 2 "--temperature: 'nan' is not a number from 0 to 100" "$program" run --temperature nan
expect 2 "--top-p: '1.5' is not a number from 0 to 1" "$program" run --top-p 1.5
expect 2 "--ids: '1,,2' is not whole numbers" "$program" score --ids 1,,2
expect 2 "--json takes no value, not 'x'" "$program" run --json=x
expect 2 "'two' is one argument too many" "$program" inspect one two
expect 2 "MODEL is missing" "$program" inspect
expect 2 "--date: 'tomorrow' is neither YYYY-MM-DD nor 'today'" "$program" run --date tomorrow hi
expect 2 "--date: '2025-02-30'" "$program" run --date 2025-02-30 hi
expect 2 "the prompt is empty" "$program" run
expect 2 "--model is missing" "$program" run hi
expect 1 "model 'no-such-model': no such file or folder" "$program" run -m no-such-model hi
expect 2 "Try 'gossamer run --help'." "$program" run --nothing
"$program" run --help --efort >out 2>&1 && fail "an unknown option after --help passed"

"$program" doctor --json >/dev/full 2>err && fail "a full disk went unnoticed"
grep -q "cannot write" err || fail "a full disk was not named: $(cat err)"
exit 0
