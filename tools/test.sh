#!/bin/sh
# Install corekit and what its tests need into a virtual environment where they are not there yet, and run the tests.
# Arguments are passed on to pytest: sh tools/test.sh tests/engine -k resume
extra=test
. "$(dirname "$0")/environment.sh"
exec "$bin/python" -m pytest "$@"
