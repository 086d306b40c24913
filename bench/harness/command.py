"""What `bench/run` does: the phases in their order, at their sizes, and where the results go."""
import argparse
import datetime
import json
import os
import platform
import random
import re
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from . import measures, report
from .contenders import ROOT, contenders, programs
from .processes import Gone, end_all
from .server import Server

RESULTS = os.path.join(ROOT, "bench", "results")

# How large each phase is: for the figures, and to see in less than a minute that all of it works.
FULL = dict(lease=15, start_rounds=15, graceful_seconds=110, crash_seconds=210, crash_cells=3,
            overlap_rounds=2, overlap_cells=3, watch_overlap=12, groups=(2, 10, 100), window=20,
            settle=6, stagger=0.03, handovers=8, slow_handovers=2, elections=1000, election_rounds=3,
            window_many=20, window_growth=10, growth_candidates=(1, 10, 100, 300, 1000),
            growth_elections=(1, 10, 100, 1000, 10000), growth_handovers=3)
SHORT = dict(lease=3, start_rounds=1, graceful_seconds=4, crash_seconds=3, crash_cells=1,
             overlap_rounds=1, overlap_cells=1, watch_overlap=1, groups=(2, 5), window=2,
             settle=0.5, stagger=0.01, handovers=1, slow_handovers=1, elections=20, election_rounds=1,
             window_many=1.5, window_growth=1, growth_candidates=(4,), growth_elections=(10,),
             growth_handovers=1)

# Those whose curve is drawn, and who lead a thousand elections as often as rounds go.
DRAWN = ("library", "client-go")


class Bench:
    """The settings of a run, and what all phases share."""

    def __init__(self, sizes, profile, kubeconfig, only):
        self.__dict__.update(sizes)
        self.built, self.kubeconfig = programs(profile), kubeconfig
        built = [each for each in contenders(profile) if os.path.exists(each.program)]
        self.contenders = [each for each in built if not only or each.key in only]
        self.missing = sorted({each.key for each in contenders(profile)} - {each.key for each in built})
        # Held while something starts, and while something fast is measured.
        self.quiet = threading.Lock()
        self._began = time.monotonic()

    def server(self):
        """A server of one's own, or the only one there is."""
        return Server(self.kubeconfig) if self.kubeconfig else Server.start(self.built("incumbent"))

    def say(self, text):
        print(f"{time.monotonic() - self._began:5.0f} s  {text}", file=sys.stderr, flush=True)

    def at_once(self, cells):
        """Runs all of them at the same time; their results in the same order."""
        with ThreadPoolExecutor(len(cells)) as pool:
            return [each.result() for each in [pool.submit(cell) for cell in cells]]

    def apart(self, cells):
        """The same, where each counts the requests of its server: in turn if they share it."""
        if self.kubeconfig:
            return [cell() for cell in cells]
        return self.at_once(cells)


def starts(bench):
    """From its start to leading: in turn, in another order each time."""
    found, server = {each.key: [] for each in bench.contenders}, bench.server()
    for _ in range(bench.start_rounds):
        for contender in random.sample(bench.contenders, len(bench.contenders)):
            found[contender.key].append(measures.start(bench, contender, server))
    server.end()
    return found


def graceful(bench):
    """Handovers of all contenders at the same time, on one server, and the floor among them."""
    server, until = bench.server(), time.monotonic() + bench.graceful_seconds
    able = [each for each in bench.contenders if each.releases]
    # Those that sleep until the lease ends get through few in the time.
    cells = [(each, number) for each in able for number in range(3 if _is_slow(each) else 1)]
    results = bench.at_once(
        [lambda cell=cell: measures.graceful(bench, cell[0], server, until) for cell in cells]
        + [lambda: measures.floor(bench, server, until)])
    server.end()
    found = {each.key: {"ms": [], "candidate_ms": []} for each in able}
    for (contender, _), result in zip(cells, results):
        for field, values in result.items():
            found[contender.key][field] += values
    return {**found, "floor": results[-1]}


def _is_slow(contender):
    return contender.key in ("klm", "kubert")


def crashes(bench):
    """Crashes of all contenders at the same time, on one server."""
    server, until = bench.server(), time.monotonic() + bench.crash_seconds
    cells = [each for each in bench.contenders for _ in range(bench.crash_cells)]
    results = bench.at_once(
        [lambda each=each: measures.crash(bench, each, server, until) for each in cells])
    server.end()
    return {each.key: sum((took for cell, took in zip(cells, results) if cell is each), [])
            for each in bench.contenders}


def overlaps(bench):
    """Both faults, for all contenders at the same time, on one server."""
    found = {each.key: {"frozen": [], "held": []} for each in bench.contenders}
    cells = [(each, fault) for each in bench.contenders for fault in ("frozen", "held")]
    for round_ in range(bench.overlap_rounds):
        server = bench.server()
        now = cells * bench.overlap_cells
        results = bench.at_once([lambda cell=cell: measures.overlap(bench, cell[0], server, cell[1])
                                 for cell in now])
        server.end()
        for (contender, fault), result in zip(now, results):
            found[contender.key][fault].append(result)
        bench.say(f"  round {round_ + 1} of {bench.overlap_rounds}")
    return found


