"""How many live streams are open, and that they are not too many."""

import weakref

from service.errors import TooManyStreamsError


class Seat:
    """Counts a stream from its admission on: many may be admitted before the first of them begins.

    A stream that never begins leaves its seat when nobody holds it any more.
    """

    def __init__(self, seats: "Seats") -> None:
        self.leave = weakref.finalize(self, seats.give_back)
        self.leave.atexit = False


class Seats:
    """A bounded number of streams of any kind; none once the service stops."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._is_closed = False
        self.taken = 0

    def take(self) -> Seat:
        """TooManyStreamsError if there is none left."""
        if self._is_closed or self.taken >= self._most:
            raise TooManyStreamsError(self._most)
        self.taken += 1
        return Seat(self)

    def give_back(self) -> None:
        """A stream has ended."""
        self.taken -= 1

    def close(self) -> None:
        """Admits nobody from here on."""
        self._is_closed = True
