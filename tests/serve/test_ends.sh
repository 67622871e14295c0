# How the server ends, and what becomes of answers whose clients go away.
program=$1 tests=$2 tools=$3
. "$tests/apps/lib.sh"
python3 -B "$tests/serve/ends.py" "$program" "$tests" "$tools"
