"""Plots as SVG, drawn by hand: readable on light and on dark ground, with no script and no font of theirs."""
import math

from .figures import short, summary

STYLE = """<style>
text{font:12px system-ui,sans-serif;fill:#333}.title{font-size:14px;font-weight:600}
.small{font-size:11px;fill:#666}.grid{stroke:#8884}.axis{stroke:#888}
.dot{fill-opacity:.45}.ours{fill:#1f7a4d;stroke:#1f7a4d}.theirs{fill:#b5542a;stroke:#b5542a}
.floor{fill:#777;stroke:#777}.line{fill:none;stroke-width:2}.median{stroke-width:2.5}
@media (prefers-color-scheme:dark){text{fill:#ddd}.small{fill:#aaa}
.ours{fill:#5cc995;stroke:#5cc995}.theirs{fill:#f0905f;stroke:#f0905f}.floor{fill:#aaa;stroke:#aaa}}
</style>"""


def all_of(results):
    """The plots of a run: by name, under which table each belongs, its title, and itself."""
    names = {key: each["name"] for key, each in results["about"]["contenders"].items()}
    made = {}
    if "graceful" in results:
        rows = [(names[key], _class(key), results["graceful"][key]["ms"])
                for key in names if key in results["graceful"]]
        rows.append(("the floor", "floor", results["graceful"]["floor"]["answered_ms"]))
        title = "Graceful handover: SIGTERM to the next leader, ms"
        made["handover"] = ("Taking over", title, strips(title, rows, is_log=True))
    if "crash" in results:
        lease = results["about"]["lease"]
        rows = [(names[key], _class(key), results["crash"][key]) for key in names]
        title = f"Crash: kill -9 to the next leader, s; lease {lease} s"
        made["crash"] = ("Taking over", title, strips(title, rows, mark=lease))
    if "growth" in results:
        for name, title, of, figure in GROWTH:
            curves = [(names[key], _class(key), [(point[of], figure(point)) for point in each[of]
                                                 if figure(point)])
                      for key, each in results["growth"].items()]
            made[f"growth-{name}"] = ("How cost grows", title, lines(title, curves))
    return made


def _rate(point):
    return sum(rate for verb, rate in point["rates"].items() if verb != "conflicts")


def _took(point):
    of = summary([each["ms"] for each in point["handovers"]])
    return of and of["median"]


GROWTH = (("requests", "Requests a second, by candidates", "candidates", _rate),
          ("handover", "Graceful handover, ms (median), by candidates", "candidates", _took),
          ("cpu", "CPU, % of a core, by elections in one process", "elections",
           lambda point: point["process"]["cpu_percent"]),
          ("memory", "Resident memory, MiB, by elections in one process", "elections",
           lambda point: point["process"]["resident"]))


def _class(key):
    return "ours" if key in ("library", "run") else "theirs"


def strips(title, rows, is_log=False, mark=None):
    """One row of dots for each contender, a dot for each time, and a bar at the median."""
    rows = [row for row in rows if row[2]]
    left, right, top, height = 190, 700, 50, 30
    values = [value for _, _, times in rows for value in times]
    scale, ticks = _scale(min(values), max(values), left, right, is_log)
    bottom = top + height * len(rows)
    parts = [_text(10, 22, title, "title")]
    for tick in ticks:
        parts += [_line(scale(tick), top - 8, scale(tick), bottom, "grid"),
                  _text(scale(tick), bottom + 16, short(tick), "small", "middle")]
    if mark:
        parts += [_line(scale(mark), top - 8, scale(mark), bottom, "axis", 'stroke-dasharray="4 3"')]
    for number, (name, kind, times) in enumerate(rows):
        middle = top + height * number + height / 2
        parts.append(_text(left - 12, middle + 4, name, "", "end"))
        for index, value in enumerate(times):
            # Spread a little, always in the same way, so that equal times can be told apart.
            offset = (index * 7 % 11 - 5) * 1.3
            parts.append(f'<circle class="dot {kind}" stroke="none" r="2.6" '
                         f'cx="{scale(value):.1f}" cy="{middle + offset:.1f}"/>')
        of = summary(times)
        at = scale(of["median"])
        parts += [_line(at, middle - 11, at, middle + 11, f"median {kind}"),
                  _text(right + 12, middle + 4, f"{short(of['median'])} ({of['runs']})", "small")]
    parts.append(_text(right + 12, top - 12, "median (runs)", "small"))
    return _svg(800, bottom + 28, parts)


def lines(title, curves):
    """A line for each contender, on logarithmic scales."""
    curves = [curve for curve in curves if curve[2]]
    left, right, top, bottom = 60, 620, 46, 300
    points = [point for _, _, curve in curves for point in curve]
    across, ticks_x = _scale(min(x for x, _ in points), max(x for x, _ in points), left, right, True)
    up, ticks_y = _scale(min(y for _, y in points), max(y for _, y in points), bottom, top, True)
    parts = [_text(10, 22, title, "title")]
    for tick in ticks_x:
        parts += [_line(across(tick), top, across(tick), bottom, "grid"),
                  _text(across(tick), bottom + 16, short(tick), "small", "middle")]
    for tick in ticks_y:
        parts += [_line(left, up(tick), right, up(tick), "grid"),
                  _text(left - 8, up(tick) + 4, short(tick), "small", "end")]
    for name, kind, curve in curves:
        path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in curve)
        parts.append(f'<polyline class="line {kind}" style="fill:none" points="{path}"/>')
        parts += [f'<circle class="{kind}" r="3" cx="{across(x):.1f}" cy="{up(y):.1f}"/>'
                  for x, y in curve]
        parts.append(_text(right + 12, up(curve[-1][1]) + 4, name))
    return _svg(800, bottom + 28, parts)


def _scale(least, most, start, end, is_log):
    """From a value to its place, and where to draw lines."""
    if is_log:
        low, high = math.floor(math.log10(least)), math.ceil(math.log10(most))
        high = max(high, low + 1)
        ticks = [10.0 ** power for power in range(low, high + 1)]
        return lambda value: start + (end - start) * (math.log10(value) - low) / (high - low), ticks
    step = 10 ** math.floor(math.log10(most))
    step = next(each for each in (step / 5, step / 2, step, step * 2) if most / each <= 10)
    top = step * math.ceil(most / step)
    ticks = [step * number for number in range(round(top / step) + 1)]
    return lambda value: start + (end - start) * value / top, ticks


def _text(x, y, text, kind="", anchor="start"):
    kind = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{kind} text-anchor="{anchor}">{text}</text>'


def _line(x1, y1, x2, y2, kind, more=""):
    return (f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {more}/>'
            .replace(" />", "/>"))


def _svg(width, height, parts):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img">\n{STYLE}\n' + "\n".join(parts) + "\n</svg>\n")
