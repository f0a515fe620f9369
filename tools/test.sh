#!/bin/sh
# Install corekit and what its tests need into a virtual environment where they are not there yet, and run the tests.
# Arguments are passed on to pytest: sh tools/test.sh tests/engine -k resume
extra=test
. "$(dirname "$0")/environment.sh"
# A process a core, each of one thread: most tests wait for a command of their own.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec "$bin/python" -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder "$@"
