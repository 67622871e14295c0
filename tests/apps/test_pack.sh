# pack disturbed in every way: whatever happens, the final name holds the whole file or nothing, and the next start works.
program=$1 tests=$2 tools=$3
. "$tests/apps/lib.sh"
"$tools/make_toy" hf toy large || fail "no toy folder"
cache=$HOME/.cache/gossamer
begin=$EPOCHREALTIME
"$program" pack toy -o whole.goss >/dev/null 2>err || fail "pack failed: $(cat err)"
lasts=$(awk "BEGIN {print $EPOCHREALTIME - $begin}") # seconds that packing takes here and now

count() { find "$1" -name "$2" | wc -l; } # files below a folder with such a name
whole() { cmp "$1" whole.goss || fail "$1 is not the whole file: $2"; }

# start OPTIONS..: packs in the background and comes back when the partial file is there.
start() {
    "$program" pack toy "$@" >out 2>err &
    job=$!
    until [ "$(count . '*.partial')" -gt 0 ]; do kill -0 $job 2>/dev/null || fail "pack ended too early: $(cat err)"; done
}

# SIGKILL at random moments.
mkdir killed
hits=0
for i in $(seq 30); do
    if [ $((i % 2)) = 0 ]; then "$program" pack toy -o killed/k >out 2>&1 & else "$program" pack toy >out 2>&1 & fi
    job=$!
    sleep "$(awk "BEGIN {print $lasts * $RANDOM / 30000}")"
    kill -KILL $job 2>/dev/null
    wait $job 2>/dev/null
    hits=$((hits + ($(count . '*.partial') > 0)))
    for file in killed/k "$cache"/*.gossamer; do
        [ ! -e "$file" ] || { whole "$file" "kill $i" && rm "$file"; }
    done
    [ "$(count . '*.partial')" -le 2 ] || fail "killed runs pile up partial files"
done
[ $hits -ge 5 ] || fail "only $hits kills hit a run at work"
"$program" pack toy -o killed/k >/dev/null 2>err || fail "pack after the kills: $(cat err)"
"$program" pack toy >/dev/null 2>err || fail "pack into the cache after the kills: $(cat err)"
whole killed/k "after the kills"
whole "$cache"/*.gossamer "after the kills"
equal "$(count . '*.partial')" 0 "partial files that are left"
rm -r killed "$cache"

# Signals that ask: soon over, nothing left, the status that shells expect.
for signal in INT:130 TERM:143; do
    start -o asked
    kill -"${signal%:*}" $job
    wait $job
    equal $? "${signal#*:}" "the status after SIG${signal%:*}"
    grep -q 'cancelled' err || fail "after SIG${signal%:*}: $(cat err)"
    equal "$(find . -name 'asked*')" "" "what SIG${signal%:*} left"
done

# Two at once, to one place and into the cache.
for options in "-o both" ""; do
    # shellcheck disable=SC2086 # a list of words is meant
    "$program" pack toy $options >/dev/null 2>err1 & first=$!
    # shellcheck disable=SC2086
    "$program" pack toy $options >/dev/null 2>err2 & second=$!
    wait $first || fail "the first of two: $(cat err1)"
    wait $second || fail "the second of two: $(cat err2)"
done
whole both "two at once"
whole "$cache"/*.gossamer "two at once"
equal "$(count . '*.partial')" 0 "partial files of two at once"
rm both

# A packed file of another version: told by name, and made anew where it is only a cache.
stale=$(echo "$cache"/*.gossamer)
cp "$stale" old.goss
for file in "$stale" old.goss; do printf '\001' | dd of="$file" bs=1 seek=8 conv=notrunc status=none; done
expect 1 "old.goss: packed file version 1, this program reads" "$program" run -m old.goss hi
expect 0 "packing again: $stale: packed file version 1, this program reads" "$program" pack toy
whole "$stale" "packed again"
"$program" pack toy >/dev/null 2>err || fail "pack of what is packed: $(cat err)"
grep -q packing err && fail "packed although it is there"
rm old.goss

# A cache loses what can't be used any more, and only that.
mkdir other && cp -r toy other/changed && cp -r toy other/gone && cp -r toy other/busy
for model in changed gone busy; do "$program" pack other/$model >/dev/null 2>&1 || fail "pack other/$model"; done
"$program" pack --dense bf16 toy >/dev/null 2>&1 || fail "pack --dense bf16"
busy=$("$program" pack other/busy | cut -d ' ' -f 1)
"$program" pack --prune | grep -q '^0 packed files removed .* 5 kept$' || fail "pack --prune removed what is of use"
touch other/changed/model.safetensors
rm -r other/gone other/busy
unknown=$cache/00000000000000000000000000000000.gossamer
: >"$unknown"
: >"$cache/notes.txt"
exec 8<>"$busy.lock" && flock 8
"$program" pack --prune >out || fail "pack --prune"
grep -q '^2 packed files removed .* 3 kept$' out || fail "pack --prune: $(cat out)"
grep -q '^1 more' out || fail "pack --prune does not tell of what it does not know: $(cat out)"
exec 8<&-
[ -e "$busy" ] || fail "a file that is being packed was removed"
[ "$("$program" pack --prune --json | grep -o '"removed": *1,')" ] || fail "pack --prune --json"
equal "$(count "$cache" '*.gossamer')" 3 "what pack --prune kept" # toy twice, and the unknown one
[ -e "$cache/notes.txt" ] || fail "pack --prune removed what is not its own"
expect 2 "MODEL is missing" "$program" pack
expect 2 "--prune takes no MODEL" "$program" pack --prune toy
"$program" pack toy 2>err >/dev/null
grep -q packing err && fail "packed again after --prune"
rm -r other "$unknown" "$cache/notes.txt"
rm "$("$program" pack --dense bf16 toy | cut -d ' ' -f 1)"

# A file cut short while it is mapped: its name, and an exit like that of any error.
cp -r toy cut && mv toy toy.kept && mv cut toy
start -o cut.goss
kill -STOP $job
truncate -s 1000000 toy/model.safetensors
kill -CONT $job
wait $job
equal $? 1 "the status after a source was cut short"
grep -q 'toy/.*\(cannot be read any more\|changed while it was packed\)' err || fail "a source cut short: $(cat err)"
[ ! -e cut.goss ] || fail "a source cut short gave a packed file"
expect 1 "toy/model.safetensors" "$program" pack toy -o cut.goss
rm -r toy && mv toy.kept toy
"$program" pack toy -o cut.goss 2>err >/dev/null || fail "pack after a cut source: $(cat err)"
equal "$(count . '*.partial')" 0 "partial files after a cut source"
head -c 100000 /dev/zero | tr '\0' a >long
"$program" run -m cut.goss --context 131072 --isa scalar --threads 2 <long >out 2>err &
job=$!
sleep 1
kill -0 $job || fail "the run did not last: $(cat err)"
truncate -s 4096 cut.goss
wait $job
equal $? 1 "the status after the packed file was cut short"
grep -q 'cut.goss: cannot be read any more' err || fail "a packed file cut short: $(cat err)"

# Disks that are full or closed, where this user may mount one.
unshare -rm true 2>/dev/null || { echo "no mounts here: full disks are not tested"; exit 0; }
mounted() { unshare -rm bash -c "mount -t tmpfs -o $1 none '$2' && shift 2 && \"\$@\"" mounted "$@"; }
mkdir disk
table=$(od -An -t u8 -j 16 -N 8 whole.goss | tr -d ' ') # where the last part of the file begins
expect 1 "disk/x: cannot take the $table bytes it needs: No space left" mounted size=20m disk "$program" pack toy -o disk/x
expect 1 "disk/x: cannot write: No space left" mounted size="$table" disk "$program" pack toy -o disk/x
# shellcheck disable=SC2016 # the inner shell expands
full='"$0" pack toy -o disk/x 2>/dev/null; ls -A disk'
equal "$(mounted size=20m disk bash -c "$full" "$program")" "" "what a full disk holds"
equal "$(mounted size="$table" disk bash -c "$full" "$program")" "" "what a disk holds that became full at the end"
rm -r "$cache"
expect 1 "Read-only file system" mounted ro "$HOME/.cache" "$program" run -m toy hi
"$program" pack toy 2>/dev/null >/dev/null
# shellcheck disable=SC2016
read_only='mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && "$0" run -m toy --max-tokens 2 hi'
unshare -rm bash -c "$read_only" "$program" "$HOME/.cache" >out 2>err || fail "a cache that is read-only: $(cat err)"
