"""Processes: started, listened to, signalled, weighed, and ended.

Every program of the benchmark prints one JSON object a line, with `at` on the boot-time clock. So what is
measured are the times that the programs themselves wrote down; when this process reads them does not
matter.
"""
import json
import os
import re
import selectors
import signal
import subprocess
import tempfile
import threading
import time

AT = re.compile(rb'"at": ?([0-9.]+)')

_heard = threading.Condition()
_selector = selectors.DefaultSelector()
_alive = set()


def boot_time():
    """Seconds on the clock that all programs write."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Gone(Exception):
    """A process did not do what was waited for."""


class Process:
    """A program that this one has started."""

    def __init__(self, argv, env=None, stdin=subprocess.DEVNULL):
        self.events, self.acts, self._leading, self._rest = [], [], set(), b""
        self._log = tempfile.TemporaryFile()
        self.started_at = boot_time()
        self.child = subprocess.Popen([str(word) for word in argv], env={**os.environ, **(env or {})},
                                      stdin=stdin, stdout=subprocess.PIPE, stderr=self._log)
        with _heard:
            _alive.add(self)
            _selector.register(self.child.stdout, selectors.EVENT_READ, self)

    def find(self, event, after=0.0):
        """The first such event after this time, or None."""
        return next((line for line in self.events
                     if line.get("event") == event and line.get("at", after) >= after), None)

    def wait_for(self, event, timeout, after=0.0):
        """The same, waiting for it."""
        found = wait_until(lambda: self.find(event, after) or self.has_ended(), timeout)
        if not isinstance(found, dict):
            raise Gone(f"no {event!r} from {self.child.args} within {timeout} s: {self.complaint()}")
        return found

    def leads(self):
        """Whether one of its candidates said last that it leads; of the only lock that it is started for."""
        return bool(self._leading) and not self.has_ended()

    def has_ended(self):
        return self.child.poll() is not None

    def signal(self, number):
        self.child.send_signal(number)

    def signal_tree(self, number):
        """Signals it and all that it has started, from the outside in."""
        for process in self.tree():
            try:
                os.kill(process, number)
            except ProcessLookupError:
                pass

    def end(self, timeout=10):
        """Ends it in its own way, or by force."""
        if not self.has_ended():
            self.signal_tree(signal.SIGCONT)
            self.signal(signal.SIGTERM)
        try:
            self.child.wait(timeout)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
        with _heard:
            _alive.discard(self)

    def complaint(self):
        self._log.seek(0)
        return self._log.read()[-500:].decode(errors="replace")

    def tree(self):
        """Its id, and those of all that it has started."""
        found = [self.child.pid] if self.child.poll() is None else []
        for process in found:
            try:
                for task in os.listdir(f"/proc/{process}/task"):
                    with open(f"/proc/{process}/task/{task}/children") as children:
                        found.extend(int(child) for child in children.read().split())
            except OSError:
                pass
        return found

    def cpu_seconds(self):
        """Processor time of the tree so far, to the nanosecond where ticks would be too coarse."""
        total = 0
        for process in self.tree():
            try:
                for task in os.listdir(f"/proc/{process}/task"):
                    with open(f"/proc/{process}/task/{task}/schedstat") as stat:
                        total += int(stat.read().split()[0])
            except OSError:
                pass
        return total / 1e9

    def memory_mib(self):
        """Of the tree: resident, its share where pages are shared, and what no file backs; and the peak."""
        total = {"resident": 0.0, "share": 0.0, "own": 0.0, "peak": 0.0}
        names = {"Rss": "resident", "Pss": "share", "Anonymous": "own"}
        for process in self.tree():
            with open(f"/proc/{process}/smaps_rollup") as rollup:
                for line in rollup:
                    field, _, rest = line.partition(":")
                    if field in names:
                        total[names[field]] += int(rest.split()[0]) / 1024
            with open(f"/proc/{process}/status") as status:
                total["peak"] += int(re.search(r"VmHWM:\s+(\d+)", status.read())[1]) / 1024
        return {name: round(mib, 2) for name, mib in total.items()}

    def _hear(self, chunk):
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if b'"acting"' in line:
                self.acts.append(float(AT.search(line)[1]))
            elif line.startswith(b"{"):
                self._note(json.loads(line))

    def _note(self, line):
        self.events.append(line)
        if line["event"] == "leading":
            self._leading.add(line["identity"])
        elif line["event"] == "stopped":
            self._leading.discard(line["identity"])


def wait_until(condition, timeout):
    """What `condition` gives once it is true, or at the end of the time."""
    until = time.monotonic() + timeout
    with _heard:
        while True:
            value = condition()
            left = until - time.monotonic()
            if value or left <= 0:
                return value
            # Also looks by itself: that a process has ended is nothing one hears.
            _heard.wait(min(left, 0.05))


def end_all(but=None):
    """Ends what was started and still runs."""
    with _heard:
        left = [process for process in _alive if process is not but]
    for process in left:
        if not process.has_ended():
            process.signal_tree(signal.SIGCONT)
            process.signal(signal.SIGTERM)
    for process in left:
        process.end(timeout=5)


def _listen():
    while True:
        for key, _ in _selector.select(0.02):
            chunk = os.read(key.fileobj.fileno(), 1 << 16)
            with _heard:
                if chunk:
                    key.data._hear(chunk)
                else:
                    _selector.unregister(key.fileobj)
                    key.fileobj.close()
                _heard.notify_all()


threading.Thread(target=_listen, daemon=True).start()
