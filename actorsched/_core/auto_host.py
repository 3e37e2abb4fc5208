"""Which host serves a function best: learned from what its runs have used.

The law of this module: it is told what each run used (`Usage`), and says where the next one is to go. It
never measures, pickles or moves anything, and knows no function.

How it works. What is known of a function are decaying averages for each kind of host, since it was last moved
there: seconds of a processor, seconds in all, and how much of those was its own, because a thread that waits
for the interpreter's lock while others compute does not wait for anything of its own. The laws:

* A plain function begins in a thread, where it cannot block the loop before it is known; one that is marked
  as bound to the processor begins in a process. An async function begins in the loop, and is never in a
  thread.
* Whoever computes for several times what the crossing to a process costs, and computes for most of its time,
  goes to a process. An async function does so only where it computes for long between two awaits as well,
  because otherwise it does the loop no harm.
* Whoever mostly waits, or computes for less than the crossing costs, comes back.
* A plain function of which many runs in a row were far quicker than the hop to a thread is called by the loop
  itself. A single long run takes it out again, and so does an average that is no longer small.
* Whoever cannot be pickled stays at home. After some failures in a row that is not even tried for a while.

It does not flap: the bounds for going are far from those for coming back, a move needs some runs in the
present place, and after each return to a place where it has been before it needs twice as many. What is known
of the crossing, and of moves, is forgotten in time.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

__all__ = ["CROSSING", "LONG", "Average", "Kind", "Learned", "Usage", "Verdict", "choose", "deserves_advice"]

Kind: TypeAlias = Literal["loop", "thread", "process"]
Why: TypeAlias = Literal["first", "computes", "harms", "waits", "quick", "slow", "long"]

CROSSING: Final = 0.0005
"""Seconds that the way to a process and back costs, with small arguments."""
SHORT: Final = 0.00005
"""A plain function that takes less, in seconds, is too short for a thread."""
LONG: Final = 0.001
"""A single run of so many seconds takes a plain function out of the loop."""
LONG_STEP: Final = 0.01
"""So many seconds an async function may compute between two awaits: the longest of each run, averaged."""
ENOUGH: Final = 0.1
"""After so many seconds of computing a function is known, however few runs it took."""
RUNS: Final = 3
"""So many runs it takes otherwise, to begin with."""
SHORT_RUNS: Final = 20
"""So many short runs in a row bring a plain function into the loop."""
MOSTLY: Final = 0.5
"""Who computes for a larger part of its time than this is given advice."""
REFUSALS: Final = 3
"""After so many failures to pickle it in a row, that is not tried for a while."""
PAUSE: Final = 100
"""For so many runs; each further failure doubles it."""

_GAIN: Final = 4.0  # whoever goes to a process computes for so many times what the crossing costs
_MUCH: Final = 0.4  # and for more than this part of its time, on a machine where others may be busy as well;
_LITTLE: Final = 0.2  # whoever comes back, for less than this
_MEMORY: Final = 8  # a run counts for an eighth at least
_MOST_BOUNCES: Final = 8
_LONGEST_PAUSE: Final = 10_000
_FORGIVEN: Final = 32  # after so many times the runs that it needs for a move, one return is forgotten
_FADING: Final = 256.0


class Usage(msgspec.Struct, frozen=True):
    """What one run has used. All times are in seconds.

    Attributes:
        host: Where it ran.
        cpu: For how long it had a processor.
        wall: From its beginning to its end.
        others: For how long all else in that process had one meanwhile.
        step: The longest time without an await.
        returned: Whether it returned; otherwise it raised.
    """

    host: Kind
    cpu: float
    wall: float
    others: float = 0.0
    step: float = 0.0
    returned: bool = True

    @property
    def own(self) -> float:
        """The part of its time in which it did not have to wait for others to compute."""
        return max(self.cpu, self.wall - self.others)

    @property
    def share(self) -> float:
        """The part of its own time in which it computed."""
        return self.cpu / self.own if self.own else 0.0


class Average(msgspec.Struct):
    """What runs in one kind of host have used, on average; later ones count more."""

    runs: int = 0
    cpu: float = 0.0
    wall: float = 0.0
    own: float = 0.0
    step: float = 0.0

    @property
    def share(self) -> float:
        """The part of its own time in which it computed."""
        return min(1.0, self.cpu / self.own) if self.own > 0 else 0.0

    def note(self, usage: Usage) -> None:
        """One more run."""
        self.runs += 1
        weight = 1.0 / min(self.runs, _MEMORY)
        self.cpu += (usage.cpu - self.cpu) * weight
        self.wall += (usage.wall - self.wall) * weight
        self.own += (usage.own - self.own) * weight
        self.step += (usage.step - self.step) * weight


class Verdict(msgspec.Struct, frozen=True):
    """Why a function is where it is.

    Attributes:
        host: Where that is.
        why: What brought it there.
        known: What was known when it was moved.
        crossing: What the way to a process and back cost, in seconds.
    """

    host: Kind
    why: Why
    known: Average
    crossing: float = CROSSING


class Learned(msgspec.Struct):
    """What is known of one function."""

    asynchronous: bool = False
    host: Kind = "thread"
    """Where it is served best, as far as is known."""
    averages: dict[Kind, Average] = {}
    """For each kind of host, since it was last moved there."""
    crossing: float = CROSSING
    """Seconds that the way to a process and back costs, with its arguments and results."""
    streak: int = 0
    """How many runs in a row were short."""
    latest: Usage | None = None
    bounces: int = 0
    """How often it came back to where it had been before; fades."""
    refusals: int = 0
    """How often in a row it could not be pickled."""
    pause: int = 0
    """For how many runs that is not tried again."""
    culprit: str = ""
    """What cannot be pickled, and why."""
    verdict: Verdict | None = None

    @property
    def home(self) -> Kind:
        """Where it is when it is in no process."""
        return "loop" if self.asynchronous else "thread"

    @property
    def place(self) -> Kind:
        """Where its next run is to go."""
        return self.home if self.host == "process" and self.pause else self.host

    @property
    def needed(self) -> int:
        """How many runs in its present place a move takes."""
        return RUNS << self.bounces

    @property
    def needed_in_a_row(self) -> int:
        """How many short runs in a row bring it into the loop."""
        return SHORT_RUNS << self.bounces

    @property
    def here(self) -> Average:
        """What is known of it where it is now."""
        return self.averages.setdefault(self.host, Average())

    def runs_in(self, host: Kind) -> int:
        """How many runs there are known."""
        known = self.averages.get(host)
        return 0 if known is None else known.runs

    def note(self, usage: Usage) -> None:
        """A run is over. One that was in another place than the present one decides nothing."""
        self.averages.setdefault(usage.host, Average()).note(usage)
        if self.pause:
            self.pause -= 1
        if usage.host != "process":
            self.crossing += (CROSSING - self.crossing) / _FADING
        if usage.host != self.host:
            return
        self.latest = usage
        if usage.wall >= SHORT:
            self.streak = 0
        elif usage.returned:
            self.streak += 1
        if self.bounces and self.here.runs % (_FORGIVEN * self.needed) == 0:
            self.bounces -= 1
        host, why = _choice(self)
        if host != self.host:
            self._move(host, why)

    def _move(self, host: Kind, why: Why) -> None:
        known = self.averages[self.host]
        if host in self.averages and self.bounces < _MOST_BOUNCES:
            self.bounces += 1
        self.verdict = Verdict(host, why, msgspec.structs.replace(known), self.crossing)
        self.averages[host] = Average()
        self.host, self.streak, self.latest = host, 0, None

    def crossed(self, seconds: float) -> None:
        """It has been pickled, and the way there and back has cost so much besides what it always costs."""
        self.refusals = 0
        self.crossing += (CROSSING + seconds - self.crossing) / 4

    def refused(self, culprit: str) -> None:
        """It could not be pickled."""
        self.refusals += 1
        self.culprit = culprit
        if self.refusals >= REFUSALS:
            self.pause = min(_LONGEST_PAUSE, PAUSE << min(self.refusals - REFUSALS, 16))


def choose(learned: Learned) -> Kind:
    """Where a function is served best, by what is known of it where it is now."""
    return _choice(learned)[0]


def _choice(learned: Learned) -> tuple[Kind, Why]:
    known = learned.here
    match learned.host:
        case "process":
            return _in_process(learned, known)
        case "loop" if not learned.asynchronous:
            return _plain_in_loop(learned, known)
        case "loop":
            return _async_in_loop(learned, known)
        case _:
            return _in_thread(learned, known)


def _in_thread(learned: Learned, known: Average) -> tuple[Kind, Why]:
    if learned.streak >= learned.needed_in_a_row:
        return "loop", "quick"
    if _is_known(learned, known) and _computes(learned, known):
        return "process", "computes"
    return "thread", "first"


def _async_in_loop(learned: Learned, known: Average) -> tuple[Kind, Why]:
    if _is_known(learned, known) and _computes(learned, known) and known.step >= LONG_STEP:
        return "process", "harms"
    return "loop", "first"


def _plain_in_loop(learned: Learned, known: Average) -> tuple[Kind, Why]:
    if learned.latest is not None and learned.latest.wall >= LONG:
        return "thread", "long"
    if known.runs >= RUNS and known.wall >= 2 * SHORT:
        return "thread", "slow"
    return "loop", "quick"


def _in_process(learned: Learned, known: Average) -> tuple[Kind, Why]:
    if known.runs < learned.needed:
        return "process", "computes"
    if known.share < _LITTLE:
        return learned.home, "waits"
    if known.cpu < max(learned.crossing, LONG_STEP / 2 if learned.asynchronous else 0.0):
        return learned.home, "quick"
    return "process", "computes"


def _is_known(learned: Learned, known: Average) -> bool:
    if known.runs >= learned.needed:
        return True
    return not learned.bounces and known.runs * known.cpu >= ENOUGH


def _computes(learned: Learned, known: Average) -> bool:
    return known.cpu >= _GAIN * learned.crossing and known.share >= _MUCH


def deserves_advice(usage: Usage) -> bool:
    """Whether a plain function has computed in a thread for so long that a process would serve it better."""
    return usage.cpu >= ENOUGH and usage.share > MOSTLY
