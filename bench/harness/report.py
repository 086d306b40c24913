"""The tables and plots, written from the raw figures alone."""
import json
import os
import statistics

from . import plots
from .contenders import ROOT
from .figures import exponent, short, summary

PAGE = os.path.join(ROOT, "bench", "README.md")
PLOTS = os.path.join(ROOT, "bench", "plots")
BEGIN, END = "<!-- written by bench/run -->", "<!-- until here -->"


def write(folder):
    """Puts the tables into bench/README.md, and the plots beside it."""
    parts = []
    os.makedirs(PLOTS, exist_ok=True)
    for server in ("dev-server", "kube-apiserver"):
        file = os.path.join(folder, f"{server}.json")
        if not os.path.exists(file):
            continue
        results, shown = json.load(open(file)), {}
        for plot, (under, title, svg) in plots.all_of(results).items():
            with open(os.path.join(PLOTS, f"{plot}-{server}.svg"), "w") as out:
                out.write(svg)
            shown.setdefault(under, []).append(f"![{title}](plots/{plot}-{server}.svg)")
        parts.append(tables(results, shown))
    page = open(PAGE).read()
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    with open(PAGE, "w") as out:
        out.write(f"{before}{BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{END}{after}")


def tables(results, shown=None):
    """All tables of a run, for those phases that it has, with the plots that are shown under each."""
    about = results["about"]
    head = (f"### On {about['server']}\n\n{about['date']}, commit {about['commit']}, {about['machine']}; "
            f"lease {about['lease']} s. Load before: {about['load_before']}.")
    parts = [head]
    for title, table in (("Targets", targets), ("Taking over", taking_over), ("Two at once", overlap),
                         ("Requests", requests), ("Handover in a group", handovers),
                         ("One candidate", weight), ("Many elections in one process", elections),
                         ("How cost grows", growth)):
        rows = table(results)
        if rows:
            parts += [f"#### {title}", *(shown or {}).get(title, []), _table(rows)]
    return "\n\n".join(parts)


def _table(rows):
    lines = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def _spread(values):
    """Median / p90 / max (runs)."""
    of = summary([value for value in values if value is not None])
    if of is None:
        return "–"
    return " / ".join(short(of[each]) for each in ("median", "p90", "max")) + f" ({of['runs']})"


def _names(results):
    return {key: each["name"] for key, each in results["about"]["contenders"].items()}


def _values(results, phase, key, field=None):
    found = results.get(phase, {}).get(key, [])
    return found.get(field, []) if field else found


def taking_over(results):
    """Graceful handover, crash, start."""
    if not any(phase in results for phase in ("graceful", "crash", "start")):
        return None
    rows = [["median / p90 / max (runs)", "graceful handover, ms", "crash, s", "mean", "start to leader, ms",
             "start to candidate, ms"]]
    for key, name in _names(results).items():
        crash = _values(results, "crash", key)
        rows.append([name, _spread(_values(results, "graceful", key, "ms")) if key in
                     results.get("graceful", {}) else "none: as a crash", _spread(crash),
                     short(statistics.fmean(crash)) if crash else "–",
                     _spread(_values(results, "start", key)),
                     _spread(_values(results, "graceful", key, "candidate_ms"))
                     if key in results.get("graceful", {}) else "–"])
    if "graceful" in results:
        of = results["graceful"]["floor"]
        rows.append(["the floor: a write, seen through a watch, and a write",
                     _spread(of["answered_ms"]), "", "", "", ""])
        rows.append(["of that, until it is seen", _spread(of["seen_ms"]), "", "", "", ""])
    return rows


def overlap(results):
    """Acts of the old leader after the new one began."""
    if "overlap" not in results:
        return None
    rows = [["", "stopped and woken: times it acted", "for how long, s", "acts",
             "connection held: times it acted", "for how long, s", "acts"]]
    for key, name in _names(results).items():
        row = [name]
        for fault in ("frozen", "held"):
            trials = results["overlap"][key][fault]
            acted = [trial for trial in trials if trial["acts"]]
            more = "≥ " if any(trial["still"] for trial in trials) else ""
            row += [f"{len(acted)} of {len(trials)}",
                    more + _spread([trial["s"] for trial in trials]),
                    _spread([trial["acts"] for trial in trials])]
        rows.append(row)
    return rows


def requests(results):
    """Requests a second while nothing happens."""
    if "groups" not in results:
        return None
    counts = sorted({group["candidates"] for groups in results["groups"].values() for group in groups})
    rows = [["requests a second", *[f"1 leads, {count - 1} wait" for count in counts]]]
    for key, name in _names(results).items():
        by_count = {group["candidates"]: group for group in results["groups"][key]}
        rows.append([name, *[_rates(by_count[count]["rates"]) if count in by_count else "–"
                             for count in counts]])
    return rows


def _rates(rates):
    shown = [f"{short(rate)} {verb}" for verb, rate in sorted(rates.items()) if rate >= 0.01]
    return ", ".join(shown) or "0"


def handovers(results):
    """What a graceful handover takes and costs in a group."""
    if "groups" not in results:
        return None
    rows = [["median / max", "candidates", "ms (runs)", "writes", "reads", "conflicts"]]
    for key, name in _names(results).items():
        for group in results["groups"][key]:
            if group["handovers"]:
                rows.append([name, group["candidates"], *_handover_cells(group["handovers"])])
    return rows


