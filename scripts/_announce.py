"""Wait until the server that start.sh starts answers, then print where to go.

Arguments: scheme, host, port, studies, process id of the server. Ends with the server.
"""

import os
import ssl
import sys
import time
import urllib.error
import urllib.request

PAUSE_SECONDS = 0.5
ANY_ADDRESS = ("", "0.0.0.0", "::")


def is_running(process: int) -> bool:
    """Whether a process with this id exists."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def answers(url: str) -> bool:
    """Whether the server answers at ``url``; its certificate is not our concern."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # No proxy: the address is one of this computer.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with opener.open(url, timeout=30):
            return True
    except urllib.error.HTTPError:
        return True  # also a refusal is an answer: sign-in may be switched on
    except OSError:
        return False


def main(scheme: str, host: str, port: str, studies: str, process: str) -> None:
    """Poll the server's /info/ until it answers or ends."""
    began = time.monotonic()
    name = "127.0.0.1" if host in ANY_ADDRESS else f"[{host}]" if ":" in host else host
    url = f"{scheme}://{name}:{port}"
    while not answers(f"{url}/info/"):
        if not is_running(int(process)):
            return
        time.sleep(PAUSE_SECONDS)
    lines = [
        f"samed2d: the server answers after {time.monotonic() - began:.0f} s",
        f"  OHIF viewer     {url}/ohif/",
        f"  about the app   {url}/info/",
        f"  3D Slicer       extension MONAI Label, server {url}",
        "  stop            Ctrl-C",
    ]
    if not studies.startswith(("http://", "https://")):
        lines[1] += "   (lists the studies of a PACS: --studies http://...)"
    if host in ANY_ADDRESS:
        lines.append("  Elsewhere use this computer's name, with a key of scripts/users.py.")
        lines.append("  Without TLS keys and images can be read on the way: put it behind a proxy.")
    print("\n".join(lines), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
