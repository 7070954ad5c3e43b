"""What is said of the cells: a table, JSON, and bars."""

import statistics

from . import plots

NOT_COUNTABLE = "not countable here"


def median(values):
    return statistics.median(values) if values else None


def missing(scenario, target):
    """What the target cannot do of the scenario without parts of others."""
    return sorted(scenario.needs - target.parts)


def rows(cells, scenarios, targets, has_counter):
    """One a scenario and target, from all its cells that are no errors."""
    for scenario in scenarios:
        for target in targets:
            lacks = missing(scenario, target)
            row = {"scenario": scenario.name, "title": scenario.title, "target": target.name,
                   "note": f"without {', '.join(lacks)}" if lacks else ""}
            if lacks and not scenario.is_nearest_shown:
                yield {**row, "note": f"cannot: no {', '.join(lacks)}"}
                continue
            mine = [cell for cell in cells if (cell["scenario"], cell["target"]) == (scenario.name, target.name)]
            refused = [cell for cell in mine if "refused" in cell]
            good = [cell for cell in mine if "refused" not in cell]
            if refused:
                row["note"] = ", ".join(part for part in (row["note"], f"{len(refused)} refused: {refused[-1]['refused'][:60]}")
                                        if part)
                row["refused"] = [cell["refused"] for cell in refused]
            rounds = [cell for cell in good if cell["kind"] == "round"]
            row["rounds"] = len(rounds)
            if scenario.kind == "memory":
                row["kib"] = median([cell["kib"] for cell in rounds])
                row["spread"] = spread([cell["kib"] for cell in rounds])
            elif scenario.kind == "latency" and rounds:
                row["capacity"] = median([cell["capacity"] for cell in rounds])
                row["latency"] = {share: {key: median([cell["shares"][share][key] for cell in rounds])
                                          for key in rounds[0]["shares"][share]} for share in rounds[0]["shares"]}
                row["p99_quartiles"] = {share: quartiles([cell["shares"][share]["p99"] for cell in rounds])
                                        for share in rounds[0]["shares"]}
            elif scenario.kind == "reload" and rounds:
                row |= reloaded(rounds)
            elif rounds:
                costs = [cell["cpu_us"] for cell in rounds]
                row |= {"cpu_us": median(costs), "spread": spread(costs),
                        "user_us": median([cell["cpu_us"] * cell["user_share"] for cell in rounds]),
                        "system_us": median([cell["cpu_us"] * (1 - cell["user_share"]) for cell in rounds]),
                        "per_cpu_second": 1e6 / median(costs), "busy": median([cell["busy"] for cell in rounds]),
                        "busiest_thread": median([cell["busiest_thread"] for cell in rounds]),
                        "other_busy": median([cell["other_busy"] for cell in rounds])}
                size = int(scenario.path.rpartition("/")[2]) if scenario.path.startswith("/bytes/") else scenario.upload
                if size >= 65_536:
                    row["gb_per_cpu_second"] = size / 1e3 / median(costs)
                shares = [cell["busiest_worker"] for cell in rounds if "busiest_worker" in cell]
                if shares:
                    row["busiest_worker"] = max(shares)
                for event in ("instructions_u", "instructions_k", "cycles_u", "cycles_k"):
                    if all(event in cell for cell in rounds):
                        row[event] = median([cell[event] for cell in rounds])
            for kind, key, name in (("valgrind", "instructions", "user_instructions"), ("calls", "calls", "calls"),
                                    ("emulated", "emulated", "emulated_instructions"),
                                    ("h2load", "h2load_us", "h2load_us"), ("nginx", "nginx_us", "nginx_us")):
                found = [cell[key] for cell in good if cell["kind"] == kind]
                if found:
                    row[name] = median(found)
            if not has_counter and not target.is_countable and scenario.kind == "requests":
                row["user_instructions"] = NOT_COUNTABLE
            yield row


