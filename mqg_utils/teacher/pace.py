"""How many requests may be under way at once."""

import asyncio
import time


class Pace:
    """How many requests may be under way: halved when the server is busy, one more after each round that went well."""

    def __init__(self, most: int) -> None:
        self.most, self.allowed, self.under_way = most, float(most), 0
        self.lowest = float(most)
        self._free = asyncio.Condition()
        self._not_before = self._slowed = 0.0

    async def enter(self) -> float:
        """Wait for a place; return the time of entering."""
        while True:
            if (pause := self._not_before - time.monotonic()) > 0:
                await asyncio.sleep(pause)
                continue
            async with self._free:
                if self.under_way < int(self.allowed):
                    self.under_way += 1
                    return time.monotonic()
                await self._free.wait()

    async def leave(self) -> None:
        async with self._free:
            self.under_way -= 1
            self._free.notify_all()

    def well(self) -> None:
        self.allowed = min(self.most, self.allowed + 1 / self.allowed)

    def busy(self, entered: float, wait_s: float | None) -> None:
        """Slow down, once for all requests that were under way together."""
        now = time.monotonic()
        if entered >= self._slowed:
            self.allowed, self._slowed = max(1.0, self.allowed / 2), now
            self.lowest = min(self.lowest, self.allowed)
        self._not_before = max(self._not_before, now + (wait_s or 0))