def _handover_cells(handovers):
    cells = []
    for field in ("ms", "writes", "reads", "conflicts"):
        of = summary([each[field] for each in handovers])
        runs = f" ({of['runs']})" if field == "ms" else ""
        cells.append(f"{short(of['median'])} / {short(of['max'])}{runs}")
    return cells


def weight(results):
    """What one candidate takes, from the group of two."""
    if "groups" not in results:
        return None
    rows = [["", "program, MiB", "waiting: resident, MiB", "own pages, MiB", "CPU, % of a core",
             "leading: resident, MiB", "own pages, MiB", "CPU, % of a core"]]
    for key, name in _names(results).items():
        group = results["groups"][key][0]
        row = [name, short(results["about"]["contenders"][key]["size_mib"])]
        for who in ("waiting", "leader"):
            row += [short(group[who][field]) for field in ("resident", "own", "cpu_percent")]
        rows.append(row)
    return rows


MANY = {"all lead, s": lambda run: run["all_lead_s"],
        "CPU, % of a core": lambda run: run["process"]["cpu_percent"],
        "resident, MiB": lambda run: run["process"]["resident"],
        "peak, MiB": lambda run: run["process"]["peak"],
        "requests a second": lambda run: sum(run["rates"].values()) - run["rates"].get("conflicts", 0),
        "longest without renewal, s": lambda run: run.get("longest_without_renewal_s")}


def elections(results):
    """A thousand elections."""
    if "elections" not in results:
        return None
    count = next(iter(results["elections"].values()))[0]["elections"]
    rows = [[f"{count:,} elections: median / p90 / max (runs)", *MANY]]
    for key, name in _names(results).items():
        runs = results["elections"].get(key)
        if runs:
            rows.append([name, *[_spread([figure(run) for run in runs]) for figure in MANY.values()]])
    return rows


def growth(results):
    """Ours and client-go's, by count, and how each curve grows."""
    if "growth" not in results:
        return None
    rows = [["", "count", "requests a second", "handover, ms: median / max", "writes of one",
             "CPU, % of a core", "resident, MiB"]]
    for key, curves in results["growth"].items():
        name = _names(results)[key]
        for of in ("candidates", "elections"):
            for point in curves[of]:
                took = summary([each["ms"] for each in point.get("handovers", [])])
                wrote = summary([each["writes"] for each in point.get("handovers", [])])
                process = point.get("process", {})
                rows.append([f"{name}: {of}", f"{point[of]:,}", short(total_rate(point)),
                             f"{short(took['median'])} / {short(took['max'])}" if took else "–",
                             short(wrote["median"]) if wrote else "–",
                             short(process.get("cpu_percent")), short(process.get("resident"))])
    for key, curves in results["growth"].items():
        of = exponent([(point["candidates"], total_rate(point)) for point in curves["candidates"]
                       if point["candidates"] >= 10])
        rows.append([f"{_names(results)[key]}: requests grow with candidates as n to the",
                     "", short(of) if of is not None and abs(of) > 0.05 else "0", "", "", "", ""])
    return rows


def total_rate(point):
    """Requests a second of all verbs."""
    return round(sum(rate for verb, rate in point["rates"].items() if verb != "conflicts"), 3)


def targets(results):
    """What was aimed at, and whether it was reached."""
    rows = [["Target", "Measured", ""]]
    for text, measured, is_met in _targets(results):
        rows.append([text, measured, "met" if is_met else "**missed**"])
    return rows if len(rows) > 1 else None


def _targets(results):
    if "graceful" in results and "client-go" in results["graceful"]:
        ours, theirs, floor = (statistics.median(results["graceful"][key][field]) for key, field in
                               (("library", "ms"), ("client-go", "ms"), ("floor", "answered_ms")))
        yield ("graceful handover: median at most twice the floor", f"{ours / floor:.2f} times",
               ours <= 2 * floor)
        yield ("and 50 times faster than client-go's", f"{theirs / ours:.0f} times", theirs >= 50 * ours)
    if results.get("crash", {}).get("client-go"):
        ours, theirs = results["crash"]["library"], results["crash"]["client-go"]
        below = 1 - statistics.fmean(ours) / statistics.fmean(theirs)
        bound = results["about"]["lease"] + 0.1
        yield ("crash: mean 25 % below client-go's", f"{100 * below:.0f} % below", below >= 0.25)
        yield (f"and never above {bound:.1f} s", f"{max(ours):.2f} s", max(ours) <= bound)
    if results.get("groups", {}).get("client-go"):
        ours, theirs = (total_rate(results["groups"][key][-1]) for key in ("library", "client-go"))
        count = results["groups"]["library"][-1]["candidates"] - 1
        yield (f"requests with {count} waiting: 100 times fewer than client-go",
               f"{theirs / ours:.0f} times", theirs >= 100 * ours)
        own = {key: groups[0]["waiting"]["resident"] for key, groups in results["groups"].items()}
        least = min(value for key, value in own.items() if key not in ("library", "run"))
        yield ("one candidate: less memory than every contender's",
               f"{own['library']:.1f} MiB; the least of the others {least:.1f}", own["library"] < least)
    if results.get("elections", {}).get("client-go"):
        for text, figure, share in (("CPU: a third of client-go's", "CPU, % of a core", 1 / 3),
                                    ("memory: half of client-go's", "resident, MiB", 1 / 2)):
            ours, theirs = (statistics.median(MANY[figure](run) for run in results["elections"][key])
                            for key in ("library", "client-go"))
            yield (f"many elections, {text}", f"{ours / theirs:.2f} of it", ours <= share * theirs)