def reloaded(rounds):
    """Costs are medians of the rounds; what was done, seen and lost is their sum."""
    def sums(key):
        return sum(cell["reloaded"][key] for cell in rounds)

    asked = sum(cell["reloads"] for cell in rounds)
    quiet, costs = (median([cell[name]["cpu_us"] for cell in rounds]) for name in ("quiet", "reloaded"))
    each = [(cell["reloaded"]["cpu_us"] - cell["quiet"]["cpu_us"]) * cell["count"] / cell["reloads"] / 1000 for cell in rounds]
    said = next((cell["reloaded"]["said"] for cell in rounds if cell["reloaded"]["errors"]), "")
    return {"cpu_us": costs, "quiet_us": quiet, "reload_ms": median(each), "spread": spread([cell["cpu_us"] for cell in rounds]),
            "reloads": asked, "seen": sums("seen"), "errors": sums("errors"), "retried": sums("retried"), "ended": sums("ended"),
            "requests": sum(cell["count"] for cell in rounds), "first_error": said,
            "p99": median([cell["reloaded"]["p99"] for cell in rounds]), "quiet_p99": median([cell["quiet"]["p99"] for cell in rounds]),
            "p999": median([cell["reloaded"]["p99.9"] for cell in rounds]),
            "quiet_p999": median([cell["quiet"]["p99.9"] for cell in rounds])}


def spread(values):
    """Half the distance of the furthest two rounds, as a share of the median."""
    return (max(values) - min(values)) / 2 / median(values) if len(values) > 1 else None


def quartiles(values):
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3


def number(value, form="{:,.0f}"):
    return "-" if value is None else value if isinstance(value, str) else form.format(value)


def table(all_rows, has_counter):
    lines = []
    heads = ["user instr", "kernel", "cycles"] if has_counter else ["user instr*"]
    is_emulated = any("emulated_instructions" in row for row in all_rows)
    for name in dict.fromkeys(row["scenario"] for row in all_rows):
        mine = [row for row in all_rows if row["scenario"] == name]
        lines.append(f"\n{name}: {mine[0]['title']}")
        if any("kib" in row for row in mine):
            lines.append(f"  {'target':<10}{'KiB each':>10}{'spread':>8}  ")
            lines += [f"  {row['target']:<10}{number(row.get('kib'), '{:.2f}'):>10}{percent(row.get('spread')):>8}  {row['note']}"
                      for row in mine]
            continue
        if any("latency" in row for row in mine):
            lines += latencies(mine)
            continue
        if any("reloads" in row for row in mine):
            lines += reload_lines(mine)
            continue
        lines.append(f"  {'target':<10}" + "".join(f"{head:>20}" if head.endswith("*") else f"{head:>12}" for head in heads)
                     + (f"{'emulated':>12}" if is_emulated else "") + f"{'CPU us':>9}{'user':>8}{'system':>8}{'spread':>8}{'req/CPU-s':>11}{'calls':>7}{'busy':>6}{'load':>6}")
        for row in mine:
            if has_counter:
                cycles = [row[key] for key in ("cycles_u", "cycles_k") if key in row]
                first = "".join(f"{number(value):>12}" for value in (
                    row.get("instructions_u"), row.get("instructions_k"), sum(cycles) if cycles else None))
            else:
                first = f"{number(row.get('user_instructions')):>20}"
            first += f"{number(row.get('emulated_instructions')):>12}" if is_emulated else ""
            lines.append(
                f"  {row['target']:<10}{first}{number(row.get('cpu_us'), '{:.1f}'):>9}{number(row.get('user_us'), '{:.1f}'):>8}"
                f"{number(row.get('system_us'), '{:.1f}'):>8}{percent(row.get('spread')):>8}{number(row.get('per_cpu_second')):>11}"
                f"{number(row.get('calls'), '{:.2f}'):>7}{percent(row.get('busy')):>6}{percent(row.get('other_busy')):>6}  "
                + (f"busiest thread {percent(row['busiest_thread'])} of it  " if "workers" in row["scenario"] and "cpu_us" in row else "")
                + (f"{row['gb_per_cpu_second']:.2f} GB/CPU-s  " if "gb_per_cpu_second" in row else "")
                + (f"at most {percent(row['busiest_worker'])} of the requests by one worker  " if "busiest_worker" in row else "")
                + (f"under h2load {row['h2load_us']:.1f} us  " if "h2load_us" in row else "")
                + (f"before nginx {row['nginx_us']:.1f} us  " if "nginx_us" in row else "") + row["note"])
    return "\n".join(lines)


