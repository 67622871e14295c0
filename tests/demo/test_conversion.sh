#!/bin/sh
# The algebra of the demo's conversion, on small random matrices: needs numpy, not the model.
python=python3
$python -c "import numpy" 2>/dev/null || python=/usr/bin/python3
exec $python "$2/demo/check_conversion.py"
