#!/bin/sh
# Install corekit and what its tests need into a virtual environment where they are not there yet,
# and run the tests. Arguments are passed on to pytest: sh tools/test.sh tests/train -k resume
extra=test
. "$(dirname "$0")/environment.sh"
# Processes of one thread each, one more than there are cores: most tests wait for a command of
# their own.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
processes=$("$bin/python" -c 'import os; print(1 + (os.cpu_count() or 1))')
exec "$bin/python" -m pytest --numprocesses "$processes" --dist loadfile --no-loadscope-reorder "$@"
