# The Responses API over WebSockets, on the toy model.
program=$1 tests=$2 tools=$3
. "$tests/apps/lib.sh"
python3 -B "$tests/serve/sockets.py" "$program" "$tests" "$tools"