def latencies(mine):
    """Microseconds from when a request was due, at shares of what the target can do."""
    yield (f"  {'target':<10}{'can do/s':>10}{'share':>7}{'asked/s':>10}{'kept':>6}{'p50 us':>9}{'p90':>9}{'p99':>9}{'p99.9':>9}"
           f"{'late p99':>10}{'busy':>6}{'load':>6}  p99 quartiles")
    for row in mine:
        if "latency" not in row:
            yield f"  {row['target']:<10}  {row['note']}"
            continue
        for share, values in row["latency"].items():
            first, _, third = row["p99_quartiles"][share]
            yield (f"  {row['target']:<10}{row['capacity']:>10,.0f}{percent(values['rate'] / row['capacity']):>7}{values['rate']:>10,.0f}"
                   f"{percent(values['kept'] / values['rate']):>6}" + "".join(
                       f"{values[key]:>9,.0f}" for key in ("p50", "p90", "p99", "p99.9"))
                   + f"{values['late_p99']:>10,.0f}{percent(values['busy']):>6}{percent(values['other_busy']):>6}"
                   + f"  {first:,.0f} to {third:,.0f}  {row['note']}")


def reload_lines(mine):
    """With reloads and without; errors are of the requests while it was reloaded."""
    yield (f"  {'target':<10}{'reloads':>8}{'seen':>6}{'errors':>8}{'of':>9}{'again':>7}{'ended':>7}{'CPU us':>9}{'without':>9}"
           f"{'ms each':>9}{'p99 us':>9}{'without':>9}{'p99.9':>9}{'without':>9}")
    for row in mine:
        if "reloads" not in row:
            yield f"  {row['target']:<10}  {row['note']}"
            continue
        yield (f"  {row['target']:<10}{row['reloads']:>8}{row['seen']:>6}{row['errors']:>8,}{row['requests']:>9,}{row['retried']:>7,}"
               f"{row['ended']:>7,}{row['cpu_us']:>9.1f}{row['quiet_us']:>9.1f}{row['reload_ms']:>9.1f}{row['p99']:>9,.0f}"
               f"{row['quiet_p99']:>9,.0f}{row['p999']:>9,.0f}{row['quiet_p999']:>9,.0f}  "
               + "; ".join(part for part in (row["first_error"], row["note"]) if part))


def percent(value):
    return "-" if value is None else f"{value * 100:.0f}%"


def verdicts(all_rows):
    """Where Gatehouse is not the best of those that do the whole of a scenario, and by how much."""
    lines = []
    for key, what, has_decimals in (("user_instructions", "user-space instructions", False),
                                    ("instructions", "instructions", False),
                                    ("emulated_instructions", "emulated instructions", False),
                                    ("cpu_us", "CPU time", True), ("kib", "memory", True)):
        for name in dict.fromkeys(row["scenario"] for row in all_rows):
            values, nearest = {}, {}
            for row in all_rows:
                value = row.get(key) if key != "instructions" else \
                    row.get("instructions_u", 0) + row.get("instructions_k", 0) or None
                if row["scenario"] == name and isinstance(value, (int, float)):
                    (nearest if row["note"].startswith("without") else values)[row["target"]] = value
            if len(values) < 2 or "gatehouse" not in values:
                continue
            best = min((target for target in values if target != "gatehouse"), key=values.get)
            ours, theirs = values["gatehouse"], values[best]
            form = "{:,.1f}" if has_decimals else "{:,.0f}"
            if ours > theirs:
                lines.append(f"  {name:<21}{what:<26} NOT the best: {form.format(ours)} against {form.format(theirs)} of {best}, "
                             f"{(ours / theirs - 1) * 100:.0f}% more")
            else:
                lines.append(f"  {name:<21}{what:<26} best: {form.format(ours)}; next is {best} with {form.format(theirs)}, "
                             f"{theirs / ours:.2f} times as much")
            cheaper = [f"{target} {form.format(value)}" for target, value in nearest.items() if value < ours]
            if cheaper:
                lines[-1] += f" (doing less of the job: {', '.join(cheaper)})"
    return "\n".join([*lines, *latency_verdicts(all_rows)])


