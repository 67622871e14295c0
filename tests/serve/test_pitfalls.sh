# Defects of other engines that only a running server can show.
program=$1 tests=$2 tools=$3
. "$tests/apps/lib.sh"
python3 -B "$tests/serve/pitfalls.py" "$program" "$tests" "$tools"
