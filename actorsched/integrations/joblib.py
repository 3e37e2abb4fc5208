"""The joblib backend: `import actorsched.integrations.joblib`, then `joblib.parallel_config("actorsched")`.

The law of this module: it is the one home of joblib, and nothing else in the package imports it. Importing it
registers the backend "actorsched" with joblib; that is all it does by itself.

How it works: a `joblib.Parallel` gets an `Executor` of its own, for as long as it lasts, with as many workers
as it has jobs; or it shares one that it is given. joblib gathers short calls into batches by how long they
take. When a call fails, or is given up, those that have not begun are withdrawn, and those that run are
stopped. Inside a call, another `Parallel` uses threads, and sequence below that, as in joblib's own backends;
so nothing waits for workers that it occupies itself.
"""

# What joblib promises of its own classes is inferred from their code, where most answers are None.
# pyright: reportIncompatibleMethodOverride=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from joblib import cpu_count, register_parallel_backend
from joblib.parallel import AutoBatchingMixin, FallbackToBackend, ParallelBackendBase, SequentialBackend

from actorsched.executor import Executor, RuntimeExecutor
from actorsched.specifications import usable_cpus

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from actorsched.options import TaskHost

__all__ = ["ActorschedBackend"]

_JOBLIB = ("nesting_level", "inner_max_num_threads")
"""The options that joblib has for every backend."""


class ActorschedBackend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]  # joblib has no types
    """Runs the calls of a `joblib.Parallel` in host processes, or wherever an executor does.

    Args:
        executor: What runs them; it is shared, and not shut down. None for one of its own.
        host: Where the calls run, when the executor is its own: "process" or "thread".
        options: What joblib asks of every backend.

    Raises:
        TypeError: The executor is none of actorsched's, or there is no such option.
        ValueError: There is no such host.
    """

    supports_retrieve_callback = True

    def __init__(
        self, *, executor: RuntimeExecutor | None = None, host: TaskHost = "process", **options: Any
    ) -> None:
        super().__init__(**options)
        if unknown := sorted(options.keys() - _JOBLIB):
            raise TypeError(f"unknown option {unknown[0]!r}; this backend has executor= and host=")
        if executor is not None and not isinstance(executor, RuntimeExecutor):
            raise TypeError(
                f"executor={executor!r} is no executor of actorsched; give an actorsched.Executor, "
                "or what rt.executor() returns, or leave it out"
            )
        if host not in ("process", "thread"):
            raise ValueError(f'host={host!r} is not a choice; choose from "process", "thread"')
        self.uses_threads = self.supports_sharedmem = host == "thread" and executor is None
        self.parallel: Any = None
        self._host: TaskHost = host
        self._shared = executor
        self._executor: RuntimeExecutor | None = None
        self._settled = threading.Condition()
        self._unsettled: dict[Future[Any], None] = {}

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many calls run at once when so many are asked for; -1 is all there are, -2 one less."""
        if n_jobs == 0:
            raise ValueError("n_jobs=0 has no meaning; give 1 or more, or -1 for all processors")
        if n_jobs is None:
            return 1
        if n_jobs > 0:
            return n_jobs
        most = min(cpu_count(), usable_cpus()) if self._shared is None else self._shared._max_workers
        return max(most + 1 + n_jobs, 1)

    def configure(self, n_jobs: int = 1, parallel: Any = None, **ignored: Any) -> int:
        """A `Parallel` begins. Answers with how many of its calls run at once."""
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        self._executor = self._shared or Executor(n_jobs, self._host, name="joblib")
        return n_jobs

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None) -> Future[Any]:
        """Run a batch of calls."""
        assert self._executor is not None
        future = self._executor.submit(func)
        with self._settled:
            self._unsettled[future] = None
        future.add_done_callback(partial(self._end, callback))
        return future

    def _end(self, callback: Callable[[Any], Any] | None, future: Future[Any]) -> None:
        try:
            if callback is not None:
                callback(future)
        finally:
            with self._settled:
                self._unsettled.pop(future, None)
                self._settled.notify_all()

    def retrieve_result_callback(self, future: Future[Any]) -> Any:
        """What a batch returned, or what it raised."""
        return future.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """A call has failed, or took too long: the others are stopped, and waited for.

        What joblib does at the end of a call must not come to pass when it has begun something else.
        """
        with self._settled:
            futures = list(self._unsettled)
        if self._executor is not None and futures:
            self._executor._stop(futures, "another call of the same Parallel has failed, or was given up")
            if not self._executor._is_own_thread:
                with self._settled:
                    self._settled.wait_for(lambda: not self._unsettled)
        if not ensure_ready:
            self.terminate()

    def terminate(self) -> None:
        """A `Parallel` ends: its own executor ends with it."""
        executor, self._executor = self._executor, None
        if executor is not None and self._shared is None:
            executor.shutdown(wait=not executor._is_own_thread)
        self.reset_batch_stats()


register_parallel_backend("actorsched", ActorschedBackend)
