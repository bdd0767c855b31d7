"""The one error of this package for a user's mistake: all that is wrong, told together."""

from __future__ import annotations

from collections.abc import Sequence


class RecipeError(ValueError):
    """What is wrong with a recipe, a component or a text: one line per problem.

    Each line names the place, the value found there and what would be right.
    """

    def __init__(self, problems: Sequence[str] | str) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))
