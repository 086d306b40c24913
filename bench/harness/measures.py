"""What is measured of each contender. Each measure returns plain numbers, one for each time."""
import os
import random
import signal
import subprocess
import threading
import time
from contextlib import nullcontext

from .contenders import Seat
from .election import Election
from .processes import Gone, Process, boot_time, wait_until


def size(bench, contender):
    """Of the program's file, in MiB; an interpreted one has none."""
    if not contender.program.endswith("python"):
        return round(os.path.getsize(contender.program) / (1 << 20), 2)
    return None


def start(bench, contender, server):
    """From the start of a process to leading, on a lock that nobody holds; ms."""
    election = Election(contender, server, bench.lease)
    process = election.start()
    leading = process.wait_for("leading", 30)
    election.end()
    return (leading["at"] - process.started_at) * 1000


# Graceful handover, and a crash: three candidates, and a new one for each that went.

def graceful(bench, contender, server, until):
    """From SIGTERM to the next leader, again and again; and from each start to taking part; ms."""
    election, took, started = Election(contender, server, bench.lease), [], []
    for _ in range(3):
        with bench.quiet:
            election.start_and_see()
    while not took or time.monotonic() < until:
        # At any phase of anybody's polling.
        time.sleep(0.3 + random.random())
        leader = election.leader()
        # What takes milliseconds is measured while nobody starts; others wait for seconds.
        with bench.quiet if contender.is_ours else nullcontext():
            asked = boot_time()
            leader.signal(signal.SIGTERM)
            _, led = election.next_leader(asked)
        took.append((led - asked) * 1000)
        election.drop(leader)
        with bench.quiet:
            started.append(election.start_and_see()[1])
    election.end()
    return {"ms": took, "candidate_ms": [each for each in started if each is not None]}


def floor(bench, server, until):
    """One write, seen through a watch, and one write; ms. In the same minutes as the handovers."""
    seat = Seat(server.kubeconfig, "floor", "floor", bench.lease)
    process = Process([bench.built("bench-floor"), "--kubeconfig", seat.kubeconfig,
                       "--lock", seat.lock], stdin=subprocess.PIPE)
    found = {"written_us": [], "seen_us": [], "answered_us": []}
    while not found["seen_us"] or time.monotonic() < until:
        time.sleep(0.3 + random.random() / 2)
        with bench.quiet:
            before = len(process.events)
            process.child.stdin.write(b"\n")
            process.child.stdin.flush()
            wait_until(lambda: len(process.events) > before, 10)
        for field, values in found.items():
            values.append(process.events[-1][field])
    process.child.stdin.close()
    process.end()
    return {field.replace("_us", "_ms"): [each / 1000 for each in values]
            for field, values in found.items()}


def crash(bench, contender, server, until):
    """From kill -9 to the next leader, again and again, at any moment between two renewals; s."""
    election, took = Election(contender, server, bench.lease), []
    for _ in range(3):
        election.start_and_see()
    while not took or time.monotonic() < until:
        leader = election.leader()
        time.sleep(1 + random.random() * bench.lease * 2 / 3)
        killed = boot_time()
        leader.signal(signal.SIGKILL)
        _, led = election.next_leader(killed)
        took.append(led - killed)
        election.drop(leader)
        election.start_and_see()
    election.end()
    return took


# Two at once: a leader that is stopped past its lease, and one whose connection falls silent.

def overlap(bench, contender, server, fault):
    """What the old leader does after the new one has begun; times in seconds.

    `frozen`: SIGSTOP to the leader and all that it has started, until another leads and a second and a
    half more; then SIGCONT. `held`: its connection stays open, and lets nothing through.
    """
    from .server import Cable
    election = Election(contender, server, bench.lease, act_ms=5)
    cable = Cable(server) if fault == "held" else None
    old = election.start(cable and cable.kubeconfig)
    old.wait_for("leading", 30)
    election.start_and_see()
    time.sleep(1 + random.random() * bench.lease / 3)
    began = boot_time()
    cable.hold() if cable else old.signal_tree(signal.SIGSTOP)
    new, led = election.next_leader(began)
    free = led
    if not cable:
        time.sleep(1.5)
        free = boot_time()
        old.signal_tree(signal.SIGCONT)
    time.sleep(bench.watch_overlap)
    ended = new.find("stopped", led)
    acts = [at for at in old.acts if at > led and (not ended or at < ended["at"])]
    still = bool(acts) and boot_time() - acts[-1] < 0.5
    election.end()
    if cable:
        cable.end()
    return {"acts": len(acts), "s": round(acts[-1] - free, 4) if acts else 0.0,
            "still": still, "after_s": round(led - began, 3)}


# A group: one leads, the others wait.

