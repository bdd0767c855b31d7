from __future__ import annotations

from typing import Any

import pytest

from ablations.dashboard.server import is_gone


def raised(call: Any, *given: Any) -> Exception:
    with pytest.raises(Exception) as found:
        call(*given)
    return found.value


def _url_to_viewspec(answer: Any) -> Any:
    """As the client's function of that name looks into an answer."""
    return answer["spec"], len(str(answer))


def another(answer: Any) -> Any:
    return answer["spec"]


def test_a_view_is_gone_where_the_answer_has_none_or_says_so() -> None:
    assert is_gone(raised(_url_to_viewspec, None))
    for words in ("Workspace `x` not found in project `y`", "Could not find view", "no such view"):
        assert is_gone(ValueError(words))


def test_what_is_wrong_in_the_client_is_no_word_of_the_server() -> None:
    assert not is_gone(raised(another, None))  # of another place
    assert not is_gone(raised(_url_to_viewspec, 3))  # of another kind
    assert not is_gone(TypeError("unexpected keyword argument"))
    assert not is_gone(ValueError("permission denied"))
