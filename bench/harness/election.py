"""One election of one contender: its candidates, and who of them leads."""
import itertools
import signal
import time

from .contenders import Seat
from .processes import Gone, Process, wait_until

_numbers = itertools.count(1)


class Election:
    """Candidates of one contender for a lock of their own."""

    def __init__(self, contender, server, lease, act_ms=0):
        self.contender, self.server, self.lease, self.act_ms = contender, server, lease, act_ms
        self.lock = f"{contender.key}-{next(_numbers)}"
        self.candidates, self._names = [], itertools.count(1)
        if contender.needs_lease:
            server.create_lease(self.lock)

    def start(self, kubeconfig=None, candidates=1):
        """Another process, with one candidate or several."""
        seat = Seat(kubeconfig or self.server.kubeconfig, self.lock, f"c{next(self._names)}",
                    self.lease, self.act_ms, candidates=candidates)
        process = Process(self.contender.command(seat))
        self.candidates.append(process)
        return process

    def start_and_see(self, timeout=20):
        """Another one, once it takes part; and how long that took in milliseconds, where it tells."""
        process = self.start()
        if not self.contender.tells:
            # Long enough to have read the lock; Python takes a while to start.
            process.find("leading") or time.sleep(0.5 if self.contender.is_ours else 1.5)
            return process, None
        seen = wait_until(lambda: process.find("following") or process.find("leading")
                          or process.has_ended(), timeout)
        if not isinstance(seen, dict):
            raise Gone(f"{self.contender.name} does not take part: {process.complaint()}")
        return process, (seen["at"] - process.started_at) * 1000

    def leader(self, timeout=None):
        """The process that leads, waiting for one."""
        def found():
            return next((process for process in self.candidates if process.leads()), None)
        process = wait_until(found, timeout or 3 * self.lease + 10)
        if process is None:
            complaints = [process.complaint() for process in self.candidates]
            raise Gone(f"nobody leads for {self.contender.name}: {complaints}")
        return process

    def next_leader(self, after, timeout=None):
        """The process that first begins to lead after this time, and when it did."""
        def found():
            begun = [(line["at"], process) for process in self.candidates
                     if (line := process.find("leading", after))]
            return min(begun, key=lambda each: each[0], default=None)
        first = wait_until(found, timeout or 3 * self.lease + 10)
        if first is None:
            raise Gone(f"nobody took over for {self.contender.name}")
        return first[1], first[0]

    def check(self):
        """All candidates are still there."""
        for process in self.candidates:
            if process.has_ended():
                raise Gone(f"a candidate of {self.contender.name} ended: {process.complaint()}")

    def drop(self, process):
        """Ends a candidate that is no longer looked at."""
        process.end()
        if process in self.candidates:
            self.candidates.remove(process)

    def end(self):
        for process in self.candidates:
            if not process.has_ended():
                process.signal(signal.SIGTERM)
        for process in list(self.candidates):
            self.drop(process)
