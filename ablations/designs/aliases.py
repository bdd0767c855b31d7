"""The alias table of a screen: which effects its arms cannot tell from which interactions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from ablations.designs.exchange import Array
from ablations.designs.expected import alias_matrices, declared_effects
from ablations.designs.inquiry import Inquiry
from ablations.plans import Layout
from recipes import Component

_LISTED = 12  # of one kind; more are only counted
_NOTHING = 5e-3  # a coefficient that would print as 0.00


def of_folded(signs: Array, names: Sequence[str]) -> tuple[str, ...]:
    """Return the table of a fold-over: effects are clear, pairs may overlap with each other."""
    pairs = list(itertools.combinations(range(len(names)), 2))
    found = ["every effect is clear of every two-way interaction (fold-over, resolution IV)"]
    if len(pairs) > 1:
        columns = np.column_stack([signs[:, a] * signs[:, b] for a, b in pairs])
        words = [f"{names[a]} x {names[b]}" for a, b in pairs]
        found += _overlaps(columns.T @ columns / len(signs), words)
    return tuple(found)


def of_chosen(inquiry: Inquiry, layout: Layout) -> tuple[str, ...]:
    """Return the alias matrix of effects onto two-way interactions, a line per effect."""
    alternatives = [one for factor in inquiry.live for one in factor]
    found = ["points by which one point of an interaction moves an effect (alias matrix)"]
    effects = declared_effects(layout)
    matrices = alias_matrices(inquiry, layout, effects)
    for contrast, moved in zip(effects, matrices, strict=True):
        terms = [
            (float(moved[a, b]), f"{alternatives[a]} x {alternatives[b]}")
            for a, b in itertools.combinations(range(len(alternatives)), 2)
            if not _same_factor(inquiry, alternatives[a], alternatives[b])
        ]
        found.append(f"{contrast.label}: {_listed(terms)}")
    return tuple(found)


def _overlaps(correlation: Array, words: Sequence[str]) -> Iterator[str]:
    """Yield what pairs cannot be told apart at all, and how many overlap by how much."""
    strings: dict[int, list[str]] = {}
    sizes: dict[float, list[tuple[int, int]]] = {}
    for a in range(len(words)):
        alike = [b for b in range(len(words)) if abs(correlation[a, b]) > 1 - 1e-9]
        strings.setdefault(alike[0], []).append(words[a])
        for b in range(a):
            size = round(abs(float(correlation[a, b])), 2)
            if _NOTHING < size < 1:
                sizes.setdefault(size, []).append((b, a))
    whole = [" = ".join(string) for string in strings.values() if len(string) > 1]
    if whole:
        more = f"; and {len(whole) - _LISTED} more such strings" if len(whole) > _LISTED else ""
        yield f"interactions that cannot be told apart: {'; '.join(whole[:_LISTED])}{more}"
    for size, pairs in sorted(sizes.items(), reverse=True):
        a, b = pairs[0]
        yield (
            f"{len(pairs)} pairs of two-way interactions overlap by {size:.2f}, as"
            f" {words[a]} with {words[b]}"
        )
    if not whole and not sizes:
        yield "two-way interactions are clear of each other"


def _listed(terms: Sequence[tuple[float, str]]) -> str:
    """Return the terms that are not 0, the largest first."""
    there = sorted((one for one in terms if abs(one[0]) > _NOTHING), key=lambda one: -abs(one[0]))
    if not there:
        return "clear of every two-way interaction"
    shown = ", ".join(f"{value:+.2f} {name}" for value, name in there[:_LISTED])
    rest = there[_LISTED:]
    more = f", and {len(rest)} more of at most {abs(rest[0][0]):.2f}" if rest else ""
    return f"{shown}{more}"


def _same_factor(inquiry: Inquiry, one: Component, other: Component) -> bool:
    return any(one in factor and other in factor for factor in inquiry.live)
