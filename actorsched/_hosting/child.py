"""Where a host begins.

The law of this module: it gets a process ready that the spawner has forked, the same for both kinds, and
hands over to `child_tasks` or `child_actors`, which run until there is nothing more to do. The time from here
to the first result is somebody's waiting time.

How it works: it takes its parent's place in the system, then what was handed over is put in force, then comes
the kind's own module. An error before the first frame goes to stderr, where the parent's own output goes, and
the exit code tells the parent that this host never started.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from actorsched._hosting.handover import receive, take_over
from actorsched._hosting.imports import when_imported
from actorsched._hosting.logs import catch_logs
from actorsched._hosting.port import Port

if TYPE_CHECKING:
    from actorsched._hosting.child_actors import ActorHost
    from actorsched._hosting.child_tasks import TaskHost


def main(descriptors: dict[str, int]) -> None:
    """Be a host until told to stop.

    Args:
        descriptors: What the parent has given to this host, by name. It hangs on its lifeline already.
    """
    _take_places(descriptors)
    handed = receive(descriptors["socket"])
    take_over(handed)
    _unbuffer_output()
    to_host, from_host = descriptors.get("to_host"), descriptors.get("from_host")
    port = Port(descriptors["socket"], to_host, from_host)
    host: TaskHost | ActorHost
    if handed["kind"] == "tasks":
        from actorsched._hosting.child_tasks import TaskHost

        host = TaskHost(port, descriptors["control"], handed["backend"])
    else:
        from actorsched._hosting.child_actors import ActorHost

        host = ActorHost(port, handed["backend"])
    catch_logs(port, handed["log_levels"])
    when_imported("pdb", lambda: _debug_at_the_terminal(port, handed["group"]))
    host.run()


def _debug_at_the_terminal(port: Port, group: int) -> None:
    from actorsched._hosting.breakpoints import install

    install(port, group)


def _take_places(descriptors: dict[str, int]) -> None:
    """Be where the parent is, and write where it writes; what it has closed leads nowhere here."""
    null = os.open(os.devnull, os.O_WRONLY)
    for number, name in enumerate(("stdout", "stderr"), 1):
        os.dup2(descriptors.get(name, null), number)
    os.close(null)
    if "cwd" in descriptors:
        os.chdir(descriptors["cwd"])
    for name in ("stdout", "stderr", "cwd"):
        if name in descriptors:
            os.close(descriptors.pop(name))


def _unbuffer_output() -> None:
    """What user code prints appears line by line: also where no terminal is, also before a crash."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True)
