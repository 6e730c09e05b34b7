"""How long the rest of a run will take, from what its steps took where its preset was tried."""

import time
from collections.abc import Callable, Mapping, Sequence


class Clock:
    """Counts a run's steps down. `seconds`: step -> what it took elsewhere; a run with a step that is not in it, or
    whose settings were changed, has no estimate.

    How much faster or slower this machine is shows with every step that ends, and in the one under way.
    """

    def __init__(self, steps: Sequence[str], seconds: Mapping[str, float], now: Callable[[], float] = time.monotonic):
        self._left = {step: seconds[step] for step in steps} if seconds.keys() >= set(steps) else {}
        self._now, self._under_way, self._began = now, "", 0.0
        self._took = self._expected = 0.0

    def start(self, step: str) -> None:
        """A step begins."""
        self._under_way, self._began = step, self._now()

    def end(self, step: str, executed: bool = True) -> None:
        """A step is done, or was there already."""
        if step in self._left:
            expected = self._left.pop(step)
            if executed and step == self._under_way:
                self._took, self._expected = self._took + self._now() - self._began, self._expected + expected
        self._under_way = ""

    def left_s(self) -> float | None:
        """Seconds until the run ends; None where nothing is known."""
        if not self._left:
            return None
        pace = self._took / self._expected if self._expected else 1.0
        passed = self._now() - self._began if self._under_way else 0.0
        rest = {step: pace * expected for step, expected in self._left.items()}
        # a step that takes longer than expected is said to be about to end
        return sum(rest.values()) - min(passed, rest.get(self._under_way, 0.0))

    def words(self) -> str:
        """ " · about 12 min left", or nothing."""
        left = self.left_s()
        if left is None:
            return ""
        return f" · about {left / 60:.0f} min left" if left >= 90 else f" · about {max(10, round(left, -1)):.0f} s left"
