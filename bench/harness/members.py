"""One group: its members as processes, and which task runs where, by what the members print."""
import itertools
import signal
import time
from collections import Counter

from .processes import Gone, Process, boot_time, wait_until
from .server import CONFIG_MAPS, LEASES

_numbers = itertools.count(1)


class Group:
    """Members that share tasks under a name of their own."""

    def __init__(self, bench, server, tasks, lease=None, slots=False):
        self.bench, self.server, self.tasks, self.slots = bench, server, tasks, slots
        self.lease, self.name = lease or bench.lease, f"shares-{next(_numbers)}"
        # (at, whether it runs from then on, member, task), of all members.
        self.history = []
        self.members, self._heard, self._names = {}, Counter(), itertools.count(1)
        self._runs_on = {}

    def start(self, members=1, version=""):
        """Another process, with one member or several."""
        name = f"m{next(self._names)}"
        process = Process([self.bench.built("bench-group"), "--kubeconfig", self.server.kubeconfig,
                           "--lock", self.name, "--identity", name, "--lease-duration", self.lease,
                           "--candidates", members, "--tasks", self.tasks, "--version", version,
                           "--slots", "true" if self.slots else "false"])
        each = [name] if members == 1 else [f"{name}-{number}" for number in range(members)]
        self.members.update({member: process for member in each})
        return process

    def names(self, process):
        return [member for member, its in self.members.items() if its is process]

    def hear(self):
        """Takes in what the members have printed since the last time."""
        for process in set(self.members.values()):
            events = process.events[self._heard[process]:]
            self._heard[process] += len(events)
            for event in events:
                self._note(event["at"], event["event"] == "runs", event["identity"], event["lock"])

    def _note(self, at, runs, member, task):
        self.history.append((at, runs, member, task))
        here = self._runs_on.setdefault(task, {})
        if runs:
            here[member] = at
        else:
            here.pop(member, None)

    def owners(self):
        """The member that runs each task, of those that run."""
        self.hear()
        return {task: next(iter(here)) for task, here in self._runs_on.items() if here}

    def all_run(self):
        return len(self.owners()) == self.tasks

    def last_start(self):
        """When the last of the tasks began that run now."""
        return max(max(here.values()) for here in self._runs_on.values() if here)

    def wait_until_all_run(self, timeout=90):
        if not wait_until(self.all_run, timeout):
            self._fail(f"{len(self.owners())} of {self.tasks} tasks run after {timeout} s")

    def settle(self, timeout=120):
        """Waits until all tasks run, and none has started or stopped for a while."""
        until, quiet_since, known = time.monotonic() + timeout, time.monotonic(), -1
        while time.monotonic() < until:
            if not self.all_run() or len(self.history) != known:
                quiet_since, known = time.monotonic(), len(self.history)
            if time.monotonic() - quiet_since > self.bench.quiet_for:
                return
            time.sleep(0.05)
        self._fail("it does not settle")

    def wait_until_even(self, timeout):
        """Waits until no member has more than a tenth above the mean, or one task."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            loads = self.loads()
            if self.all_run() and loads["most"] <= max(1.1 * loads["mean"], loads["mean"] + 1):
                return
            time.sleep(0.1)
        self._fail(f"the loads are not even after {timeout} s")

    def wait_for_seats(self, count, timeout=60):
        """Waits until so many members have their seats."""
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            seats = [spec for name, spec in self.server.leases().items() if name.startswith(f"{self.name}.")]
            if sum(bool(spec.get("holderIdentity")) for spec in seats) == count:
                return
            time.sleep(0.1 + count / 1000)
        self._fail(f"{count} members are not seated after {timeout} s")

    def loads(self):
        """How many tasks the most loaded member has, and the mean."""
        of = Counter(self.owners().values())
        return {"most": max(of.values()), "mean": self.tasks / len(self.members)}

    def allocator(self):
        return self.members[self.server.leases()[self.name]["holderIdentity"]]

    def kill(self, processes):
        """Ends them with no chance to say so. Returns when that was."""
        killed = boot_time()
        for process in processes:
            process.signal(signal.SIGKILL)
        for process in processes:
            process.child.wait()
        # What they had printed before is still read.
        time.sleep(0.1)
        self.hear()
        for process in processes:
            for member in self.names(process):
                for task in [task for task, here in self._runs_on.items() if member in here]:
                    self._note(killed, False, member, task)
            self._forget(process)
        return killed

    def stop(self, process):
        """Asks it to leave, and waits until it has."""
        process.end(30)
        time.sleep(0.1)
        self.hear()
        self._forget(process)

    def _forget(self, process):
        process.end()
        self.members = {member: its for member, its in self.members.items() if its is not process}

    def configure(self, tasks):
        """Writes the list of tasks as people edit it: weights and pins."""
        name = f"{self.name}.config"
        body = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"tasks": tasks},
                "metadata": {"name": name, "labels": {"incumbent.dev/group": self.name}}}
        self.server.put(CONFIG_MAPS, name, body)

    def end(self):
        for process in set(self.members.values()):
            process.signal(signal.SIGTERM)
        for process in set(self.members.values()):
            process.end(30)
        self.server.delete_all(self.name)

    def _fail(self, what):
        ended = [process.complaint() for process in set(self.members.values()) if process.has_ended()]
        raise Gone(f"group {self.name}: {what}; members that ended: {ended}")


def moves(history, owners):
    """What happened to tasks whose owners were these: gaps of those that moved, and what should not happen."""
    owners, stopped, runs = dict(owners), {}, set(owners)
    found = {"moves": 0, "gaps_ms": [], "stopped_in_place": 0, "two_owners": 0}
    for at, starts, member, task in sorted(history, key=lambda moment: (moment[0], moment[1])):
        if not starts:
            stopped[task] = at
            runs.discard(task)
            continue
        found["two_owners"] += task in runs
        if owners.get(task) == member:
            found["stopped_in_place"] += 1
        elif task in owners:
            found["moves"] += 1
            found["gaps_ms"].append((at - stopped.get(task, at)) * 1000)
        owners[task] = member
        runs.add(task)
    return found
