#!/usr/bin/env python3
"""Draws what bench/compare.py measured, and prints its table:

    bench/plot.py RESULTS.csv OUT.svg > TABLE.md

One panel a test, one bar an engine: the median over the rounds, with a line from the least to the most; the number above
is gossamer's speed over that engine's, from the ratios of the rounds. Only the standard library is needed.
"""
import collections
import csv
import statistics
import sys

COLORS = {"gossamer": "#1b6e53", "llama": "#b9763d", "ik": "#6d6aa8"}
NAMES = {"gossamer": "gossamer", "llama": "llama.cpp", "ik": "ik_llama.cpp"}
PANEL, HEIGHT, TOP, BAR = 190, 150, 46, 42


def read(path):
    """{(model, isa, test, n, busy): {engine: {round: [tokens/s]}}}, and the limits likewise."""
    speeds = collections.defaultdict(lambda: collections.defaultdict(lambda: collections.defaultdict(list)))
    limits = collections.defaultdict(list)
    with open(path, newline="") as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            key = row["model"], row["isa"], row["test"], int(row["n"]), int(row.get("busy") or 0)
            speeds[key][row["engine"]][row["round"]].append(float(row["tokens_per_s"]))
            if row["limit"]:
                limits[key].append(float(row["limit"]))
    return speeds, limits


def summary(rounds):
    values = [value for runs in rounds.values() for value in runs]
    return statistics.median(values), min(values), max(values)


def ratio(speeds, engine):
    """gossamer over the engine: the median of the rounds that have both."""
    return statistics.median(statistics.median(speeds["gossamer"][r]) / statistics.median(runs)
                             for r, runs in speeds[engine].items() if r in speeds["gossamer"])


def title(key):
    model, isa, test, n, busy = key
    beside = f", {busy} core{'s' * (busy > 1)} busy" if busy else ""
    return f"{model}, {isa}", (f"prompt of {n}" if test == "prefill" else f"decode at depth {n}") + beside


def table(speeds, limits):
    yield "| model, kernels | test | gossamer | share of the limit | llama.cpp | ratio | ik_llama.cpp | ratio |"
    yield "|---|---|---|---|---|---|---|---|"
    for key, engines in speeds.items():
        ours = summary(engines["gossamer"])
        share = f"{100 * ours[0] / statistics.median(limits[key]):.0f} %" if limits[key] else ""
        cells = [*title(key), "{:.1f} ({:.1f} .. {:.1f})".format(*ours), share]
        for engine in ("llama", "ik"):
            known = engine in engines
            cells += ["{:.1f} ({:.1f} .. {:.1f})".format(*summary(engines[engine])), f"{ratio(engines, engine):.2f}"] if known else ["", ""]
        yield "| " + " | ".join(cells) + " |"


def panel(key, engines, x, y):
    most = max(summary(rounds)[2] for rounds in engines.values())
    yield f'<text x="{x}" y="{y + 14}" class="head">{title(key)[1]}</text><text x="{x}" y="{y + 28}">{title(key)[0]}, tokens/s</text>'
    for i, (engine, rounds) in enumerate(sorted(engines.items(), key=lambda item: list(COLORS).index(item[0]))):
        median, least, greatest = summary(rounds)
        left, base = x + i * (BAR + 12), y + TOP + HEIGHT
        height, low, high = (HEIGHT * 0.88 * value / most for value in (median, least, greatest))
        label = f"{median:.1f}" + (f" ({ratio(engines, engine):.2f}x)" if engine != "gossamer" else "")
        yield f'<rect x="{left}" y="{base - height:.1f}" width="{BAR}" height="{height:.1f}" fill="{COLORS[engine]}"/>'
        yield f'<path d="M{left + BAR / 2} {base - low:.1f}V{base - high:.1f}" stroke="#222"/>'
        yield f'<text x="{left + BAR / 2}" y="{base - high - 4:.1f}" text-anchor="middle">{label}</text>'


def draw(speeds):
    columns = max(collections.Counter(key[:2] for key in speeds).values())
    places, rows = {}, []
    for key in speeds:
        if key[:2] not in rows:
            rows.append(key[:2])
        places[key] = sum(other[:2] == key[:2] for other in places), rows.index(key[:2])
    width, height = columns * PANEL + 30, len(rows) * (TOP + HEIGHT + 24) + 34
    yield f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="9.5">'
    yield f'<style>.head{{font-size:12px;font-weight:bold}}</style><rect width="{width}" height="{height}" fill="#fff"/>'
    for i, (engine, color) in enumerate(COLORS.items()):
        yield f'<rect x="{16 + 110 * i}" y="10" width="10" height="10" fill="{color}"/><text x="{30 + 110 * i}" y="19">{NAMES[engine]}</text>'
    for key, engines in speeds.items():
        column, row = places[key]
        yield from panel(key, engines, 16 + column * PANEL, 30 + row * (TOP + HEIGHT + 24))
    yield "</svg>"


def main():
    speeds, limits = read(sys.argv[1])
    with open(sys.argv[2], "w") as file:
        file.writelines(line + "\n" for line in draw(speeds))
    print("\n".join(table(speeds, limits)))


if __name__ == "__main__":
    main()
