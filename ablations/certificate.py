"""The arm certificate: proof, before it is trained, that an arm got its treatment and nothing else.

Each arm is compared with its parent, on the built objects and a probe batch
(`lightning_modules.probe`): the leaves that changed are those that its component writes, what they
must change has changed, nothing else has, and everything is what the leaves say in closed form.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ablations.closed_forms import contradictions
from ablations.errors import RequestError
from ablations.observed import ASPECTS, Observation, aspects, changes, unseen
from ablations.plans import Arm, Layout
from ablations.signatures import Signature, allowed, signature
from recipes import Applied, Component, Recipe, apply, diff
from recipes.identity import active
from recipes.text import plain_value
from recipes.tree import declarations
from recipes.validate import show

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What was declared of an arm against its parent, what was seen, and what is wrong with it."""

    arm: str
    parent: str | None  # None: the base, which is only held against its own leaves
    components: tuple[str, ...]  # what the arm has and its parent has not
    declared: Mapping[str, tuple[Any, Any]]  # leaf: (parent's value, arm's value)
    changed: Mapping[str, str]  # aspect: what was seen
    unchanged: tuple[str, ...]  # aspects, but those whose numbers are not finite
    wrong: tuple[str, ...] = ()

    @property
    def treated(self) -> bool:
        """Whether the arm may be trained."""
        return not self.wrong

    def plain(self) -> dict[str, Any]:
        """Return the certificate as JSON holds it."""
        found = dataclasses.asdict(self)
        declared = {path: list(map(plain_value, pair)) for path, pair in self.declared.items()}
        return {
            "schema_version": SCHEMA,
            **found,
            "declared": declared,
            "components": list(self.components),
            "changed": dict(self.changed),
            "unchanged": list(self.unchanged),
            "wrong": list(self.wrong),
            "treated": self.treated,
        }


def certify(layout: Layout, seen: Mapping[str, Observation]) -> list[Certificate]:
    """Return the certificates of a layout: the base's own, then one per arm and parent.

    Args:
        layout: what is to be trained.
        seen: the observation of every arm, by name.
    """
    base = layout.arms[0]
    found = [
        Certificate(
            arm=base.name,
            parent=None,
            components=(),
            declared={},
            changed={},
            unchanged=(),
            wrong=tuple(contradictions(base.recipe, seen[base.name])),
        )
    ]
    found += [_compare(parent, arm, seen) for parent, arm in pairs(layout)]
    return found


def check(certificates: Sequence[Certificate]) -> None:
    """Refuse to go on where an arm did not get its treatment.

    Raises:
        RequestError: what was expected and what was seen, of every such arm.
    """
    wrong = [
        f"{one.arm}{'' if one.parent is None else f' (against {one.parent})'}: {problem}"
        for one in certificates
        for problem in one.wrong
    ]
    if wrong:
        raise RequestError(
            "not every arm got its treatment, and nothing was trained:\n" + "\n".join(wrong)
        )


def pairs(layout: Layout) -> list[tuple[Arm, Arm]]:
    """Return (parent, arm) of every treatment that has to be proven.

    A contrast of two arms names them. Of a pooled effect, its component is proven on the base and
    on the full arm without it. Every arm that is left is compared with the base, or, where some
    component has neither of these (a screen), with the fullest arm that it contains.
    """
    named = {arm.name: arm for arm in layout.arms}
    by_components = {frozenset(map(str, arm.components)): arm for arm in layout.arms}
    base = layout.arms[0]
    full = layout.full
    found: list[tuple[Arm, Arm]] = []
    apart = False  # whether a component stands in no pair of arms of its own
    for contrast in layout.contrasts:
        if contrast.outcome != "applied" or contrast.component is None:
            continue  # nothing was trained, or the arms of an interaction, proven one by one
        if contrast.control is not None and contrast.treatment is not None:
            found.append((named[contrast.control], named[contrast.treatment]))
            continue
        word = contrast.label.removeprefix("+")
        everything = frozenset(map(str, full.components))
        own = [
            (by_components[fewer], by_components[fewer | {word}])
            for fewer in (frozenset[str](), everything - {word})
            if fewer in by_components and fewer | {word} in by_components
        ]
        found += own
        apart = apart or not own
    proven = {arm.name for _, arm in found}
    found += [
        (_fullest_within(layout, arm) if apart else base, arm)
        for arm in layout.arms[1:]
        if arm.name not in proven
    ]
    return list({(parent.name, arm.name): (parent, arm) for parent, arm in found}.values())


