# The Python environment of start.sh, test.sh and lock.sh. To be sourced, not run.
#
# `ensure_environment LOCK` leaves a virtual environment in $VENV that holds the packages of that
# lock file: made if absent, completed if it was interrupted, brought up to date if the lock file
# changed, otherwise left alone. A copy of each lock file that was installed completely stays in
# the environment as installed-LOCK.
# shellcheck shell=bash

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV=${SAMED2D_VENV:-$ROOT/.venv}
[[ $VENV == /* ]] || VENV=$PWD/$VENV
readonly ROOT VENV

# Built against the torch of the environment, so it comes after everything else. In an isolated
# build it would download torch, several GB, a second time.
readonly BUILT_LAST='^sam2=='

say() {
    printf 'samed2d: %s\n' "$*" >&2
}

fail() {
    say "$*"
    exit 1
}

# Whether $1 runs, is Python 3.11 and can make virtual environments. With -I here and below:
# otherwise modules in the caller's folder, a random.py for instance, would be imported.
is_usable_python() {
    "$1" -I -c 'import ensurepip, sys, venv; sys.exit(sys.version_info[:2] != (3, 11))' \
        >/dev/null 2>&1
}

# Prints the first usable Python 3.11, $PYTHON before all others; ends the script without one.
find_python() {
    local candidate
    local candidates=(python3.11 python3 python /usr/bin/python3.11 /usr/local/bin/python3.11)
    if [[ -n ${PYTHON:-} ]]; then
        candidates=("$PYTHON")
    elif command -v uv >/dev/null; then
        candidates+=("$(uv python find 3.11 2>/dev/null || true)")
    fi
    for candidate in "${candidates[@]}"; do
        if [[ -n $candidate ]] && is_usable_python "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    if [[ -n ${PYTHON:-} ]]; then
        fail "PYTHON=$PYTHON is not a Python 3.11 with the modules venv and ensurepip."
    fi
    fail "Python 3.11 with the modules venv and ensurepip is needed and was not found." \
        "Debian 12: apt-get install python3.11-venv. Elsewhere install Python 3.11 and name it:" \
        "PYTHON=/path/to/python3.11 bash $0"
}

ensure_environment() { # LOCK
    local lock=$1
    [[ ! -e $VENV || -d $VENV ]] || fail "SAMED2D_VENV=$VENV is not a folder."
    if [[ -d $VENV && ! -e $VENV/.samed2d && -n $(ls -A -- "$VENV") && ! -e $VENV/pyvenv.cfg ]]; then
        fail "SAMED2D_VENV=$VENV holds other things. Name an empty or absent folder."
    fi
    if ! is_installed "$lock"; then
        mkdir -p -- "$VENV"
        # In a subshell: the lock must not be inherited by the server.
        (
            wait_for_other_installation
            is_installed "$lock" || install "$lock"
        ) 9>>"$VENV/.samed2d"
    fi
    # Each start reads 10 s longer without the compiled files; they go where they do not disturb.
    unset PYTHONDONTWRITEBYTECODE
    export PATH="$VENV/bin:$PATH"
}

# Whether the lock file is installed completely, at this place: programs in bin/ hold its path.
is_installed() { # LOCK
    is_usable_python "$VENV/bin/python" &&
        cmp -s -- "$ROOT/$1" "$VENV/installed-$1" &&
        ! has_moved
}

wait_for_other_installation() {
    command -v flock >/dev/null || return 0
    if ! flock --nonblock 9; then
        say "another installation into $VENV is running; waiting for it"
        flock 9
    fi
}

install() { # LOCK
    local lock=$1 started=$SECONDS
    make_environment
    rm -f -- "$VENV/installed-$lock"
    say "installing the packages of $lock into $VENV; this takes a minute or a few" \
        "and, with CUDA for torch, 8 GB of disk. An interrupted installation goes on when called again."
    install_packages "$lock" ||
        fail "The installation failed; the reason is above. Without a connection to the Python" \
            "package index name a mirror: PIP_INDEX_URL=https://... bash $0"
    cp -- "$ROOT/$lock" "$VENV/installed-$lock"
    say "installed in $((SECONDS - started)) s"
}

# A working Python 3.11 in $VENV. Only an environment that was made here is ever made anew.
make_environment() {
    local place=$VENV/.samed2d-place made=$VENV/.samed2d-made python
    if ! is_usable_python "$VENV/bin/python" || has_moved; then
        if [[ -e $VENV/pyvenv.cfg && ! -e $made ]]; then
            fail "SAMED2D_VENV=$VENV is no working environment of Python 3.11 at this place," \
                "and was not made by this command. Name another folder."
        fi
        python=$(find_python)
        say "making a virtual environment in $VENV with $("$python" --version) ($python)"
        touch -- "$made"
        find "$VENV" -mindepth 1 -maxdepth 1 ! -name '.samed2d*' -exec rm -rf -- {} +
        "$python" -I -m venv "$VENV"
    fi
    printf '%s\n' "$VENV" >"$place"
}

has_moved() {
    [[ -f $VENV/.samed2d-place && $(<"$VENV/.samed2d-place") != "$VENV" ]]
}

install_packages() { # LOCK
    local lock=$1 first=$VENV/.first-requirements.txt builder=$VENV/.builder-requirements.txt
    entries '^setuptools==' "$ROOT/$lock" >"$builder"
    entries "$BUILT_LAST" "$ROOT/$lock" other >"$first"
    "$VENV/bin/python" -I -m pip --disable-pip-version-check install --quiet --require-hashes \
        --no-deps --requirement "$builder" || return
    export SAM2_BUILD_CUDA=0
    ensure_uv || say "uv is not available here; pip takes its place and needs longer"
    install_files "$first" && install_files "$ROOT/$lock" || return
    [[ -z ${OUR_UV_CACHE:-} ]] || rm -rf -- "$OUR_UV_CACHE"
}

# Prints the packages of a lock file, with their hashes, whose line matches; with a third argument
# all others.
entries() { # REGULAR_EXPRESSION LOCK [other]
    awk -v wanted="$1" -v other="${3:+1}" \
        '/^[^ #]/ { matches = $0 ~ wanted } !/^#/ && matches != (other == 1)' "$2"
}

# All packages are named in the lock file: nothing is resolved. They are built with the setuptools
# that the lock file names. A file whose hash is not in the lock file is not installed.
install_files() { # REQUIREMENTS_FILE
    local options=(--no-deps --no-build-isolation --require-hashes --requirement "$1")
    if [[ -x $VENV/bin/uv ]]; then
        "$VENV/bin/uv" pip install --python "$VENV/bin/python" "${options[@]}" && return
        say "uv failed; trying pip"
    fi
    "$VENV/bin/python" -I -m pip --disable-pip-version-check install --use-pep517 \
        "${options[@]}"
}

# The installer uv in the environment, set up as pip is: uv does not read pip's configuration.
ensure_uv() {
    local pip=("$VENV/bin/python" -I -m pip --disable-pip-version-check)
    local index=${PIP_INDEX_URL:-$("${pip[@]}" config get global.index-url 2>/dev/null || true)}
    local certificates=${PIP_CERT:-$("${pip[@]}" config get global.cert 2>/dev/null || true)}
    "${pip[@]}" install --quiet --require-hashes --no-deps \
        --requirement "$ROOT/scripts/installer.lock" || return
    [[ -z $index ]] || export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}
    [[ -z $certificates ]] || export SSL_CERT_FILE=${SSL_CERT_FILE:-$certificates}
    export UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-120}
    # On the file system of the environment: files are linked, not copied, and what was downloaded
    # before an interruption is not downloaded again.
    if [[ -z ${UV_CACHE_DIR:-} ]]; then
        OUR_UV_CACHE=$VENV/.uv-cache
        export UV_CACHE_DIR=$OUR_UV_CACHE
    fi
}
