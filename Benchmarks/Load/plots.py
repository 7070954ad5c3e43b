"""Bars as SVG, written by hand: nothing to install, and a picture that a diff can read."""

import math
from html import escape

COLOURS = {"gatehouse": "#1b6ca8", "nginx": "#4a9c5d", "haproxy": "#c9803a", "envoy": "#8a5fb0", "caddy": "#3fa3a3",
           "h2o": "#a0a0a0"}
WIDTH, LABEL, BAR, GAP = 900, 270, 15, 3


def bars(title, groups, said):
    """`groups`: a title, and (label, target, value, spread as a share) of each bar. Each group has a scale of its own, since a
    handshake costs a hundred times what a request does; the numbers stand beside the bars."""
    parts, y = [], 64
    room = WIDTH - LABEL - 130
    for name, values in groups.items():
        most = max(value * (1 + (spread or 0)) for _, _, value, spread in values)
        parts.append(f'<text x="12" y="{y + 11}" font-weight="bold">{escape(name)}</text>')
        y += 20
        for label, target, value, spread in sorted(values, key=lambda bar: bar[2]):
            length = value / most * room
            shown = f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"
            parts.append(f'<text x="{LABEL - 6}" y="{y + 12}" text-anchor="end">{escape(label)}</text>'
                         f'<rect x="{LABEL}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{COLOURS[target]}"/>')
            end = length
            if spread:
                low, high = (value * (1 + side * spread) / most * room for side in (-1, 1))
                parts.append(f'<path d="M{LABEL + low:.1f} {y + BAR / 2}H{LABEL + high:.1f}" stroke="#222"/>')
                end = max(end, high)
            parts.append(f'<text x="{LABEL + end + 6:.1f}" y="{y + 12}">{shown}</text>')
            y += BAR + GAP
        y += 12
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 10}" font-family="sans-serif" font-size="12">\n'
            f'<rect width="100%" height="100%" fill="white"/>\n<text x="12" y="24" font-size="16">{escape(title)}</text>\n'
            f'<text x="12" y="44" fill="#555">{escape(said)}</text>\n' + "\n".join(parts) + "\n</svg>\n")


def lines(title, across, series, said):
    """`series`: the points (x, y) of each target. Both scales are logarithmic: from 1 to 7,000 connections, and from the best
    to the worst target, is a long way."""
    left, top, width, height = 70, 64, 640, 380
    points = [point for values in series.values() for point in values]
    low_x, high_x, low_y, high_y = (chosen(point[axis] for point in points) for axis in (0, 1) for chosen in (min, max))

    def place(value, low, high, length):
        return 0 if high == low else math.log(value / low) / math.log(high / low) * length

    def at(x, y):
        return left + place(x, low_x, high_x, width), top + height - place(y, low_y, high_y, height)

    parts = [f'<path d="M{left} {top}V{top + height}H{left + width}" fill="none" stroke="#222"/>',
             f'<text x="{left + width / 2}" y="{top + height + 40}" text-anchor="middle">{escape(across)}</text>']
    for value in {low_x, high_x} | {x for x, _ in points if len({x for x, _ in points}) <= 8}:
        x, _ = at(value, low_y)
        parts.append(f'<text x="{x:.1f}" y="{top + height + 18}" text-anchor="middle">{value:,.0f}</text>')
    for step in range(5):
        value = low_y * (high_y / low_y) ** (step / 4)
        _, y = at(low_x, value)
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{value:,.0f}</text>'
                     f'<path d="M{left} {y:.1f}h{width}" stroke="#ddd"/>')
    for number, (target, values) in enumerate(series.items()):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in sorted(values)))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{COLOURS[target]}" stroke-width="2"/>'
                     f'<text x="{left + width + 16}" y="{top + 16 + 18 * number}" fill="{COLOURS[target]}">{target}</text>')
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top + height + 60}" font-family="sans-serif" '
            f'font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n<text x="12" y="24" font-size="16">{escape(title)}'
            f'</text>\n<text x="12" y="44" fill="#555">{escape(said)}</text>\n' + "\n".join(parts) + "\n</svg>\n")


LINES = ("#1b6ca8", "#c9803a", "#4a9c5d")


def curves(title, panels, warm_seconds, said):
    """Panels one under the other over the same minutes, from zero; what is grey is the warm-up. A panel: a title, a unit, and
    (name, points) of each curve."""
    left, top, width, height, apart = 90, 84, 660, 150, 215
    last = max(x for _, _, series in panels for _, points in series for x, _ in points)
    parts = []
    for number, (name, unit, series) in enumerate(panels):
        y0 = top + number * apart
        highest = max(y for _, points in series for _, y in points) * 1.05 / 4 or 1
        ten = 10 ** math.floor(math.log10(highest))
        most = 4 * next(step * ten for step in (1, 2, 2.5, 5, 10) if step * ten >= highest)
        parts.append(f'<rect x="{left}" y="{y0}" width="{warm_seconds / 60 / last * width:.1f}" height="{height}" fill="#eee"/>'
                     f'<text x="{left}" y="{y0 - 10}" font-weight="bold">{escape(name)}{f", {unit}" if unit else ""}</text>')
        for part in range(5):
            y = y0 + height - part / 4 * height
            value = most * part / 4
            parts.append(f'<path d="M{left} {y:.1f}h{width}" stroke="#ddd"/><text x="{left - 6}" y="{y + 4:.1f}" '
                         f'text-anchor="end">{value:,.{0 if most >= 40 else 1 if most >= 4 else 2}f}</text>')
            x = left + part / 4 * width
            parts.append(f'<text x="{x:.1f}" y="{y0 + height + 18}" text-anchor="middle">'
                         f'{last * part / 4:.3g}{" min" if part == 4 else ""}</text>')
        parts.append(f'<path d="M{left} {y0}v{height}h{width}" fill="none" stroke="#222"/>')
        for (label, points), colour in zip(series, LINES):
            path = " ".join(f"{left + x / last * width:.1f},{y0 + height - y / most * height:.1f}" for x, y in points)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        for place, ((label, _), colour) in enumerate(zip(series, LINES)):
            parts.append(f'<text x="{left + width + 12}" y="{y0 + 14 + 18 * place}" fill="{colour}">{escape(label)}</text>')
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top + len(panels) * apart}" '
            f'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n'
            f'<text x="12" y="24" font-size="16">{escape(title)}</text>\n<text x="12" y="44" fill="#555">{escape(said)}</text>\n'
            + "\n".join(parts) + "\n</svg>\n")