def group(bench, contender, server, count, handovers):
    """Requests a second while nothing happens, what each weighs, and what a handover costs."""
    election = Election(contender, server, bench.lease)
    election.start()
    election.leader()
    for _ in range(count - 1):
        election.start()
        # All at once they would take more than a second to start, and then poll in step.
        time.sleep(bench.stagger)
    time.sleep(bench.settle)
    election.check()
    leader = election.leader()
    waiting = next(each for each in election.candidates if each is not leader)
    found = {"candidates": count, **_window(server, bench.window, {"leader": leader, "waiting": waiting})}
    found["handovers"] = []
    for _ in range(handovers if contender.releases else 0):
        found["handovers"].append(_handover(election, server))
        if count <= 10:
            election.start_and_see()
        time.sleep(random.random())
    election.end()
    return found


def _window(server, seconds, processes):
    """Requests a second by verb, and processor time and memory of some processes."""
    before, since = server.counts(), time.monotonic()
    cpu = {name: process.cpu_seconds() for name, process in processes.items()}
    time.sleep(seconds)
    passed, after = time.monotonic() - since, server.counts()
    rates = {verb: round((after[verb] - before[verb]) / passed, 3)
             for verb in after if after[verb] != before[verb]}
    weights = {name: {**process.memory_mib(), "cpu_percent": round(
        100 * (process.cpu_seconds() - cpu[name]) / passed, 4)} for name, process in processes.items()}
    return {"rates": rates, **weights}


def _handover(election, server, ask=signal.SIGTERM):
    leader, before, asked = election.leader(), server.counts(), boot_time()
    leader.signal(ask)
    _, led = election.next_leader(asked)
    # Whoever lost the race notices within this time.
    time.sleep(0.5)
    made = server.counts() - before
    if ask == signal.SIGTERM:
        election.drop(leader)
    return {"ms": (led - asked) * 1000, "writes": made["PUT"] + made["PATCH"] + made["POST"],
            "reads": made["GET"] + made["LIST"], "conflicts": made["conflicts"]}


def many_elections(bench, contender, server, count, seconds, has_gaps=True):
    """All of them led by one process."""
    lock = f"{contender.key}-many"
    if contender.needs_lease:
        for number in range(count):
            server.create_lease(f"{lock}-{number}" if count > 1 else lock)
    process = Process(contender.command(Seat(server.kubeconfig, lock, "john", bench.lease,
                                             elections=count)))
    led = wait_until(lambda: len([line for line in process.events if line["event"] == "leading"])
                     >= count or process.has_ended(), 120)
    if not led or process.has_ended():
        raise Gone(f"{contender.name} does not lead {count} elections: {process.complaint()}")
    all_lead = [line["at"] for line in process.events if line["event"] == "leading"][count - 1]
    # Renewals are in step at first; by then each goes its own way.
    time.sleep(bench.settle)
    gaps = _Gaps(server) if has_gaps else None
    found = _window(server, seconds, {"process": process})
    found.update(elections=count, all_lead_s=round(all_lead - process.started_at, 3))
    if gaps:
        found["longest_without_renewal_s"] = gaps.longest()
        # The looks themselves are lists, and nobody's but ours.
        found["rates"].pop("LIST", None)
    process.end(30)
    server.delete_leases()
    return found


class _Gaps:
    """Looks ten times a second at all locks, for the longest that one went without a renewal."""

    def __init__(self, server):
        self._server, self._ends, self._longest = server, threading.Event(), 0.0
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def longest(self):
        self._ends.set()
        self._thread.join()
        return round(self._longest, 2)

    def _look(self):
        seen = {}
        while not self._ends.wait(0.1):
            now = time.monotonic()
            for name, renewed in self._server.renewals().items():
                if name not in seen or seen[name][0] != renewed:
                    gap = now - seen[name][1] if name in seen else 0.0
                    self._longest = max(self._longest, gap)
                    seen[name] = (renewed, now)
        last = [time.monotonic() - since for _, since in seen.values()]
        self._longest = max([self._longest, *last])


# How cost grows.

def growth_of_candidates(bench, contender, server, count, handovers):
    """One election, with so many candidates; a hundred at most in each process."""
    election = Election(contender, server, bench.lease)
    first = election.start()
    election.leader()
    left = count - 1
    while left > 0:
        election.start(candidates=min(left, 100))
        left -= 100
    time.sleep(bench.settle)
    election.check()
    found = {"candidates": count, **_window(server, bench.window_growth, {})}
    found["handovers"] = []
    for _ in range(min(handovers, count - 1)):
        # Only the candidate that leads leaves, whoever shares its process.
        is_first = election.leader() is first
        found["handovers"].append(
            _handover(election, server, signal.SIGTERM if is_first else signal.SIGUSR1))
        time.sleep(0.5 + random.random())
    election.end()
    return found
