"""Where a host begins.

The law of this module: it gets a host process ready, the same for both kinds, and hands over to
`child_tasks` or `child_actors`, which run until there is nothing more to do. It imports as little as it can:
the time from here to the first result is somebody's waiting time.

How it works: the lifeline first, so that whatever follows cannot outlive the parent. Then what was handed
over is put in force; then the kind's own module. An error before the first frame goes to stderr, where the
parent's own output goes, and the exit code tells the parent that this host never started.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from actorsched._hosting.handover import take_over
from actorsched._hosting.lifeline import hang_on
from actorsched._hosting.logs import catch_logs
from actorsched._hosting.port import Port

if TYPE_CHECKING:
    from actorsched._hosting.child_actors import ActorHost
    from actorsched._hosting.child_tasks import TaskHost
    from actorsched._hosting.handover import Handover


def main(handed: Handover) -> None:
    """Be a host until told to stop."""
    descriptors = handed["descriptors"]
    hang_on(descriptors["lifeline"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for descriptor in descriptors.values():
        os.set_inheritable(descriptor, False)
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
    host.run()


def _unbuffer_output() -> None:
    """What user code prints appears line by line: also where no terminal is, also before a crash."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True)
