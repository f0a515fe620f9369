#!/bin/sh
# Install corekit into a virtual environment where it is not there yet, and make the first training run.
# Arguments are passed on: sh tools/quickstart.sh engine.steps=100
. "$(dirname "$0")/environment.sh" demo
exec "$bin/corekit-train" +recipe=mobileclip/quickstart "$@"
