# Every route and wire of the server, on the toy model.
program=$1 tests=$2 tools=$3
. "$tests/apps/lib.sh"
python3 -B "$tests/serve/wires.py" "$program" "$tests" "$tools"
