#!/bin/sh
# Install corekit into a virtual environment where it is not there yet, and make the first training
# run. Arguments are passed on: sh tools/quickstart.sh engine.steps=100
extra=demo
. "$(dirname "$0")/environment.sh"
exec "$bin/corekit-train" +recipe=mobileclip/quickstart "$@"
