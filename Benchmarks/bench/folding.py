"""Stacks that `perf script` printed, and costs that callgrind wrote, by whose code they are; and stacks as an SVG.

A stack is a tuple of frames from the outermost inwards; a frame is (name, part), and the part says whose code it is."""

import collections
import html
import re
import subprocess

# Whose code, by a piece of the file's name; the first that fits. What is left of the gateway's own file is ours.
PARTS = (("kernel", ("[kernel", "[vmlinux", "[guest", "(unknown kernel")), ("libcrypto", ("libcrypto",)), ("libssl", ("libssl",)),
         ("nghttp2", ("libnghttp2",)), ("jemalloc", ("libjemalloc",)),
         ("libc", ("libc.so", "libc-", "libm.so", "ld-linux", "libstdc++", "libgcc", "[vdso]", "libpthread", "vgpreload")),
         ("ours", ("gatehouse",)))
COLOURS = {"kernel": "#d98b5f", "libcrypto": "#7fa7d1", "libssl": "#a9c6e3", "nghttp2": "#93c493", "jemalloc": "#cbb3dc",
           "libc": "#d9c2e6", "ours": "#f0c95a", "other": "#cccccc"}
# The parts of Swift's runtime that are linked into our file.
RUNTIME = re.compile(r"^_?swift_|^swift::")


def part_of(file):
    return next((part for part, pieces in PARTS if any(piece in file for piece in pieces)), "other")


def plain_names(names):
    """Swift's names as one writes them, without types of arguments and modules' private marks."""
    mangled = sorted({name for name in names if name.startswith(("$s", "$S"))})
    if not mangled:
        return {}
    done = subprocess.run(["swift", "demangle", "--simplified", "--compact"], input="\n".join(mangled), capture_output=True,
                          text=True, check=False)
    found = done.stdout.splitlines()
    return {name: shortened(text) for name, text in zip(mangled, found)} if len(found) == len(mangled) else {}


def shortened(name):
    name = re.sub(r"^(?:(?:generic|partial|function signature|merged|static|closure #\d+ in|specialized|outlined) (?:specialization (?:<.*?> )?(?:of )?)?)+",
                  "", name)
    return re.sub(r"\(.*", "", name).split(" throws")[0].strip() or name


FRAME = re.compile(r"^\s+[0-9a-f]+\s+(.*) \((.*)\)$")


def stacks(text):
    """What `perf script -F comm,tid,period,ip,sym,dso` printed: {stack: samples}. A sample is its line, its frames from the
    innermost outwards, an empty line."""
    counts = collections.Counter()
    frames, is_in_sample = [], False
    for line in [*text.splitlines(), ""]:
        found = FRAME.match(line)
        if found and is_in_sample:
            frames.append((re.sub(r"\+0x[0-9a-f]+$", "", found[1]), part_of(found[2])))
        elif not line.strip():
            if frames:
                counts[tuple(reversed(frames))] += 1
            frames, is_in_sample = [], False
        else:
            is_in_sample = True
    names = plain_names(name for stack in counts for name, _ in stack)
    folded = collections.Counter()
    for stack, count in counts.items():
        folded[tuple((names.get(name, name), part) for name, part in stack)] += count
    return folded


def own_shares(folded):
    """{part: share} of the samples whose innermost frame is of the part: where the time went, not on whose behalf."""
    total = sum(folded.values())
    shares = collections.Counter()
    for stack, count in folded.items():
        shares[stack[-1][1]] += count / total
    return dict(shares)


def inclusive(folded, pattern):
    """The share of the samples that have a frame whose whole name fits."""
    total = sum(folded.values())
    return sum(count for stack, count in folded.items() if any(re.fullmatch(pattern, name) for name, _ in stack)) / total


def callgrind_costs(lines):
    """{(part, function): instructions of its own} of a file that callgrind has written."""
    names, costs = {"fn": {}, "ob": {}}, collections.Counter()
    file = function = ""
    is_call = False
    for line in lines:
        head = re.match(r"(fn|ob|cfn|cob)=\((\d+)\)(?: (.*))?$", line.rstrip("\n"))
        if head:
            kind = head[1].removeprefix("c")
            if head[3]:
                names[kind][head[2]] = head[3]
            if head[1] == "ob":
                file = names["ob"][head[2]]
            elif head[1] == "fn":
                function = names["fn"][head[2]]
        elif line.startswith("calls="):
            is_call = True
        elif line[:1].isdigit() or line[:1] in "+-*":
            # The line behind a call has what was spent in it, which its own lines have too.
            if not is_call:
                costs[part_of(file), function] += int(line.split()[1])
            is_call = False
    return costs


# The drawing: rows of frames, the outermost at the bottom, each as wide as its share; what is narrower than a third of a
# pixel is left out.
WIDTH, ROW, LEAST, LETTER = 1200, 17, 0.35, 6.6


def tree(folded):
    root = {"count": 0, "below": {}}
    for stack, count in folded.items():
        node = root
        node["count"] += count
        for frame in stack:
            node = node["below"].setdefault(frame, {"count": 0, "below": {}})
            node["count"] += count
    return root


def drawn(folded, title, about):
    root = tree(folded)
    if not root["count"]:
        raise SystemExit(f"{title}: no sample")
    scale, boxes, deepest = WIDTH / root["count"], [], 0
    rest = [(root, 0.0, -1)]
    while rest:
        node, left, depth = rest.pop()
        deepest = max(deepest, depth)
        for (name, part), below in sorted(node["below"].items()):
            width = below["count"] * scale
            if width >= LEAST:
                boxes.append((name, part, left, width, depth + 1, below["count"] / root["count"]))
                rest.append((below, left, depth + 1))
            left += width
    height = (deepest + 2) * ROW + 52
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="monospace" font-size="11">',
             f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
             f'<text x="6" y="16" font-size="14">{html.escape(title)}</text><text x="6" y="32">{html.escape(about)}</text>']
    shares = own_shares(folded)
    left = 6
    for part, share in sorted(shares.items(), key=lambda pair: -pair[1]):
        said = f"{part} {share * 100:.1f}%"
        lines.append(f'<rect x="{left}" y="38" width="10" height="10" fill="{COLOURS[part]}"/><text x="{left + 14}" y="47">{said}</text>')
        left += 26 + len(said) * LETTER
    for name, part, left, width, depth, share in boxes:
        top = height - (depth + 1) * ROW - 2
        letters = int((width - 4) / LETTER)
        said = name if len(name) <= letters else name[:max(letters - 1, 0)] + "…"
        text = f'<text x="{left + 2:.1f}" y="{top + 12}">{html.escape(said)}</text>' if letters >= 3 else ""
        lines.append(f'<g><title>{html.escape(name)} ({part}) {share * 100:.2f}%</title><rect x="{left:.1f}" y="{top}" '
                     f'width="{max(width - 0.4, 0.2):.1f}" height="{ROW - 1}" fill="{COLOURS[part]}"/>{text}</g>')
    return "\n".join([*lines, "</svg>"]) + "\n"
