# A conversation on a pseudo terminal; see terminal.py.
program=$1 tests=$2 tools=$3
. "$tests/apps/lib.sh"
"$tools/make_toy" hf toy || fail "no toy folder"
python3 "$tests/apps/terminal.py" "$program" chat || exit 1

# Without a terminal, lines of standard input are the messages.
printf 'hello\n/effort low\nagain\n' | "$program" chat -m toy --no-history --max-tokens 5 >out || fail "chat from a pipe failed"
grep -q "effort: low" out || fail "chat from a pipe does not obey commands: $(cat out)"
grep -q "$(printf '\033')" out && fail "chat writes escape sequences into a pipe"
echo '{"messages": 3}' >broken.json
expect 1 "broken.json" "$program" chat -m toy --history broken.json
expect 1 "no conversation to continue" env HOME="$work" "$program" chat -m toy --continue
exit 0
