#!/usr/bin/env bash
# Serves SAM-Med2D through MONAI Label. See --help.
set -euo pipefail

CALLED_FROM=$PWD
# shellcheck source=scripts/_environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/_environment.sh"

usage() {
    cat <<TEXT
Usage: bash scripts/start.sh [--host ADDRESS] [--port NUMBER] [--studies FOLDER|URL] [OPTION ...]

Serves the app samed2d. The first start makes a Python environment in .venv (minutes, 8 GB);
later ones take seconds.

  --host ADDRESS        address to listen on (127.0.0.1: only this computer); others only with keys
                        for people (scripts/users.py) or the host's sign-in (OpenID Connect)
  --port NUMBER         port to listen on (8000)
  --studies FOLDER|URL  folder of images, or the DICOMweb address of a PACS
                        (sample-data/studies of this repository)
  --conf KEY VALUE      option of the app; an unknown key is answered with the list of known ones
  OPTION ...            any other option of "monailabel start_server"

Environment:
  SAMED2D_VENV  folder of the Python environment instead of .venv
  PYTHON        the Python 3.11 to make it with

Example: bash scripts/start.sh --studies ~/ct --conf labels "liver,spleen"
TEXT
}

host=127.0.0.1
port=8000
studies=$ROOT/sample-data/studies
scheme=http
keys=${SAMED2D_API_KEYS:-${XDG_CONFIG_HOME:-${HOME:-}/.config}/samed2d/api-keys.json}
options=()
while (($#)); do
    case $1 in
        -h | --help)
            usage
            exit
            ;;
        -i | --host | -p | --port | -s | --studies)
            (($# > 1)) || fail "$1 needs a value; see --help."
            case $1 in
                -i | --host) host=$2 ;;
                -p | --port) port=$2 ;;
                -s | --studies) studies=$2 ;;
            esac
            shift 2
            ;;
        --host=*) host=${1#*=} && shift ;;
        --port=*) port=${1#*=} && shift ;;
        --studies=*) studies=${1#*=} && shift ;;
        -a | --app | --app=*)
            fail "$1 is not an option here: this command serves apps/samed2d."
            ;;
        -c | --conf)
            (($# > 2)) || fail "$1 needs a name and a value; see --help."
            [[ $2 != api_keys || -z $3 ]] || keys=$3
            options+=("$1" "$2" "$3")
            shift 3
            ;;
        *)
            [[ $1 != --ssl_certfile* ]] || scheme=https
            options+=("$1")
            shift
            ;;
    esac
done

if ! [[ $port =~ ^[1-9][0-9]{0,4}$ ]] || ((port > 65535)); then
    fail "--port $port is not a port. Allowed: 1 to 65535."
fi
case $studies in
    http://* | https://*) ;;
    *)
        [[ $studies == /* ]] || studies=$CALLED_FROM/$studies
        [[ -d $studies ]] || fail "--studies $studies is not a folder. Name an existing folder of" \
            "images, or a DICOMweb address that begins with http:// or https://."
        ;;
esac

# Without sign-in everybody who reaches the server may do everything.
case $host in
    127.* | localhost | ::1) ;;
    *)
        if [[ ! -s $keys && ${MONAI_LABEL_AUTH_ENABLE:-} != [Tt1]* ]]; then
            fail "--host $host lets other computers in, and there is no sign-in yet. First give" \
                "somebody a key: python3.11 scripts/users.py add NAME --role admin. Or leave" \
                "--host out; then only this computer is answered."
        fi
        ;;
esac

# A busy port is said now, not after minutes of installation.
python=$VENV/bin/python
is_usable_python "$python" || python=$(find_python)
"$python" -I - "$host" "$port" <<'PYTHON' || exit 1
import socket
import sys

host, port = sys.argv[1], int(sys.argv[2])
try:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
except OSError as error:
    sys.exit(
        f"samed2d: cannot listen on {host}, port {port}: {error.strerror}. "
        "Stop what uses the port, or choose another with --port."
    )
PYTHON

ensure_environment requirements.lock

# Defaults of the host that do not fit (lib/server/host.py says why); values already set win.
export MONAI_LABEL_DICOMWEB_CACHE_EXPIRY=${MONAI_LABEL_DICOMWEB_CACHE_EXPIRY:-1}
export MONAI_LABEL_TRACKING_ENABLED=${MONAI_LABEL_TRACKING_ENABLED:-false}
export MONAI_LABEL_AUTO_UPDATE_SCORING=${MONAI_LABEL_AUTO_UPDATE_SCORING:-false}
# Python would look for modules in the caller's folder first: a random.py there would end the
# server, and a folder lib hide ours.
export PYTHONSAFEPATH=1
export PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH}

say "starting the server on $scheme://$host:$port with the studies of $studies"
# Twice in the background: the server that replaces this shell gets no child it does not know of.
("$VENV/bin/python" "$ROOT/scripts/_announce.py" "$scheme" "$host" "$port" "$studies" "$$" &)
# Not bin/monailabel: it breaks arguments at spaces.
exec "$VENV/bin/python" -m monailabel.main start_server \
    --app "$ROOT/apps/samed2d" --studies "$studies" --host "$host" --port "$port" \
    ${options[@]+"${options[@]}"}
