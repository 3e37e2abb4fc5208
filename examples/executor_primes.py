"""An executor in a plain, blocking script: the largest gaps between primes, found in several processes.

The script knows `concurrent.futures` and nothing else. What it gains: lambdas and nested functions travel,
nothing has to stand under `if __name__ == "__main__"`, and when one process dies the others go on.

Run it with `python examples/executor_primes.py`.
"""

# expect: primes below 200000: 17984
# expect: the widest gap: 86, after 155921
# expect: the process that was killed: HostDied, and the others have gone on
# expect: withdrawn before it began: True

from __future__ import annotations

import os
import signal
from concurrent.futures import as_completed
from itertools import pairwise

from actorsched import Executor, HostDied

LIMIT = 200_000
STEP = 20_000


def primes(start: int) -> list[int]:
    """All primes in one part of the numbers."""
    numbers = range(max(start, 2), start + STEP)
    return [n for n in numbers if n % 2 == 1 or n == 2 if all(n % k for k in range(3, int(n**0.5) + 1, 2))]


def main() -> None:
    """Find them."""
    with Executor(max_workers=2) as executor:
        parts = executor.map(primes, range(0, LIMIT, STEP))
        found = [prime for part in parts for prime in part]
        print(f"primes below {LIMIT}: {len(found)}")
        gap, after = max((b - a, a) for a, b in pairwise(found))
        print(f"the widest gap: {gap}, after {after}")

        killed = executor.submit(lambda: os.kill(os.getpid(), signal.SIGKILL))
        others = [executor.submit(pow, number, 2) for number in range(10)]
        assert sum(future.result() for future in as_completed(others)) == 285
        if isinstance(killed.exception(), HostDied):
            print("the process that was killed: HostDied, and the others have gone on")

        late = [executor.submit(primes, start) for start in range(0, LIMIT, STEP)]
        print(f"withdrawn before it began: {late[-1].cancel()}")
        executor.shutdown(cancel_futures=True)


if __name__ == "__main__":
    main()
