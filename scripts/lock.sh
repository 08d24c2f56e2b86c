#!/usr/bin/env bash
# Renews requirements.lock and requirements-dev.lock after a change of requirements*.txt, and
# scripts/installer.lock, with the SHA-256 of all files that the index has of each package.
# Versions already in a lock file stay; delete a line there to let that package move.
# Takes a minute or more and 5 GB in uv's cache: to learn what sam2 requires uv must build it,
# with torch.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
source scripts/_environment.sh

# The installer: resolves nothing there and downloads in parallel, 4 times as fast as pip.
readonly UV_VERSION=0.13.8

tools=$(mktemp -d)
trap 'rm -rf -- "$tools"' EXIT
"$(find_python)" -I -m venv "$tools"
"$tools/bin/python" -I -m pip --disable-pip-version-check install --quiet "uv==$UV_VERSION"

lock() { # SOURCE LOCK [uv options]
    local source=$1 lock=$2
    shift 2
    # 3.11.0: the oldest Python allowed must find a version of everything.
    # uv leaves setuptools out by itself; the packages built from source need it. pip comes with
    # the environment, and does not replace itself in the middle of an installation.
    "$tools/bin/uv" pip compile --quiet --no-header --no-annotate --python-version 3.11.0 \
        --no-emit-package setuptools --no-emit-package pip "$source" --output-file "$lock" "$@"
    {
        echo "# Made by scripts/lock.sh from $source. All packages, also indirect ones."
        grep '^setuptools==' requirements.txt | sed 's/ *#.*//'
        # torch asks for CUDA on Linux only.
        sed -E "/^(cuda|nvidia|triton)/ s/\$/ ; sys_platform == 'linux'/" "$lock"
    } >"$tools/pins"
    add_hashes "$tools/pins" "$lock"
}

# Neither uv nor pip installs a file with another hash.
add_hashes() { # PINS LOCK
    "$tools/bin/uv" pip compile --quiet --no-header --no-annotate --no-deps --generate-hashes \
        --universal --python-version 3.11.0 "$1" --output-file "$tools/hashed"
    { grep '^#' "$1" && cat "$tools/hashed"; } >"$2.part"
    mv -- "$2.part" "$2"
}

lock requirements.txt requirements.lock
lock requirements-dev.txt requirements-dev.lock --constraint requirements.lock
{
    echo "# Made by scripts/lock.sh. What installs the other packages."
    echo "uv==$UV_VERSION"
} >"$tools/installer"
add_hashes "$tools/installer" scripts/installer.lock
