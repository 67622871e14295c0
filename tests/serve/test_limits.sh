# Each limit of docs/server.md at its edge, on the running server.
program=$1 tests=$2 tools=$3
. "$tests/apps/lib.sh"
python3 -B "$tests/serve/limits.py" "$program" "$tests" "$tools"
