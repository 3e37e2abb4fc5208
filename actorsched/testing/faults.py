"""What goes wrong in a simulation: to messages, and to hosts; by chance, or where a test says so.

The law of this module: it plans, and does nothing itself. Whoever carries a message or a frame asks what
becomes of it. What happens by chance is a choice of the seed, and 0, which is the plain choice, is no fault.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from actorsched.exceptions import shown
from actorsched.testing.patterns import ANY, Message, describe, matches

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorsched._system.call import Call
    from actorsched.testing._hosts.fates import Fate
    from actorsched.testing.mail import SimulatedLane
    from actorsched.testing.world import SimulatedWorld

_DELAYS: Final = (0.001, 0.01, 0.1, 1.0, 10.0)
"""By how many seconds messages are delayed by chance."""
_PAUSES: Final = (0.01, 0.1, 1.0, 10.0)
"""For how many seconds hosts are suspended, or lag, by chance."""
CHANCES: Final = ("drop", "delay", "crash", "hang", "suspend", "lag")
"""What may happen by chance; each is given how probable it is."""


@dataclass(slots=True)
class MailRule:
    """What becomes of certain messages.

    Attributes:
        receiver: Whether a cell is the one that is meant.
        pattern: Which messages are.
        delay: By how many seconds they are delayed; None if they are lost.
        left: How many more of them; None for all.
        title: What people call them.
    """

    receiver: Callable[[Any], bool]
    pattern: Any
    delay: float | None
    left: int | None
    title: str

    def applies(self, call: Call) -> bool:
        """Whether it is about this message; if so, it is about one less from now on."""
        if self.left == 0 or not self.receiver(call.owner):
            return False
        if not matches(self.pattern, Message(call.handler.name, call.args, call.kwargs)):
            return False
        if self.left is not None:
            self.left -= 1
        return True


@dataclass(slots=True)
class HostRule:
    """What becomes of a host at a certain frame.

    Attributes:
        host: Its name; None for any.
        frame: The name of the frame; None for any.
        left: How many of these frames pass before.
        fate: What becomes of the host then.
    """

    host: str | None
    frame: str | None
    left: int
    fate: Fate

    def applies(self, host: Any, frame: object) -> bool:
        """Whether this is the frame."""
        if self.left < 0 or (self.host is not None and host.name != self.host):
            return False
        if self.frame is not None and type(frame).__name__ != self.frame:
            return False
        self.left -= 1
        return self.left < 0


class Faults:
    """The plan of one world.

    Attributes:
        of_mail: Whether anything may become of messages.
        may_choose: Whether messages may be taken in another order than that in which they stand.
        reorders: Whether messages of different senders may overtake each other.
    """

    def __init__(self, world: SimulatedWorld) -> None:
        self._world = world
        self._chances: dict[str, float] = dict.fromkeys(CHANCES, 0.0)
        self._mail: list[MailRule] = []
        self._hosts: list[HostRule] = []
        self._lanes: list[SimulatedLane] = []
        self.of_mail: bool = False
        self.may_choose: bool = False
        self.reorders: bool = False

    def __repr__(self) -> str:
        planned = {name: chance for name, chance in self._chances.items() if chance}
        return f"<faults: {planned}, {len(self._mail)} rules for messages, {len(self._hosts)} for hosts>"

    @property
    def now(self) -> float:
        """The present time."""
        return self._world.now

    # ---------------------------------------------------------------------------------------- planning

    def by_chance(self, chances: dict[str, float], *, reorder: bool) -> None:
        """From now on these happen with these probabilities.

        Raises:
            TypeError: There is no such fault; or its probability is no number.
            ValueError: It is no probability.
        """
        for name, chance in chances.items():
            if name not in CHANCES:
                raise TypeError(f"{name}={shown(chance)} is no fault; there are: {', '.join(CHANCES)}")
            if not isinstance(chance, (int, float)) or isinstance(chance, bool):
                raise TypeError(f"{name}={shown(chance)} is no number; give a probability from 0 to 1")
            if not 0 <= chance <= 1:
                raise ValueError(f"{name}={chance} is no probability; give a number from 0 to 1")
        self._chances.update(chances)
        self.reorders = reorder
        self._plan_mail()
        self._plan_hosts()

    def for_mail(self, rule: MailRule) -> None:
        """One more rule for messages; earlier ones go before."""
        self._mail.append(rule)
        self._plan_mail()

    def for_hosts(self, rule: HostRule) -> None:
        """One more rule for hosts; earlier ones go before."""
        self._hosts.append(rule)
        self._plan_hosts()

    def lane(self, lane: SimulatedLane) -> SimulatedLane:
        """One more mailbox to be known."""
        lane.chooses = self.may_choose
        self._lanes.append(lane)
        return lane

    def _plan_mail(self) -> None:
        self.of_mail = bool(self._mail or self._chances["drop"] or self._chances["delay"])
        if not self.may_choose and (self.of_mail or self.reorders):
            self.may_choose = True
            for lane in self._lanes:
                lane.begin_to_choose()

    def _plan_hosts(self) -> None:
        self._world.fate = self.of_host

    # ------------------------------------------------------------------------------------- what happens

    def choose(self, count: int) -> int:
        """Whose message comes first."""
        return self._world.pick(count, "whose message comes first") if self.reorders else 0

    def of_message(self, call: Call, *, told: bool) -> float | None:
        """By how many seconds a message is delayed; None if it is lost, as only one that is told may be."""
        for rule in self._mail:
            if (told or rule.delay is not None) and self._applies(rule, call):
                self._note(call, rule.delay)
                return rule.delay
        if told and self._happens("drop"):
            self._note(call, None)
            return None
        if self._happens("delay"):
            delay = _DELAYS[self._world.pick(len(_DELAYS), "how late")]
            self._note(call, delay)
            return delay
        return 0.0

    def _applies(self, rule: MailRule, call: Call) -> bool:
        """Whether a rule is about a message. If its pattern raises, that is no failure of whoever sends."""
        try:
            return rule.applies(call)
        except Exception as error:
            error.add_note(f"while looking for {rule.title}, to which something is to happen")
            self._world.failed(error)
            return False

    def of_host(self, host: Any, frame: object, outward: bool) -> Fate:
        """What becomes of a host at a frame that it hears, or (`outward`) has said."""
        fate = next((rule.fate for rule in self._hosts if rule.applies(host, frame)), None)
        fate = fate or self._by_chance()
        if fate is not None:
            how = "says" if outward else "is sent"
            self._world.note("fault", f"{host.name} {_described(fate)} as it {how} {type(frame).__name__}")
        return fate

    def _by_chance(self) -> Fate:
        if self._happens("crash"):
            return "crash"
        if self._happens("hang"):
            return "hang"
        if self._happens("suspend"):
            return "suspend", _PAUSES[self._world.pick(len(_PAUSES), "for how long")]
        if self._happens("lag"):
            return "lag", _PAUSES[self._world.pick(len(_PAUSES), "for how long")]
        return None

    def _happens(self, name: str) -> bool:
        chance = self._chances[name]
        return chance > 0 and self._world.choices.chance(chance)

    def _note(self, call: Call, delay: float | None) -> None:
        if self._world.logs:
            how = "is lost" if delay is None else f"comes {delay:g} s later"
            self._world.note("fault", f"{call.title} {how}")


def receiver_of(to: Any) -> tuple[Callable[[Any], bool], str]:
    """Who is meant: by ref, by name, by class, or anybody.

    Raises:
        TypeError: It is none of these.
    """
    if to is None:
        return _anybody, "anybody"
    if isinstance(to, str):
        return (lambda cell: cell.name == to), f"actor {to!r}"
    if isinstance(to, type):
        return (lambda cell: isinstance(cell.actor_class, type) and issubclass(cell.actor_class, to)), (
            f"actors of class {to.__qualname__}"
        )
    own = getattr(to, "_cell", None)
    if own is None:
        raise TypeError(
            f"to={shown(to)} is no receiver; give an ActorRef, the name of an actor, or a class of actors"
        )
    return (lambda cell: cell is own), f"actor {own.name!r}"


def _anybody(cell: object) -> bool:
    return True


def title_of(to: str, pattern: Any) -> str:
    """What people call the messages that a rule is about."""
    return f"messages to {to}" + ("" if pattern is ANY else f" that are {describe(pattern)}")


def _described(fate: Any) -> str:
    if fate == "crash":
        return "crashes"
    if fate == "hang":
        return "hangs"
    kind, seconds = fate
    return f"is suspended for {seconds:g} s" if kind == "suspend" else f"lags by {seconds:g} s"
