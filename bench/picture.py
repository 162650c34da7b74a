"""A drawing of throughput against latency, in SVG, without any library."""

import math

WIDTH, HEIGHT = 720, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 24, 28, 56
COLOURS = ("#0b6bcb", "#b4530a")


def picture(curves):
    """`curves`: by name, points of (requests a second, p99 in ms); both axes are logarithmic."""
    points = [point for curve in curves.values() for point in curve]
    low_x, high_x = span([x for x, _ in points])
    low_y, high_y = span([y for _, y in points])

    def at(x, y):
        across = (math.log10(x) - low_x) / (high_x - low_x)
        up = (math.log10(y) - low_y) / (high_y - low_y)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for exponent in range(low_x, high_x + 1):
        x, _ = at(10**exponent, 10**low_y)
        out.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        out.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{10**exponent:,}</text>')
    for exponent in range(low_y, high_y + 1):
        _, y = at(10**low_x, 10**exponent)
        out.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**exponent:g}</text>')
    out.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 14}" text-anchor="middle">logins a second</text>')
    out.append(
        f'<text x="18" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 18 {HEIGHT / 2})">p99, ms</text>'
    )
    for place, ((name, curve), colour) in enumerate(zip(curves.items(), COLOURS)):
        places = [at(*point) for point in curve]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out.extend(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in places)
        out.append(f'<text x="{LEFT + 12}" y="{TOP + 16 + 18 * place}" fill="{colour}">{name}</text>')
    out.append("</svg>\n")
    return "\n".join(out)


def span(values):
    """Powers of ten around all values."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)
