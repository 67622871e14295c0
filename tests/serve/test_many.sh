# A thousand connections at once.
program=$1 tests=$2 tools=$3
. "$tests/apps/lib.sh"
python3 -B "$tests/serve/many.py" "$program" "$tests" "$tools"
