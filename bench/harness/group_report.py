"""The table of groups, written from the raw figures alone."""
import json
import os
import statistics
from dataclasses import dataclass

from .contenders import ROOT
from .figures import short, summary

PAGE = os.path.join(ROOT, "docs", "performance.md")
BEGIN, END = "<!-- written by bench/groups -->", "<!-- until here -->"
SERVERS = ("dev-server", "kube-apiserver")


@dataclass
class Cell:
    """What was measured, and whether it meets its target."""

    text: str
    is_met: bool = True

    def __str__(self):
        return self.text if self.is_met else f"{self.text} **missed**"


def write(folder):
    """Puts the table into docs/performance.md."""
    results = {}
    for server in SERVERS:
        file = os.path.join(folder, f"groups-{server}.json")
        if os.path.exists(file):
            results[server] = json.load(open(file))
    page = open(PAGE).read()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    with open(PAGE, "w") as out:
        out.write(f"{before}{BEGIN}\n\n{tables(results)}\n\n{END}{after}")


def tables(results):
    """One column a server, one row a figure."""
    heads = [f"- {each['about']['server']}: {each['about']['date']}, commit {each['about']['commit']}, "
             f"{each['about']['machine']}; load before: {each['about']['load_before']}"
             for each in results.values()]
    columns = [dict(_figures(server, each)) for server, each in results.items()]
    rows = list(dict.fromkeys(row for column in columns for row in column))
    lines = ["| | Target | " + " | ".join(results) + " |", "|---" * (2 + len(results)) + "|"]
    for what, target in rows:
        cells = [str(column.get((what, target), "–")) for column in columns]
        lines.append(f"| {what} | {target} | " + " | ".join(cells) + " |")
    return "\n".join([*heads, "", *lines])


def _figures(server, results):
    """Pairs of (what, target) and what was measured."""
    for of in results.get("shares", []):
        yield from _of_size(server, of, results["about"]["sizes"]["tasks"], "tasks", TARGETS)
    for of in results.get("slots", []):
        yield from _of_size(server, of, results["about"]["sizes"]["slots"]["tasks"], "slots", TARGETS_OF_SLOTS)
    if "crashes" in results:
        yield from _of_crashes(results["crashes"])
    for kind, of in results.get("rolling", {}).items():
        yield from _of_rolling(kind, of)
    for of in results.get("large", []):
        yield from _of_large(of)


# By the number of members: requests a second, seconds to the start of the last task, tasks that a join moves.
TARGETS = {10: (2.4, 0.5, 91), 100: (22, 5, 10)}
TARGETS_OF_SLOTS = {100: (22, 5, 41)}
# The seconds are counted until no task moves any more.
TARGETS_OF_LARGE = {1000: (58, 45, 5)}
GAPS = {"dev-server": 4, "kube-apiserver": 12}


def _of_size(server, of, tasks, kind_of_tasks, targets):
    members = of["members"]
    rate, start, moved = targets.get(members, (None, None, None))
    name = f"{members} members, {tasks:,} {kind_of_tasks}: "
    yield _row(name + "requests/s, with reopened watches", rate, [sum(of["rates"].values())])
    yield _row(name + "from nothing until all tasks run, s", start, [each["s"] for each in of["starts"]])
    yield _row(name + "tasks moved by a join", moved, [each["moves"] for each in of["joins"]])
    loads = [each["loads"] for each in of["starts"] + of["joins"]]
    yield (name + "most loaded / mean", "≤ 1.10, or one task more"), _loads(loads)
    both = f"≤ {GAPS['dev-server']} ms; kube-apiserver {GAPS['kube-apiserver']}" if members == 10 else "–"
    for what, kind in (("moved alone", "singles"), ("moved by a join", "joins"),
                       ("of a member that leaves", "leaves")):
        rounds = [of["singles"]] if kind == "singles" and kind in of else of.get(kind, [])
        gaps = [gap for each in rounds for gap in each["gaps_ms"]]
        if gaps:
            is_met = members != 10 or statistics.median(gaps) <= GAPS[server]
            yield (f"{name}no owner, a task {what}, ms", both), Cell(_spread(gaps), is_met)
    yield from _never(name, [*of["joins"], *of["leaves"], *([of["singles"]] if "singles" in of else [])])
    resident = {who: of["memory"][who]["resident"] for who in ("member", "allocator")}
    yield _row(name + "a member, MiB", 8, [resident["member"]])
    yield _row(name + "the allocator, MiB", 30, [resident["allocator"]])


def _of_crashes(crashes):
    for kind, what, slack in (("member", "kill -9 of a member", 0.2),
                              ("both", "the same with the allocator", 1)):
        yield _row(f"{what}: all of its tasks run elsewhere, s", None, [each["s"] for each in crashes[kind]])
        yield _row(f"{what}: the same after the end of its lease, s", slack,
                   [each["after_lease_s"] for each in crashes[kind]])
    yield from _never("kill -9: ", crashes["member"] + crashes["both"])


def _of_rolling(kind, of):
    name = f"rolling restart of {of['members']}, {kind}: "
    yield _row(name + "moves per task", 1 + 2 / of["members"], [of["moves_a_task"]])
    yield (name + "no owner, ms", "–"), Cell(_spread(of["gaps_ms"]))
    yield from _never(name, [of])


def _of_large(of):
    name = f"{of['members']:,} members, {of['tasks']:,} slots, lease {of['lease']} s: "
    rate, start, moved = TARGETS_OF_LARGE.get(of["members"], (None, None, None))
    yield _row(name + "the allocator, MiB; peak", 30, [of["allocator"]["peak"]])
    yield _row(name + "requests/s, with reopened watches", rate, [sum(of["rates"].values())])
    yield _row(name + "all have their seats, s", None, [of["seated_s"]])
    yield _row(name + "the loads are even, s", start, [of["balanced_s"]])
    yield _row(name + "tasks moved by a join", moved, [each["moves"] for each in of["joins"]])
    loads = [of["loads"], *(each["loads"] for each in of["joins"])]
    yield (name + "most loaded / mean", "≤ 1.10, or one task more"), _loads(loads)
    yield from _never(name, of["joins"])


def _never(name, rounds):
    """What is to happen to no task."""
    for what, field in (("stopped without moving", "stopped_in_place"), ("two owners at once", "two_owners")):
        times = sum(each[field] for each in rounds)
        yield (f"{name}tasks that {what}" if field != "two_owners" else f"{name}tasks with {what}", "0"), \
            Cell(f"{times:,}", times == 0)


def _row(what, most, values):
    """A figure whose largest value is to be at most this."""
    target = "–" if most is None else f"≤ {short(most)}"
    return (what, target), Cell(_spread(values), most is None or max(values) <= most + 1e-9)


def _loads(loads):
    is_met = all(each["most"] <= max(1.1 * each["mean"], each["mean"] + 1) for each in loads)
    return Cell(_spread([each["most"] / each["mean"] for each in loads]), is_met)


def _spread(values):
    """Median / p90 / max (runs); of one run, its value."""
    of = summary(values)
    if of["runs"] == 1:
        return short(values[0])
    return " / ".join(short(of[each]) for each in ("median", "p90", "max")) + f" ({of['runs']:,})"
