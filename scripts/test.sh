#!/usr/bin/env bash
# Checks the repository: format, lint, shell scripts, types, tests. See --help.
set -euo pipefail

# shellcheck source=scripts/_environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"

readonly ORTHANC=/usr/sbin/Orthanc
readonly DICOMWEB_PLUGIN=/usr/share/orthanc/plugins/libOrthancDicomWeb.so
readonly CHROMIUM=/usr/bin/chromium
readonly NGINX=/usr/sbin/nginx
# A worker with its servers takes some GB of memory.
readonly MOST_WORKERS=4

usage() {
    cat <<TEXT
Usage: bash scripts/test.sh [--install-system] [PYTEST ARGUMENT ...]

Checks format, lint, shell scripts, types and the viewer, then runs the tests. Without arguments of
its own pytest runs all tests, and the programs they need must be installed; nothing is skipped.
They are then shared out among as many workers as there are cores, 4 at most; with arguments of its
own pytest is one process, unless they say otherwise ("-n 2 --dist loadfile").

  --install-system  install missing programs with apt-get (as root or through sudo)
  PYTEST ARGUMENT   paths are relative to the root of the repository

Environment: SAMED2D_VENV and PYTHON as for scripts/start.sh. OMP_NUM_THREADS: threads of each
worker; by default the workers share the cores.

Example: bash scripts/test.sh tests/imaging -k window
TEXT
}

# Prints the Debian packages of the programs that are missing here.
missing_packages() {
    [[ -x $ORTHANC ]] || echo orthanc
    [[ -e $DICOMWEB_PLUGIN ]] || echo orthanc-dicomweb
    [[ -x $CHROMIUM ]] || echo chromium
    [[ -x $NGINX ]] || echo nginx
    # torch.compile writes C++ and has it compiled.
    command -v g++ >/dev/null || echo g++
    # It fetches OHIF and the programs that check our extension of it.
    command -v npm >/dev/null || echo npm
}

install_system_packages() { # PACKAGE ...
    local as_root=()
    ((EUID == 0)) || as_root=(sudo)
    say "installing with apt-get: $*"
    ${as_root[@]+"${as_root[@]}"} apt-get update -qq
    ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" </dev/null
    say "note: Debian starts the services orthanc and nginx where systemd runs; the tests do not" \
        "need them: systemctl disable --now orthanc nginx"
}

install_system=false
pytest_arguments=()
while (($#)); do
    case $1 in
        -h | --help)
            usage
            exit
            ;;
        --install-system) install_system=true ;;
        *) pytest_arguments+=("$1") ;;
    esac
    shift
done

mapfile -t missing < <(missing_packages)
if ((${#missing[@]})) && $install_system; then
    install_system_packages "${missing[@]}"
    mapfile -t missing < <(missing_packages)
fi
if ((${#missing[@]} && !${#pytest_arguments[@]})); then
    fail "The tests need programs that are missing. Call this with --install-system, or:" \
        "apt-get install ${missing[*]}"
fi

ensure_environment requirements-dev.lock
cd -- "$ROOT"

# Types, lint and format of the viewer's JavaScript.
check_viewer() {
    local viewer=apps/samed2d/viewer
    # Not "npm ci": it fails where a registry lacks the linter's builds for other systems.
    npm --prefix "$viewer" install --no-save --silent --no-audit --no-fund &&
        npm --prefix "$viewer" run --silent check
}

# All tests, or those that the arguments name.
run_tests() { # [PYTEST ARGUMENT ...]
    if (($#)); then
        python -m pytest "$@"
        return
    fi
    local cores workers
    # nproc takes OMP_NUM_THREADS for the number of cores.
    cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
    workers=$((cores < MOST_WORKERS ? cores : MOST_WORKERS))
    # A file stays with one worker, as its servers do; tests/conftest.py puts dear files first.
    OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores / workers))} \
        python -m pytest --numprocesses "$workers" --dist loadfile --no-loadscope-reorder
}

failed=()
check() { # NAME COMMAND ...
    local name=$1
    shift
    say "$name"
    "$@" || failed+=("$name")
}
check format python -m ruff format --check .
check lint python -m ruff check .
check shell shellcheck --external-sources scripts/*.sh .ci/run
check types python -m mypy
check viewer check_viewer
check tests run_tests ${pytest_arguments[@]+"${pytest_arguments[@]}"}

((!${#failed[@]})) || fail "failed: ${failed[*]}"
