# What a request may ask of answers and calls: schemas, objects, tool_choice, strict functions.
program=$1 tests=$2 tools=$3
. "$tests/apps/lib.sh"
python3 -B "$tests/serve/forms.py" "$program" "$tests" "$tools"