def latency_verdicts(all_rows):
    """At each share of what each can do: our median p99 beside the third quartile of the best of the others' p99."""
    for name in dict.fromkeys(row["scenario"] for row in all_rows if "latency" in row):
        mine = {row["target"]: row for row in all_rows if row["scenario"] == name and "latency" in row
                and not row["note"].startswith("without")}
        if len(mine) < 2 or "gatehouse" not in mine:
            continue
        for share in mine["gatehouse"]["latency"]:
            best = min((target for target in mine if target != "gatehouse"),
                       key=lambda target: mine[target]["latency"][share]["p99"])
            values, third = mine["gatehouse"]["latency"][share], mine[best]["p99_quartiles"][share][2]
            ours = values["p99"]
            yield (f"  {name:<21}{'p99 at ' + (percent(float(share)) if '.' in share else share + '/s'):<26} {ours:,.0f} us is "
                   f"{'not above' if ours <= third else 'ABOVE'} the third quartile of {best}, {third:,.0f}"
                   + (f" (the core of load and service is {percent(values['other_busy'])} busy, of {best} "
                      f"{percent(mine[best]['latency'][share]['other_busy'])}; {percent(values['late_of_slowest'])} of the slowest "
                      "hundredth's time went by before they were made)" if ours > third else ""))


def draw(all_rows, folder, said):
    """Bars, a file a measure: one group a scenario, one bar a target."""
    for key, file, title in (("cpu_us", "cpu.svg", "CPU time a request, microseconds, user and kernel"),
                             ("user_instructions", "instructions.svg", "User-space instructions a request (valgrind)"),
                             ("emulated_instructions", "instructions-emulated.svg",
                              "Instructions a request, user and kernel (emulated)"),
                             ("instructions_u", "instructions-hardware.svg", "User-space instructions a request (hardware)"),
                             ("kib", "memory.svg", "Memory of an idle TLS connection, KiB")):
        groups = {}
        for row in all_rows:
            if isinstance(row.get(key), (int, float)):
                label = row["target"] + (" (" + row["note"] + ")" if row["note"].startswith("without") else "")
                groups.setdefault(f"{row['scenario']}: {row['title']}", []).append((label, row["target"], row[key], row.get("spread")))
        if groups:
            (folder / file).write_text(plots.bars(title, groups, said))
    for name in dict.fromkeys(row["scenario"] for row in all_rows if "latency" in row):
        mine = [row for row in all_rows if row["scenario"] == name and "latency" in row]
        lines = {row["target"]: [(values["rate"], values["p99"]) for values in row["latency"].values()] for row in mine}
        (folder / f"latency-{name}.svg").write_text(
            plots.lines(f"{name}: p99 in microseconds against requests a second", "requests a second", lines, said))
    for what in ("connections", "routes"):
        lines = {}
        for row in all_rows:
            before, found, count = row["scenario"].partition(f"S10-{what}-")
            if found and not before and "cpu_us" in row:
                lines.setdefault(row["target"], []).append((int(count), row["cpu_us"]))
        if lines:
            (folder / f"{what}.svg").write_text(
                plots.lines(f"CPU time a request, microseconds, against {what}", what, lines, said))