def _fullest_within(layout: Layout, arm: Arm) -> Arm:
    """Return the arm with the most components of those whose components this one has all."""
    own = set(map(str, arm.components))
    within = [other for other in layout.arms if set(map(str, other.components)) < own]
    return max(within, key=lambda other: len(other.components))


def _compare(parent: Arm, arm: Arm, seen: Mapping[str, Observation]) -> Certificate:
    before = {str(component) for component in parent.components}
    added = [component for component in arm.components if str(component) not in before]
    declared = _declared(parent.recipe, arm.recipe)
    changed = changes(seen[parent.name], seen[arm.name])
    wrong = [*_undeclared(parent.recipe, added, declared)]
    if not wrong:
        signatures = {path: signature(path, arm.recipe, parent.recipe) for path in declared}
        wrong += _silent(signatures, declared, changed)
        wrong += _collateral(signatures, changed)
    wrong += contradictions(arm.recipe, seen[arm.name])
    told = {*changed, *unseen(seen[arm.name])}
    return Certificate(
        arm=arm.name,
        parent=parent.name,
        components=tuple(map(str, added)),
        declared=declared,
        changed=changed,
        unchanged=tuple(aspect for aspect in ASPECTS if aspect not in told),
        wrong=tuple(wrong),
    )


def _declared(parent: Recipe, arm: Recipe) -> dict[str, tuple[Any, Any]]:
    """Return the leaves that differ and mean something in at least one of the two."""
    meant = active(parent).keys() | active(arm).keys()
    return {
        path: values
        for path, values in diff(parent, arm).items()
        if path in meant and (path not in declarations() or declarations()[path].hashed)
    }


def _undeclared(
    parent: Recipe, added: Sequence[Component], declared: Mapping[str, Any]
) -> Iterator[str]:
    """Yield leaves that no component of the arm writes, or that its card does not name."""
    written: set[str] = set()
    recipe = parent
    for component in added:
        edits = component.edits(recipe)
        outcome = apply(component, recipe)
        recipe = outcome.recipe if isinstance(outcome, Applied) else recipe
        written |= edits.keys()
        named = _named_in_card(component)
        for path in sorted(edits.keys() & declared.keys()):
            if named is not None and not path.startswith("custom.") and path not in named:
                yield (
                    f"sets {path}, which the card of {component} does not name: it says that it"
                    f" sets {', '.join(sorted(named))}"
                )
    for path, (old, new) in declared.items():
        if path not in written:
            yield f"{path} went from {_shown(old)} to {_shown(new)}, which no component of it sets"
    if not declared:
        yield "no leaf differs: the arm is its parent"


def _named_in_card(component: Component) -> set[str] | None:
    """Return the leaves that a card names under `Sets:`; None where it names none there."""
    card = inspect.getdoc(type(component)) or ""
    found = re.search(r"^Sets:(.*?)(?=^[A-Z][a-z ]*:|\Z)", card, re.MULTILINE | re.DOTALL)
    words = re.findall(r"[a-z_]+\.[a-z_0-9]+", found[1]) if found else []
    return {word for word in words if word in declarations()} or None


def _silent(
    signatures: Mapping[str, Signature],
    declared: Mapping[str, tuple[Any, Any]],
    changed: Mapping[str, str],
) -> Iterator[str]:
    for path, one in signatures.items():
        missing = [group for group in one.must if not group & changed.keys()]
        if missing:
            old, new = declared[path]
            words = "; ".join(_none_of(aspects(group)) for group in missing)
            yield f"{path} went from {_shown(old)} to {_shown(new)}, and {words}"


def _none_of(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"{names[0]} did not change as it must"
    return f"none of {', '.join(names)} changed, one of which must"


def _shown(value: Any) -> str:
    return show(value) or "none"


def _collateral(signatures: Mapping[str, Signature], changed: Mapping[str, str]) -> Iterator[str]:
    within = allowed(signatures.values())
    for aspect in aspects(changed):
        if aspect not in within:
            yield (
                f"{aspect} changed too ({changed[aspect]}), which {', '.join(signatures)} cannot do"
            )
