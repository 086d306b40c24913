"""What `bench/groups` does: the phases in their order, at their sizes, and where the results go."""
import argparse
import json
import os
import subprocess
import sys

from . import group_report, sharing
from .command import RESULTS, Bench, about, keep, rounded
from .contenders import INTEROP, ROOT
from .processes import end_all

FULL = dict(lease=15, quiet_for=2.5, window=60, counts={10: dict(starts=5, joins=6, singles=40),
                                                        100: dict(starts=3, joins=3, singles=0)},
            tasks=1000, crash_groups=3, crash_rounds=3, members=10,
            slots=dict(counts={100: dict(starts=3, joins=3, singles=0)}, tasks=4096),
            large=[dict(members=1000, processes=9, tasks=4096, lease=60),
                   dict(members=300, processes=3, tasks=16384, lease=60)])
SHORT = dict(lease=3, quiet_for=1.5, window=1, counts={3: dict(starts=1, joins=1, singles=2)},
             tasks=30, crash_groups=1, crash_rounds=1, members=3,
             slots=dict(counts={3: dict(starts=1, joins=1, singles=0)}, tasks=64),
             large=[dict(members=9, processes=2, tasks=64, lease=6)])


def shares(bench):
    """From nothing to all running, requests, joins and single moves, by the number of members."""
    return _by_members(bench, bench.counts, bench.tasks)


def slots(bench):
    """The same, where the tasks are slots."""
    return _by_members(bench, **bench.slots, slots=True)


def _by_members(bench, counts, tasks, slots=False):
    found = []
    for members, sizes in counts.items():
        starts = []
        for left in reversed(range(sizes["starts"])):
            server = bench.server()
            group, start = sharing.from_nothing(bench, server, members, tasks, slots)
            starts.append(start)
            if left:
                group.end()
                server.end()
        of = {"members": members, "starts": starts, "memory": memory(group)}
        of["rates"] = sharing.steady(bench, group, bench.window)
        rounds = [sharing.join(bench, group) for _ in range(sizes["joins"])]
        of["joins"], of["leaves"] = [joined for joined, _ in rounds], [left for _, left in rounds]
        if sizes["singles"]:
            of["singles"] = sharing.single_moves(bench, group, sizes["singles"])
        group.end()
        server.end()
        found.append(of)
        bench.say(f"  {members} members")
    return found


def memory(group):
    """Of the allocator's process, and of another member's; MiB."""
    allocator = group.allocator()
    member = next(process for process in group.members.values() if process is not allocator)
    return {"allocator": allocator.memory_mib(), "member": member.memory_mib()}


def crashes(bench):
    """`kill -9`, of a member and of one together with the allocator: groups at the same time, each with a server."""
    def cell():
        server = bench.server()
        group, _ = sharing.from_nothing(bench, server, bench.members, bench.tasks)
        found = {"member": [], "both": []}
        for _ in range(bench.crash_rounds):
            for kind, with_allocator in (("member", False), ("both", True)):
                found[kind].append(sharing.crash(bench, group, with_allocator))
                for _ in range(bench.members - len(group.members)):
                    group.start()
                group.wait_for_seats(bench.members)
                group.settle()
        group.end()
        server.end()
        return found
    cells = bench.at_once([cell] * bench.crash_groups)
    return {kind: [each for found in cells for each in found[kind]] for kind in ("member", "both")}


def rolling(bench):
    """A rolling restart with another version: one member at a time, and with one more at a time."""
    found = {}
    for kind, with_surge in (("one at a time", False), ("one more at a time", True)):
        server = bench.server()
        group, _ = sharing.from_nothing(bench, server, bench.members, bench.tasks)
        found[kind] = sharing.rolling(bench, group, with_surge)
        group.end()
        server.end()
    return found


def large(bench):
    """Many members, and what their allocator takes."""
    found = []
    for sizes in bench.large:
        server = bench.server()
        found.append(sharing.large(bench, server, **sizes))
        server.end()
    return found


PHASES = {"shares": shares, "slots": slots, "crashes": crashes, "rolling": rolling, "large": large}


def arguments(description):
    parser = argparse.ArgumentParser(prog="bench/groups", description=description,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true",
                        help="half a minute, debug builds, and figures that mean nothing")
    parser.add_argument("--server", choices=("dev-server", "kube-apiserver"), help="only this one")
    parser.add_argument("--phases", nargs="+", choices=PHASES, help="only these, in this order")
    parser.add_argument("--report", action="store_true", help="measure nothing, write the table again")
    # Set by this program for itself, under `interop/kube-apiserver/with`.
    parser.add_argument("--kubeconfig", help=argparse.SUPPRESS)
    return parser.parse_args()


def main(description):
    args = arguments(description)
    if args.report:
        return group_report.write(RESULTS)
    wanted = [args.server] if args.server else ["dev-server"] if args.short else ["dev-server", "kube-apiserver"]
    if "dev-server" in wanted:
        measure(args, "dev-server", None)
    if "kube-apiserver" in wanted:
        on_kube_apiserver(args)
    if not args.short:
        group_report.write(RESULTS)


def on_kube_apiserver(args):
    """Measures on a kube-apiserver that is started for this; again in this very process once it runs."""
    if args.kubeconfig:
        return measure(args, "kube-apiserver", args.kubeconfig)
    if not os.path.exists(os.path.join(INTEROP, "kube-apiserver")):
        return print("kube-apiserver is not there (see interop/build), and so passed over", file=sys.stderr)
    again = [sys.executable, os.path.join(ROOT, "bench", "groups"), "--server", "kube-apiserver"]
    again += ["--short"] * args.short + (["--phases", *args.phases] if args.phases else [])
    shell = 'exec "$@" --kubeconfig "$INCUMBENT_TEST_KUBECONFIG"'
    subprocess.run([os.path.join(ROOT, "interop", "kube-apiserver", "with"), "sh", "-c", shell, "sh", *again],
                   check=True)


def measure(args, name, kubeconfig):
    """All phases on one server. Each is kept when it is done, so that a failure costs one phase only."""
    profile, sizes = ("debug", SHORT) if args.short else ("release", FULL)
    bench = Bench(sizes, profile, kubeconfig, only=())
    file = None if args.short else os.path.join(RESULTS, f"groups-{name}.json")
    results = json.load(open(file)) if file and args.phases and os.path.exists(file) else {}
    results["about"] = about(bench, sizes)
    try:
        bench.idle = idle(bench)
        for phase in args.phases or PHASES:
            bench.say(f"{phase}: {PHASES[phase].__doc__.strip()}")
            results[phase] = rounded(PHASES[phase](bench))
            keep(file, results)
    finally:
        end_all()
    bench.say("done")
    print(group_report.tables({name: results}))


def idle(bench):
    """What a server does for itself while nothing uses it: a kube-apiserver renews a Lease, and reads."""
    return sharing.request_rates(bench.server(), bench.window) if bench.kubeconfig else {}
