"""What is measured of a group. Each measure returns plain numbers."""
import random
import time
from datetime import datetime, timezone

from .members import Group, moves
from .processes import boot_time, wait_until

# Each member watches the table, its seat and the allocators' Lease; the allocator and the next two the seats, too.
# Each watch is opened again after this many seconds.
WATCHES_OF_A_MEMBER, WATCHES_OF_SEATS, WATCH_LIFETIME = 3, 3, 900


def from_nothing(bench, server, members, tasks, slots=False):
    """From the start of the first process until all tasks run; the group, too."""
    group, began = Group(bench, server, tasks, slots=slots), boot_time()
    for _ in range(members):
        group.start()
    group.wait_until_all_run()
    found = {"s": group.last_start() - began}
    group.settle()
    found["last_move_s"], found["loads"] = group.last_start() - began, group.loads()
    return group, found


def steady(bench, group, seconds):
    """Requests a second while nothing happens. A watch is opened again too seldom to be seen in a short time."""
    rates = request_rates(group.server, seconds)
    # What the server does for itself.
    rates = {verb: max(0, rate - bench.idle.get(verb, 0)) for verb, rate in rates.items()}
    watches = WATCHES_OF_A_MEMBER * len(group.members) + WATCHES_OF_SEATS
    return {**rates, "WATCH": watches / WATCH_LIFETIME}


def request_rates(server, seconds):
    """Requests a second for Leases and ConfigMaps, by verb."""
    counts = lambda: server.counts(("leases", "configmaps"))  # noqa: E731
    before, since = counts(), time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - since
    made = counts() - before
    return {verb: count / passed for verb, count in made.items() if verb != "conflicts"}


def join(bench, group):
    """One more member: what moves to it, and how long a task had no owner. Then it leaves again."""
    mark, owners = len(group.history), group.owners()
    began, process = boot_time(), group.start()
    wait_until(lambda: process.find("runs"), 30)
    group.settle()
    joined = moves(group.history[mark:], owners)
    joined.update(loads=group.loads(), took_s=group.last_start() - began)
    mark, owners = len(group.history), group.owners()
    group.stop(process)
    group.settle()
    return joined, moves(group.history[mark:], owners)


def single_moves(bench, group, count):
    """One task, moved between two members by a pin."""
    task, members = "tenant-0000", random.sample(sorted(group.members), 2)
    if group.owners()[task] == members[0]:
        members.reverse()
    mark, owners = len(group.history), group.owners()
    for number in range(count):
        there = members[number % 2]
        group.configure(f"{task} pin={there}")
        wait_until(lambda: group.owners().get(task) == there, 20)
        time.sleep(0.2 + random.random() / 5)
    group.settle()
    return moves(group.history[mark:], owners)


def crash(bench, group, with_allocator):
    """`kill -9` of a member, also together with the allocator, until all of its tasks run elsewhere; s."""
    allocator = group.allocator()
    others = [process for process in set(group.members.values()) if process is not allocator]
    killed = [random.choice(others)] + [allocator] * with_allocator
    names = [name for process in killed for name in group.names(process)]
    time.sleep(random.random() * bench.lease / 3)
    mark, owners = len(group.history), group.owners()
    at = group.kill(killed)
    # Of the seats, and of the allocators' Lease: what was renewed last is waited out last.
    leases = group.server.leases()
    looked_at = [f"{group.name}.{name}" for name in names] + [group.name] * with_allocator
    renewed = max(_on_boot_clock(leases[name]["renewTime"]) for name in looked_at)
    group.wait_until_all_run(3 * group.lease + 10)
    ended = group.last_start()
    found = moves(group.history[mark:], owners)
    return {"s": ended - at, "after_lease_s": ended - renewed - group.lease, "lost": found["moves"],
            "stopped_in_place": found["stopped_in_place"], "two_owners": found["two_owners"]}


def _on_boot_clock(text):
    """A time of day, as Kubernetes writes it, on the clock that programs write."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(timezone.utc)
    return moment.timestamp() - time.time() + boot_time()


def rolling(bench, group, with_surge):
    """Each member is replaced by one of the next version, one at a time."""
    mark, owners = len(group.history), group.owners()
    old = sorted(set(group.members.values()), key=lambda process: process.started_at)
    for process in old:
        if with_surge:
            group.start(version="2")
            group.wait_for_seats(len(old) + 1)
        group.stop(process)
        if not with_surge:
            group.start(version="2")
            group.wait_for_seats(len(old))
        group.wait_until_all_run()
    group.settle()
    found = moves(group.history[mark:], owners)
    found["moves_a_task"] = found.pop("moves") / group.tasks
    return {**found, "members": len(old), "loads": group.loads()}


def large(bench, server, members, processes, tasks, lease):
    """An allocator in a process of its own, and many members of slots in few processes; then one more joins."""
    group = Group(bench, server, tasks, lease, slots=True)
    alone = group.start()
    group.wait_until_all_run()
    began = boot_time()
    for number in range(processes):
        group.start((members - 1) // processes + (number < (members - 1) % processes))
    group.wait_for_seats(members, 240)
    seated = boot_time() - began
    group.wait_until_even(240)
    group.settle(240)
    found = {"members": members, "processes": processes + 1, "tasks": tasks, "lease": lease,
             "seated_s": seated, "balanced_s": group.last_start() - began, "loads": group.loads(),
             "allocator": alone.memory_mib()}
    if group.allocator() is not alone:
        raise RuntimeError("another member allocates")
    found["rates"] = steady(bench, group, bench.window)
    found["joins"] = [join(bench, group)[0]]
    found["allocator"] = alone.memory_mib()
    group.end()
    return found
