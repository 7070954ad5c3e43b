"""Bars as SVG, written by hand: nothing to install, and a picture that a diff can read."""

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
