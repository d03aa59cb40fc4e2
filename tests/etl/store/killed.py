"""A process of its own that kills itself at a named place: killed.py PLACE ACTION URL [PATH].

PLACE "ready" lets it live: it prints "ready" when it begins, for a parent that kills it at a moment of its own.
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from small_build import as_change, make_linked_work, run

from etl.store import open_store, steps
from etl.store.backup import backup, restore
from etl.store.releases import publish


def main(place: str, action: str, url: str, *paths: str) -> None:
    def reached(name: str) -> None:
        if name == place:
            os.kill(os.getpid(), signal.SIGKILL)

    steps.reached = reached
    work = make_linked_work(persons=500)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if action == "build":
        with open_store(url, run_id="r2") as store:
            store.replace(work, run("r2"))
    elif action == "change":
        with open_store(url, run_id="r2") as store:
            store.apply(as_change(work), run("r2"))
    elif action == "publish":
        publish(url, Path(paths[0]), keep=1)
    elif action == "backup":
        backup(url, Path(paths[0]))
    else:
        restore(Path(paths[0]), url, overwrite=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
