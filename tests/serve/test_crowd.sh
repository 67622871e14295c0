# One request never touches another: good ones are answered as if alone while hostile ones come in.
program=$1 tests=$2 tools=$3
. "$tests/apps/lib.sh"
python3 -B "$tests/serve/crowd.py" "$program" "$tests" "$tools" 4