def groups(bench):
    """One leads and the others wait: small groups at the same time, each on its own server."""
    found = {each.key: [] for each in bench.contenders}
    for count in bench.groups:
        able = [each for each in bench.contenders
                # A hundred interpreters, or guardians, would say nothing that ten do not.
                if count <= 10 or each.is_many]

        def measure(contender):
            server = bench.server()
            handovers = bench.slow_handovers if _is_slow(contender) else bench.handovers
            result = measures.group(bench, contender, server, count, handovers)
            server.delete_leases()
            server.end()
            return result
        cells = [lambda each=each: measure(each) for each in able]
        results = bench.apart(cells) if count <= 10 else [cell() for cell in cells]
        for contender, result in zip(able, results):
            found[contender.key].append(result)
        bench.say(f"  groups of {count}")
    return found


def many_elections(bench):
    """A thousand elections in one process, in turn."""
    able = [each for each in bench.contenders if each.is_many]
    found = {each.key: [] for each in able}
    for round_ in range(bench.election_rounds):
        for contender in able:
            if round_ and contender.key not in DRAWN:
                continue
            server = bench.server()
            found[contender.key].append(
                measures.many_elections(bench, contender, server, bench.elections,
                                        bench.window_many))
            server.end()
        bench.say(f"  round {round_ + 1} of {bench.election_rounds}")
    return found


def growth(bench):
    """How the cost of ours and of client-go's grows, with candidates and with elections."""
    drawn = [each for each in bench.contenders if each.key in DRAWN]
    found = {each.key: {"candidates": [], "elections": []} for each in drawn}

    def measure(contender, of, count):
        server = bench.server()
        try:
            if of == "candidates":
                result = measures.growth_of_candidates(bench, contender, server, count,
                                                       bench.growth_handovers)
            else:
                result = measures.many_elections(bench, contender, server, count,
                                                 bench.window_growth, has_gaps=False)
            found[contender.key][of].append(result)
            bench.say(f"  {contender.name}: {count} {of}")
        except Gone as why:
            # Where a curve ends is a figure too: the machine, or the contender, bears no more.
            bench.say(f"  {contender.name}: {count} {of}: {why}")
            end_all(but=server.process)
        server.delete_leases()
        server.end()
    for of, counts in (("candidates", bench.growth_candidates), ("elections", bench.growth_elections)):
        for count in counts:
            for contender in drawn:
                measure(contender, of, count)
    return found


PHASES = {"start": starts, "graceful": graceful, "crash": crashes, "overlap": overlaps,
          "groups": groups, "elections": many_elections, "growth": growth}


def about(bench, sizes):
    """What a reader has to know to compare the figures."""
    cpu = re.search(r"model name\s*:\s*(.*)", open("/proc/cpuinfo").read())
    memory = int(re.search(r"MemTotal:\s+(\d+)", open("/proc/meminfo").read())[1]) / (1 << 20)
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"],
                            capture_output=True, text=True).stdout.strip()
    return {"date": datetime.date.today().isoformat(), "commit": commit,
            "machine": f"{os.cpu_count()} cores ({cpu[1].strip() if cpu else platform.machine()}), "
                       f"{memory:.0f} GiB, Linux {platform.release().split('-')[0]}",
            "load_before": round(os.getloadavg()[0], 2), "server": _server_name(bench),
            "lease": bench.lease, "sizes": sizes,
            "contenders": {each.key: {"name": each.name, "says": each.says,
                                      "size_mib": measures.size(bench, each)}
                           for each in bench.contenders}}


def _server_name(bench):
    if not bench.kubeconfig:
        return "incumbent dev-server"
    return "kube-apiserver " + Server(bench.kubeconfig).ask("GET", "/version")["gitVersion"]


def rounded(value):
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, (list, tuple)) else value


def keep(file, results):
    if file:
        os.makedirs(os.path.dirname(os.path.abspath(file)), exist_ok=True)
        with open(file, "w") as out:
            json.dump(results, out, separators=(",", ":"))
            out.write("\n")


def arguments(description):
    parser = argparse.ArgumentParser(prog="bench/run", description=description,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true",
                        help="a minute, debug builds, and figures that mean nothing")
    parser.add_argument("--kubeconfig", help="another API server; its user has to be a token's")
    parser.add_argument("--phases", nargs="+", choices=PHASES, help="only these, in this order")
    parser.add_argument("--only", nargs="+", metavar="KEY", help="only these contenders")
    parser.add_argument("--results", help="the file to write, and to add phases to")
    parser.add_argument("--report", action="store_true", help="measure nothing, write the tables anew")
    return parser.parse_args()


def main(description):
    args = arguments(description)
    if args.report:
        return report.write(RESULTS)
    profile, sizes = ("debug", SHORT) if args.short else ("release", FULL)
    bench = Bench(sizes, profile, args.kubeconfig, args.only)
    if bench.missing:
        bench.say(f"not built, and so passed over: {', '.join(bench.missing)} (see bench/build)")
    name = "kube-apiserver.json" if args.kubeconfig else "dev-server.json"
    file = args.results or (None if args.short else os.path.join(RESULTS, name))
    results = json.load(open(file)) if file and args.phases and os.path.exists(file) else {}
    results["about"] = about(bench, sizes)
    try:
        for phase in args.phases or PHASES:
            bench.say(f"{phase}: {PHASES[phase].__doc__.strip()}")
            results[phase] = rounded(PHASES[phase](bench))
            # After each, so that a failure costs one phase only: --phases adds it.
            keep(file, results)
    finally:
        end_all()
    bench.say("done")
    print(report.tables(results))
