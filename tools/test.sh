#!/bin/sh
# Install corekit and what its tests need into a virtual environment where they are not there yet, and run the tests.
# Arguments are passed on to pytest: sh tools/test.sh tests/engine -k resume
. "$(dirname "$0")/environment.sh" test
exec "$bin/python" -m pytest "$@"
