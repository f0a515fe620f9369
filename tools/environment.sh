# Sourced by the scripts beside it: a virtual environment with corekit and the extras named in
# $extra, in $bin. An active environment is used; otherwise .venv in the checkout, made where it is
# not there yet.

cd "$(dirname "$0")/.." || exit 2
if [ -n "${VIRTUAL_ENV:-}" ]; then
    folder=$VIRTUAL_ENV
else
    folder=.venv
    python=${PYTHON:-python3}
    supported='import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))'
    if ! "$python" -c "$supported" 2>/dev/null; then
        echo "corekit needs Python 3.10 to 3.13; '$python' is none. Set PYTHON, as in" \
            "PYTHON=python3.12 sh $0" >&2
        exit 2
    fi
    if [ ! -x "$folder/bin/pip" ] && ! "$python" -m venv "$folder"; then
        echo "'$python' cannot make a virtual environment; on Debian and Ubuntu:" \
            "apt install python3-venv" >&2
        exit 2
    fi
fi
bin=$folder/bin
# the file names this checkout; a newer setup.cfg may ask for more packages
stamp=$folder/corekit-$extra.installed
if [ "$(cat "$stamp" 2>/dev/null)" != "$PWD" ] || [ ! "$stamp" -nt setup.cfg ]; then
    echo "Installing corekit and what it needs into $folder: about 5 GB to download the first time."
    "$bin/python" -m pip install -qq --editable ".[$extra]" || exit 2
    echo "$PWD" >"$stamp"
fi
