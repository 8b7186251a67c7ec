"""Tiles of scores under a mask: how many of them leave something to compute, in closed form."""

from __future__ import annotations

from simulator.core.formula import formula

__all__ = ["floor_sum", "tiles_visited"]


@formula
def tiles_visited(
    queries: int, positions: int, keys: int, causal: bool, window: int, tile_queries: int, tile_keys: int
) -> int:
    """Tiles of ``tile_queries`` x ``tile_keys`` scores that a mask leaves something of.

    Queries of several heads at one position lie beside each other, so that a tile spans few positions.
    """
    along = -(-queries // tile_queries)
    whole = -(-keys // tile_keys)
    if not causal and window == 0:
        return along * whole
    heads, before = queries // positions, keys - positions
    # With t the tile of queries, its last position is (before heads + (t + 1) tile_queries - 1) // heads, that of the
    # last tile keys - 1; dividing by tile_keys in turn is dividing by their product.
    scale = heads * tile_keys
    ahead = 0 if causal else window - 1
    last = (before + ahead) * heads + tile_queries - 1
    # Tiles that see the last key end where the keys do.
    inside = min(max(-(-((keys - 1) * heads + heads - last) // tile_queries), 0), along - 1)
    ends = floor_sum(inside, scale, tile_queries, last) + inside + (along - inside) * whole
    if window == 0:
        return ends
    first = (before - window + 1) * heads
    # The first tiles see from the first key on.
    skipped = min(max(-(first // tile_queries), 0), along)
    begins = floor_sum(along - skipped, scale, tile_queries, first + skipped * tile_queries)
    return ends - begins


@formula
def floor_sum(count: int, divisor: int, step: int, start: int) -> int:
    """Return the sum of ``(start + step i) // divisor`` over ``i`` from 0 to ``count - 1``; nothing is negative.

    In as many steps as Euclid's algorithm takes. Source: Graham, Knuth, Patashnik, Concrete Mathematics, section 3.5.
    """
    total = 0
    sign = 1
    while count > 0:
        total += sign * (count * (count - 1) // 2 * (step // divisor) + count * (start // divisor))
        step, start = step % divisor, start % divisor
        highest = (start + step * (count - 1)) // divisor
        if highest == 0:
            break
        # Count lattice points the other way: those above the line are taken from the rectangle.
        total += sign * highest * count
        sign = -sign
        start, step, divisor, count = divisor - start + step - 1, divisor, step, highest
    return total
