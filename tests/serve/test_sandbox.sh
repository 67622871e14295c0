# Nothing leaves the server: by its imports, by its system calls, and by a leak inside it that tries every way out.
program=$1 tests=$2 tools=$3
. "$tests/apps/lib.sh"
python3 -B "$tests/serve/sandbox.py" "$program" "$tests" "$tools"
